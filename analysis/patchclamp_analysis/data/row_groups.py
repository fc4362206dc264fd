"""Means of every neuron over groups of rows that may overlap, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..progress import QUIET, Progress
from .blocks import steps
from .rows import Data

__all__ = ["BYTES", "GroupMeans", "group_means"]

BYTES = 24
"""What `group_means` needs for each group and neuron."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupMeans:
    """Of D neurons: `means` [G, D] over the rows of each group, of which there are `counts` [G]; `mean` and `spread`
    (largest less smallest value) [D] over all N rows.
    """

    rows: int
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    def selectivity(self, groups: slice | NDArray[np.integer], neuron: int) -> NDArray[np.float64]:
        """(μ₊ − μ₋)/(max − min) of one neuron for some groups, μ₊ being its mean over the group's rows and μ₋ over all
        others; −1 to 1, and 0 for a constant neuron and for a group of all rows, or of none.

        Source: Morcos et al. 2018, On the importance of single directions for generalization; Na et al. 2019.
        """
        counts, spread = self.counts[groups], self.spread[neuron]
        # μ₊ − μ₋ is (μ₊ − μ)·N/(N − n).
        others = (self.rows - counts) * spread
        usable = (others > 0) & (counts > 0)
        difference = (self.means[groups, neuron] - self.mean[neuron]) * self.rows
        found = np.divide(difference, others, out=np.zeros(len(counts)), where=usable)
        return np.asarray(np.clip(found, -1.0, 1.0))


def group_means(data: Data, members: sparse.csc_array, progress: Progress = QUIET) -> GroupMeans:
    """Of the groups that `members` [G, N] has ones in. O(N·D), times the groups that a row is in.

    Sums are of differences from the first block's means, as in `moments`.
    """
    width = len(data.neurons)
    sums, total = np.zeros((members.shape[0], width)), np.zeros(width)
    minimum, maximum = np.full(width, np.inf), np.full(width, -np.inf)
    shift: NDArray[np.float32] | None = None
    for rows, block in progress.each(data.blocks()):
        if shift is None:
            shift = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        shifted = block - shift
        here, some = _those_with_rows(members, rows)
        # As many at a time as their sums are no larger than the block.
        for part in steps(0, len(here), len(block)):
            sums[here[part]] += some[part] @ shifted
        total += shifted.sum(axis=0, dtype=np.float64)
        np.minimum(minimum, block.min(axis=0), out=minimum)
        np.maximum(maximum, block.max(axis=0), out=maximum)
    assert shift is not None
    counts = np.bincount(members.indices, minlength=members.shape[0])
    sums /= np.maximum(counts, 1)[:, None]
    sums += shift
    return GroupMeans(len(data), counts, sums, shift + total / len(data), maximum - minimum)


def _those_with_rows(members: sparse.csc_array, rows: slice) -> tuple[NDArray[np.int64], sparse.csr_array]:
    """The groups that have some of the rows, and which of them [g, n]."""
    begin, end = members.indptr[rows.start], members.indptr[rows.stop]
    here, places = np.unique(members.indices[begin:end], return_inverse=True)
    indptr = members.indptr[rows.start : rows.stop + 1] - begin
    ones = np.ones(end - begin, np.float32)
    return here, sparse.csc_array((ones, places, indptr), shape=(len(here), rows.stop - rows.start)).tocsr()
