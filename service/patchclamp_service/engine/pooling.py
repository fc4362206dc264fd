"""From the rows of tokens to the rows of words, and from tensors to arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .requests import Pooling

__all__ = ["pooled", "to_numpy"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pooled(rows: Tensor, groups: Sequence[Sequence[int]], pooling: Pooling) -> Tensor:
    """Rows of tokens [tokens, width] → one float32 row per group of positions; rows of empty groups are NaN."""
    if run := _run(groups):
        return rows[run].float()
    if pooling is not Pooling.AVERAGE:
        at = [_pick(group, pooling) for group in groups]
        picked = rows.index_select(0, torch.tensor(at, device=rows.device)).float()
        picked[[row for row, group in enumerate(groups) if not group]] = torch.nan
        return picked
    sizes = [len(group) for group in groups]
    flat = torch.tensor([place for group in groups for place in group], dtype=torch.long, device=rows.device)
    chosen = rows.index_select(0, flat).float()
    owners = torch.repeat_interleave(torch.arange(len(sizes), device=rows.device), torch.tensor(sizes))
    sums = chosen.new_zeros((len(sizes), rows.shape[1])).index_add_(0, owners, chosen)
    # 0 / 0 is NaN: a word without a token must not look like one.
    return sums / torch.tensor(sizes, device=rows.device)[:, None]


def _run(groups: Sequence[Sequence[int]]) -> slice | None:
    """The places of groups of one token each that follow one another: nothing to pick or add up."""
    first = groups[0][0] if groups and groups[0] else 0
    if all(len(group) == 1 and group[0] == first + row for row, group in enumerate(groups)):
        return slice(first, first + len(groups))
    return None


def _pick(group: Sequence[int], pooling: Pooling) -> int:
    if not group:
        return 0
    return group[-1] if pooling is Pooling.LAST else group[0]


def to_numpy(values: Tensor, dtype: str) -> npt.NDArray[np.generic]:
    """An array of the given type; bfloat16 as its bits in uint16."""
    values = values.to(_DTYPES[dtype]).cpu().contiguous()
    if dtype == "bfloat16":
        return values.view(torch.int16).numpy().view(np.uint16)
    return values.numpy()
