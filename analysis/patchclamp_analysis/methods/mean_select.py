"""Mean select: how much more a neuron fires for a class than for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ..data.moments import moments
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About

__all__ = ["MeanSelect"]


@dataclass(frozen=True)
class MeanSelect(RankingMethod):
    """Selectivity: difference of the means of a class and of the rest, as a part of the neuron's range.

    For class c |μ_c − μ_rest| / (max − min) [C, D]. With `by="deviation"` the difference is divided by the standard
    deviation instead, which one outlier cannot blow up. Overall the classes take turns: first each one's best neuron
    (of these the most selective first), then each one's second, …; the neuron that comes r-th scores 1/r, equal ones
    the same. `details["signed"]` [C, D] has the sign: negative for neurons that are silent for the class.

    Misses neurons that separate the classes without a difference of means; a duplicate scores as high as its twin.
    Deviation: the paper has one concept; the turns are ours. The largest or the mean over the classes would let one
    class have all top neurons: interjections do in SmolLM2, being first words, on which a few neurons are huge.
    """

    by: Annotated[Literal["range", "deviation"], About("What differences are measured in.")] = "range"
    compat: Annotated[Literal["", "neurox"], About("Reproduce another implementation.")] = ""

    name: ClassVar[str] = "mean_select"
    reference: ClassVar[str] = "Fan et al. 2023, Evaluating neuron interpretation methods of NLP models"
    complexity: ClassVar[str] = "O(N·D), one pass"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1 (those of classes by range); 0 for constant neurons and for classes without rows."""
        data.require_classes()
        found = moments(data, progress)
        counts = found.counts[:, None]
        rest = (found.mean * len(data) - found.class_means * counts) / np.maximum(len(data) - counts, 1)
        spread = found.maximum - found.minimum if self.by == "range" or self.compat else found.scale
        usable = ~found.constant & (counts > 0) & (counts < len(data))
        signed = np.where(usable, found.class_means - rest, 0.0) / np.where(found.constant, 1.0, spread)
        scores = np.abs(signed)
        return self.ranking(data, _by_turns(scores), scores, {"signed": signed})


def _by_turns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """[D] 1/r for the neuron that comes r-th when the classes take turns; 0 where no class has a score."""
    places = rankdata(-scores, method="min", axis=1)
    places[scores == 0] = scores.shape[1] + 1
    # By the class in which it comes first; of those in the same turn the larger score.
    turns = np.stack((places.min(axis=0), -np.where(places == places.min(axis=0), scores, 0.0).max(axis=0)))
    return np.where(scores.any(axis=0), 1.0 / (1.0 + np.unique(turns, axis=1, return_inverse=True)[1].ravel()), 0.0)
