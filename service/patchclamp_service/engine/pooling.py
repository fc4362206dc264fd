"""From the rows of tokens to the rows of words, and from tensors to arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import InvalidRequest
from .requests import Pooling

__all__ = ["pooled", "to_numpy"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def pooled(rows: Tensor, groups: Sequence[Sequence[int]], pooling: Pooling) -> Tensor:
    """Rows of tokens [tokens, width] → one float32 row per group of positions; rows of empty groups are NaN."""
    if run := _run(groups):
        return rows[run].float()
    if pooling is Pooling.SENTENCE_MAX:
        return torch.stack([_largest(rows, group) for group in groups])
    if pooling not in (Pooling.AVERAGE, Pooling.SENTENCE_AVERAGE):
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
