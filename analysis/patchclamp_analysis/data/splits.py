"""Which rows a split puts aside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["second_part"]


def second_part(groups: NDArray[np.integer], y: NDArray[np.integer], share: float, seed: int) -> NDArray[np.bool_]:
    """[N] which rows go to the second part: whole groups (0, 1, …) at random, `share` of the rows at most, so that each
    class number of `y` (−1: none) that occurs has a row in the first part.
    """
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    second = np.zeros(len(sizes), bool)
    second[order[np.cumsum(sizes[order]) <= share * len(y)]] = True
    there = np.bincount(y + 1)
    here = np.bincount(y[~second[groups]] + 1, minlength=len(there))
    for number in np.flatnonzero((here == 0) & (there > 0)) - 1:
        second[groups[np.argmax(y == number)]] = False
    chosen: NDArray[np.bool_] = second[groups]
    return chosen
