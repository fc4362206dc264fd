"""What the names of sites promise, as equations that a recorded forward pass keeps or breaks.

Each function answers with the reason why the equation does not hold, or with an empty string.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

__all__ = ["broken_projection", "broken_sum", "difference"]

TOLERANCE = 8.0
"""In units of the dtype's rounding: the same sum may have been taken in another order."""


def broken_projection(projection: nn.Module, norm: nn.Module | None, values: Tensor, result: Tensor) -> str:
    """result = norm(projection(values)), and the projection is linear: zeroing a value is zeroing its column."""
    if not isinstance(projection, nn.Linear | Conv1D):
        return f"its projection is a {type(projection).__name__}, not a linear layer"
    expected = projection(values)
    expected = norm(expected) if norm else expected
    return difference(result, expected, expected.abs().amax(dim=-1, keepdim=True))


def broken_sum(before: Tensor, added: Sequence[Tensor], after: Tensor, norms: Sequence[nn.Module]) -> str:
    """after = before + all that is added; with norms, after = norm₂(norm₁(before + attention) + mlp)."""
    if any(part.shape != before.shape for part in (*added, after)):
        return "the shapes differ"
    if norms:
        expected = before
        for part, norm in zip(added, norms, strict=True):
            expected = norm(expected + part)
        return difference(after, expected, expected.abs().amax(dim=-1, keepdim=True))
    total = before.double() + sum(part.double() for part in added)
    return difference(after, total, before.abs() + sum(part.abs() for part in added))


def difference(actual: Tensor, expected: Tensor, scale: Tensor) -> str:
    """Why two tensors are not the same up to rounding, relative to `scale`."""
    if actual.shape != expected.shape:
        return f"{list(actual.shape)} values instead of {list(expected.shape)}"
    precision = torch.finfo(actual.dtype)
    error = (actual.double() - expected.double()).abs() / scale.double().clamp_min(precision.tiny)
    worst, allowed = error.max().item(), TOLERANCE * precision.eps
    return "" if worst <= allowed else f"off by {worst:.1e} of its size, where {allowed:.1e} is rounding"
