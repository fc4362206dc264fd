"""Distance from the mean: how far a neuron usually is from its mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from ..data.moments import moments
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import Kind, RankingMethod
from .parameters import About

__all__ = ["DistanceFromMean"]


@dataclass(frozen=True)
class DistanceFromMean(RankingMethod):
    """Neurons by how far they are from their mean, on average.

    Σ|x − μ|/N [D], μ being the mean over the rows: like the variance, but a few outliers count less. With `scale` it is
    divided by the standard deviation, which leaves the shape alone: 1 for a switch with two equal positions, 0.8 for a
    Gaussian, near 0 for a neuron that fires seldom and strongly.

    Misses what small activations say, unless `scale` is set: noise of large scale is first.
    """

    scale: Annotated[bool, About("Divide by each neuron's standard deviation.")] = False

    name: ClassVar[str] = "distance_from_mean"
    reference: ClassVar[str] = "Dalvi et al. 2019, NeuroX: a toolkit for analyzing individual neurons"
    complexity: ClassVar[str] = "O(N·D), two passes"

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    supervised: ClassVar[bool] = False

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores ≥ 0, with `scale` up to 1; 0 for constant neurons."""
        found = moments(data, progress.part(0.0, 0.5))
        mean = found.mean.astype(np.float32)
        # What float32 leaves of a large mean is much to a small deviation.
        rest = (found.mean - mean).astype(np.float32)
        sums = np.zeros(len(data.neurons))
        for _, block in progress.part(0.5, 1.0).each(data.blocks()):
            distances = block - mean
            distances -= rest
            sums += np.abs(distances, out=distances).sum(axis=0)
        distances = np.where(found.constant, 0.0, sums / len(data))
        return self.ranking(data, distances / found.scale if self.scale else distances)
