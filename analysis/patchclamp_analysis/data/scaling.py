"""Standardised activations, with a column of ones for the bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..progress import QUIET, Progress
from .moments import Moments, moments, too_large
from .rows import Data

__all__ = ["Scaling"]


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """x → (x − mean) / scale, [D] each."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, data: Data, *, standardise: bool = True, progress: Progress = QUIET) -> Scaling:
        """To mean 0 and deviation 1, or no change. A constant neuron becomes 0. BadData for activations whose squares
        float32 does not hold, which what is trained on them could not be either.
        """
        found = moments(data, progress)
        if standardise:
            return cls.by(found)
        sizes = np.maximum(np.abs(found.minimum), np.abs(found.maximum))
        if (largest := sizes.max()) ** 2 > np.finfo(np.float32).max:
            raise too_large(data, int(sizes.argmax()), largest)
        return cls(np.zeros(len(sizes), np.float32), np.ones(len(sizes), np.float32))

    @classmethod
    def by(cls, found: Moments) -> Scaling:
        """To mean 0 and deviation 1, by moments that are known already."""
        return cls(found.mean.astype(np.float32), found.scale.astype(np.float32))

    def apply(self, block: NDArray[np.float32], into: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """[n, D + 1] of [n, D]; the last column is 1. `into` is what an earlier call gave, to be written over if it is
        large enough.
        """
        width = block.shape[1]
        if into is None or len(into) < len(block):
            # Rows begin on cache lines.
            into = np.empty((len(block), -(-(width + 1) // 16) * 16), np.float32)[:, : width + 1]
            into[:, -1] = 1.0
        scaled = into[: len(block)]
        np.subtract(block, self.mean, out=scaled[:, :-1])
        scaled[:, :-1] *= np.float32(1.0) / self.scale
        return scaled

    def blocks(self, data: Data) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """A pass over the rows, as [n, D + 1]; each block is written over by the next."""
        scaled: NDArray[np.float32] | None = None
        for rows, block in data.blocks():
            scaled = self.apply(block, scaled)
            yield rows, scaled
