"""Sets of rows, a bit a row, 64 to a word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .blocks import steps

__all__ = ["Bits", "overlaps", "packed", "sizes"]

Bits = NDArray[np.uint64]
# Products of this many words stay in the caches.
_WORDS = 2**16


def packed(masks: NDArray[np.bool_]) -> Bits:
    """[n, ⌈N/64⌉] of [n, N]; bits beyond N are 0."""
    count, rows = masks.shape
    words = np.zeros((count, -(-rows // 64) * 8), np.uint8)
    words[:, : -(-rows // 8)] = np.packbits(masks, axis=1)
    return words.view(np.uint64)


def sizes(bits: Bits) -> NDArray[np.int64]:
    """How many bits of each are set: the last axis vanishes."""
    # Half as long as adding up in 64 bits.
    return np.asarray(np.bitwise_count(bits).sum(axis=-1, dtype=np.uint32), dtype=np.int64)


def overlaps(some: Bits, others: Bits) -> NDArray[np.int64]:
    """[n, m] how many bits each of [n, W] and each of [m, W] have in common."""
    found = np.empty((len(some), len(others)), np.int64)
    for part in steps(0, len(others), _WORDS // max(some.size, 1)):
        found[:, part] = sizes(some[:, None] & others[part])
    return found
