"""From the rows of tokens to the rows of words, and from tensors to arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import InvalidRequest
from .requests import Pooling

__all__ = ["Pool", "pool", "pooled", "to_numpy"]

Groups = Sequence[Sequence[int]]
"""Positions of the tokens of each row, ascending."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


Pool = Callable[[Tensor], Tensor]
"""From the rows of tokens [tokens, width] to one float32 row per group; rows of empty groups are NaN."""


def pooled(rows: Tensor, groups: Groups, pooling: Pooling) -> Tensor:
    """What `pool` makes of some rows."""
    return pool(groups, pooling, rows.device)(rows)


def pool(groups: Groups, pooling: Pooling, device: torch.device) -> Pool:
    """How the rows of tokens become those of groups of positions; worked out once for all sites of a sentence."""
    if run := _run(groups):
        return lambda rows: rows[run].float()
    if pooling is Pooling.SENTENCE_MAX:
        return lambda rows: torch.stack([_largest(rows, group) for group in groups])
    if pooling in (Pooling.AVERAGE, Pooling.SENTENCE_AVERAGE):
        return _average(groups, device)
    at = torch.tensor([_pick(group, pooling) for group in groups], device=device)
    missing = [row for row, group in enumerate(groups) if not group]

    def picked(rows: Tensor) -> Tensor:
        found = rows.index_select(0, at).float()
        found[missing] = torch.nan
        return found

    return picked


def _average(groups: Groups, device: torch.device) -> Pool:
    places = [place for group in groups for place in group]
    flat = _run([(place,) for place in places]) or torch.tensor(places, dtype=torch.long, device=device)
    sizes = torch.tensor([len(group) for group in groups], device=device)
    owners, divisors = torch.repeat_interleave(sizes), sizes[:, None].float()

    def averaged(rows: Tensor) -> Tensor:
        chosen = rows[flat].float()
        sums = chosen.new_zeros((len(groups), rows.shape[1])).index_add_(0, owners, chosen)
        # 0 / 0 is NaN: a word without a token must not look like one.
        return sums.div_(divisors)

    return averaged


def _run(groups: Groups) -> slice | None:
    """The places of groups of one token each that follow one another: nothing to pick or add up."""
    first = groups[0][0] if groups and groups[0] else 0
    if all(len(group) == 1 and group[0] == first + row for row, group in enumerate(groups)):
        return slice(first, first + len(groups))
    return None


def _pick(group: Sequence[int], pooling: Pooling) -> int:
    if not group:
        return 0
    return group[-1] if pooling in (Pooling.LAST, Pooling.SENTENCE_LAST) else group[0]


def _largest(rows: Tensor, group: Sequence[int]) -> Tensor:
    if not group:
        return rows.new_full((rows.shape[1],), torch.nan, dtype=torch.float32)
    return rows[list(group)].float().amax(0)


def to_numpy(values: Tensor, dtype: str, site: str = "", field: str = "dtype") -> npt.NDArray[np.generic]:
    """An array of the given type; bfloat16 as its bits in uint16. InvalidRequest, naming the site and the field of
    the dtype, if finite values are too large for it."""
    cast = values.to(_DTYPES[dtype])
    if dtype != "float32" and bool((cast.isinf() & values.isfinite()).any()):
        largest = float(values[values.isfinite()].abs().max())
        wider = "bfloat16 or float32" if dtype == "float16" else "float32"
        end = torch.finfo(cast.dtype).max
        raise InvalidRequest(
            f"{site} has values up to {largest:.3g}, and {dtype} ends at {end:.5g}: take {wider}",
            reason="NOT_FINITE",
            field=field,
        )
    cast = cast.cpu().contiguous()
    if dtype == "bfloat16":
        return cast.view(torch.int16).numpy().view(np.uint16)
    return cast.numpy()
