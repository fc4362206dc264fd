"""Means, variances and ranges of every neuron, overall and per class, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import BadData
from ..progress import QUIET, Progress
from .rows import Data

__all__ = ["Moments", "members", "moments", "too_large"]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """[D] over all rows, [C, D] over those of each class; float64. Variances are the mean square deviations. A class
    without rows has the overall mean and variance 0.
    """

    counts: NDArray[np.int64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    class_means: NDArray[np.float64]
    class_variances: NDArray[np.float64]

    @property
    def constant(self) -> NDArray[np.bool_]:
        """[D] which neurons have one value only, or values so near to each other that their squares vanish."""
        return np.equal(self.minimum, self.maximum) | (self.variance <= 0)

    @property
    def scale(self) -> NDArray[np.float64]:
        """[D] standard deviations to divide by: 1 for constant neurons."""
        return np.where(self.constant, 1.0, np.sqrt(self.variance))


def moments(data: Data, progress: Progress = QUIET) -> Moments:
    """One pass over the data, O(N·D). BadData for activations whose squares float32 does not hold.

    Sums are of differences from the first block's means, so that a large mean does not drown a small deviation; within
    a block in float32, over blocks in float64.
    """
    count, width = len(data.classes), len(data.neurons)
    # The last group holds rows of no class.
    groups = np.where(data.y < 0, count, data.y)
    sums, squares = np.zeros((2, count + 1, width))
    minimum, maximum = np.full(width, np.inf), np.full(width, -np.inf)
    shift: NDArray[np.float32] | None = None
    for rows, block in progress.each(data.blocks()):
        if shift is None:
            shift = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        by_group = members(groups[rows], count + 1)
        with np.errstate(over="ignore"):
            shifted = block - shift
            sums += by_group @ shifted
            squares += by_group @ np.square(shifted)
        np.minimum(minimum, block.min(axis=0), out=minimum)
        np.maximum(maximum, block.max(axis=0), out=maximum)
    assert shift is not None
    if len(large := np.flatnonzero(~np.isfinite(squares).all(axis=0))):
        first = int(large[0])
        raise too_large(data, first, max(abs(minimum[first]), abs(maximum[first])))
    sizes = np.bincount(groups, minlength=count + 1)[:, None]
    total = sums.sum(axis=0) / len(data)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), total)
    return Moments(
        sizes[:count, 0],
        shift.astype(np.float64) + total,
        np.maximum(squares.sum(axis=0) / len(data) - total**2, 0.0),
        minimum,
        maximum,
        shift.astype(np.float64) + means[:count],
        np.maximum(squares / np.maximum(sizes, 1) - means**2, 0.0)[:count] * (sizes[:count] > 0),
    )


def too_large(data: Data, place: int, size: float) -> BadData:
    """Of a neuron whose activations cannot be computed with."""
    return BadData(f"activations up to {size:g} are too large to square", where=str(data.neurons[place]))


def members(groups: NDArray[np.integer], count: int, values: NDArray[np.floating] | None = None) -> sparse.csc_array:
    """[count, n] 1, or a value of the row, where it belongs to a group: times [n, D] gives sums by group."""
    entries = np.ones(len(groups), np.float32) if values is None else values.astype(np.float32)
    return sparse.csc_array((entries, groups, np.arange(len(groups) + 1)), shape=(count, len(groups)))
