"""Pearson correlations of neurons, in stripes that fit into a memory bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk

from ..progress import QUIET, Progress
from .blocks import Blocks, steps
from .moments import moments
from .rows import Data

__all__ = ["Standardised", "correlation_stripes", "correlations"]

# Fewer rows at a time leave the processor waiting for memory; more bring no more.
_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Standardised:
    """Rows of neurons of mean 0 and length 1 over all rows, so that products are correlations; constant ones are 0."""

    data: Data
    mean: NDArray[np.float32]
    rest: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, data: Data, progress: Progress = QUIET) -> Standardised:
        """One pass over the data."""
        found = moments(data, progress)
        mean = found.mean.astype(np.float32)
        scale = np.where(found.constant, 0.0, 1.0 / (found.scale * np.sqrt(len(data))))
        # What float32 leaves of a large mean is more than a small deviation can bear.
        rest = (found.mean - mean) * scale
        return cls(data, mean, rest.astype(np.float32), scale.astype(np.float32))

    def blocks(self) -> Blocks:
        """A pass over the rows, in larger blocks than those of the data."""
        fitting = self.data.memory_bytes // (32 * len(self.mean))
        return Blocks(steps(0, len(self.data), min(_ROWS, fitting)), self.read)

    def read(self, rows: slice) -> NDArray[np.float32]:
        """[n, D] of some rows."""
        block = self.data.read_rows(rows) - self.mean
        block *= self.scale
        block -= self.rest
        return block


def correlations(rows: Standardised, progress: Progress = QUIET) -> NDArray[np.float32]:
    """[D, D] correlations of all neurons, above the diagonal; what lies below is not to be used. 4·D² bytes, O(N·D²),
    one pass.
    """
    width = len(rows.mean)
    found = np.zeros((width, width), np.float32, order="F")
    for _, block in progress.each(rows.blocks()):
        ssyrk(1.0, block.T, 1.0, found, lower=True, overwrite_c=True)
    return found.T


def correlation_stripes(
    one: Standardised, other: Standardised | None, stripes: tuple[slice, ...], progress: Progress = QUIET
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Correlations of the neurons in each stripe with all of `other` [d, D']; without it, with those of the same data
    from the stripe's first on [d, D − start]. 8·d·D' bytes, O(N·D·D'), a pass for each stripe.
    """
    for number, stripe in enumerate(stripes):
        part = progress.part(number / len(stripes), (number + 1) / len(stripes))
        first = stripe.start if other is None else 0
        found = np.zeros((stripe.stop - stripe.start, len((other or one).mean) - first), np.float32)
        for rows, block in part.each(one.blocks()):
            beside = block if other is None else other.read(rows)
            found += block[:, stripe].T @ beside[:, first:]
        yield stripe, found
