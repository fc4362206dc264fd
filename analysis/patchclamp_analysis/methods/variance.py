"""Variance: how much a neuron's activation moves at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..data.moments import moments
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import Kind, RankingMethod

__all__ = ["Variance"]


@dataclass(frozen=True)
class Variance(RankingMethod):
    """Neurons by the variance of their activation: those that hardly move say little.

    σ² = Σ(x − μ)²/N [D], μ being the mean over the rows. `details["mean"]` [D].

    Misses what small activations say: scale is all it sees, so that noise of large scale is first, and a duplicate
    scores as high as its twin.
    """

    name: ClassVar[str] = "variance"
    reference: ClassVar[str] = "Dalvi et al. 2019, NeuroX: a toolkit for analyzing individual neurons"
    complexity: ClassVar[str] = "O(N·D), one pass"

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    supervised: ClassVar[bool] = False

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores ≥ 0; 0 for constant neurons."""
        found = moments(data, progress)
        return self.ranking(data, (found.variance * ~found.constant), details={"mean": found.mean})
