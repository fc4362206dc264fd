"""Probeless: how far apart the means of the classes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.moments import moments
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About

__all__ = ["Probeless"]


@dataclass(frozen=True)
class Probeless(RankingMethod):
    """How far apart the means of the classes are, without a probe.

    With μ_c [D] the mean of class c: overall Σ_{c<c'} |μ_c − μ_c'|, for class c Σ_{c'} |μ_c − μ_c'|. Divided by each
    neuron's standard deviation: raw differences put a noisy neuron of large scale first. `compat="neurox"`, or
    `scale=False`, leaves them raw, as the paper does.

    Misses neurons that differ between classes in spread or shape but not in the mean. All pairs of classes weigh the
    same, however rare they are.
    """

    scale: Annotated[bool, About("Divide by each neuron's standard deviation.")] = True
    compat: Annotated[Literal["", "neurox"], About("Reproduce another implementation.")] = ""

    name: ClassVar[str] = "probeless"
    reference: ClassVar[str] = "Antverg & Belinkov 2022, On the pitfalls of analyzing individual neurons"
    complexity: ClassVar[str] = "O(N·D + C·log C·D), one pass"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores ≥ 0; 0 for constant neurons."""
        data.require_classes()
        found = moments(data, progress)
        present = found.counts > 0
        means = found.class_means[present]
        if self.scale and not self.compat:
            means = (means - found.mean) / found.scale
        distances = np.zeros((len(data.classes), len(data.neurons)))
        distances[present] = np.where(found.constant, 0.0, _distances(means))
        return self.ranking(data, distances.sum(axis=0) / 2, distances)


def _distances(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """[C, D] the sum of each mean's distances to the others. Sorted, the ones below and above need no pairs."""
    order = np.argsort(means, axis=0)
    ascending: NDArray[np.float64] = np.take_along_axis(means, order, axis=0)
    below = np.cumsum(ascending, axis=0) - ascending
    place = np.arange(len(means))[:, None]
    above = ascending.sum(axis=0) - below - ascending
    sums = ascending * (2 * place - len(means) + 1) - below + above
    distances: NDArray[np.float64] = np.empty_like(sums)
    np.put_along_axis(distances, order, np.maximum(sums, 0.0), axis=0)
    return distances
