"""Mean, variance and range of neurons over groups of rows, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "Statistics"]


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Statistics of the neurons of a site over some rows; NaN where there are no rows."""

    count: int
    mean: NDArray[np.float32]
    """[width]; so are the others."""
    variance: NDArray[np.float32]
    """Divided by the number of rows."""
    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]


class Moments:
    """Statistics of G groups of rows of a site that is D wide, while rows come in blocks.

    Within a block, the sum of squares is taken about the block's own mean; blocks are merged as in Chan, Golub and
    LeVeque (1983), all in float64. Rows may come in any blocks; the same blocks give the same bits. O(rows × D) time,
    G × D × 24 bytes.
    """

    def __init__(self, groups: int, width: int) -> None:
        self.count = np.zeros(groups, np.int64)
        self._mean = np.zeros((groups, width))
        self._squares = np.zeros((groups, width))
        self._minimum = np.full((groups, width), np.inf, np.float32)
        self._maximum = np.full((groups, width), -np.inf, np.float32)

    def add(self, values: NDArray[np.float32], groups: NDArray[np.integer]) -> None:
        """Adds rows [n, D] with the group of each; −1: none."""
        if (groups[1:] < groups[:-1]).any():
            order = np.argsort(groups, kind="stable")
            values, groups = values[order], groups[order]
        present, starts, counts = np.unique(groups, return_index=True, return_counts=True)
        for group, start, count in zip(present.tolist(), starts.tolist(), counts.tolist(), strict=True):
            if group >= 0:
                self._merge(group, count, values[start : start + count])

    def values(self) -> NDArray[np.float32]:
        """[4, G, D]: mean, variance, minimum, maximum; NaN for groups without rows."""
        some = (self.count > 0)[:, None]
        found = np.full((4, *self._mean.shape), np.nan, np.float32)
        with np.errstate(over="ignore"):  # a variance may be more than float32 holds
            np.copyto(found[0], self._mean, where=some, casting="same_kind")
            np.copyto(found[1], self._squares / np.maximum(self.count, 1)[:, None], where=some, casting="same_kind")
        np.copyto(found[2], self._minimum, where=some)
        np.copyto(found[3], self._maximum, where=some)
        return found

    def statistics(self, group: int = 0) -> Statistics:
        """Those of one group."""
        return Statistics(int(self.count[group]), *self.values()[:, group])

    def _merge(self, group: int, count: int, values: NDArray[np.float32]) -> None:
        wide = values.astype(np.float64)
        mean = np.add.reduce(wide, axis=0)
        mean /= count
        wide -= mean
        wide *= wide
        before = int(self.count[group])
        difference = mean - self._mean[group]
        self._mean[group] += difference * (count / (before + count))
        difference *= difference
        difference *= before * count / (before + count)
        self._squares[group] += difference
        self._squares[group] += np.add.reduce(wide, axis=0)
        np.minimum(self._minimum[group], np.minimum.reduce(values, axis=0), out=self._minimum[group])
        np.maximum(self._maximum[group], np.maximum.reduce(values, axis=0), out=self._maximum[group])
        self.count[group] = before + count
