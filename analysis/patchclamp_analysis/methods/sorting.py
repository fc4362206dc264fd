"""Sorts the values of neurons together with the rows' classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["sorted_with"]


def sorted_with(
    values: NDArray[np.float32], classes: NDArray[np.integer], *, descending: bool = False
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Sorts each row of values [d, N]: keys [d, N], equal where values are (as 0 and −0 are), and the classes in that
    order.

    Value and class share one 64-bit number, so that sorting needs no indices: several times as fast as argsort.
    """
    bits = (values + np.float32(0)).view(np.uint32)
    sign = np.uint32(0x80000000)
    # Of negative numbers larger bits are smaller values.
    keys = np.where(bits >= sign, ~bits, bits | sign)
    if descending:
        np.invert(keys, out=keys)
    packed = keys.astype(np.uint64)
    packed <<= np.uint64(32)
    packed |= classes.astype(np.uint64)
    packed.sort(axis=1)
    return (packed >> np.uint64(32)).astype(np.uint32), packed & np.uint64(0xFFFFFFFF)
