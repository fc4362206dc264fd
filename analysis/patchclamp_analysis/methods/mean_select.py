"""Mean select: how much more a neuron fires for a class than for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

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

    For class c |μ_c − μ_rest| / (max − min) [C, D], overall the largest over the classes. With `by="deviation"` the
    difference is divided by the standard deviation instead, which one outlier cannot blow up.
    `details["signed"]` [C, D] has the sign: negative for neurons that are silent for the class.

    Misses neurons that separate the classes without a difference of means; a duplicate scores as high as its twin.
    Deviation: the paper has one concept; the largest over the classes is ours.
    """

    by: Annotated[Literal["range", "deviation"], About("What differences are measured in.")] = "range"
    compat: Annotated[Literal["", "neurox"], About("Reproduce another implementation.")] = ""

    name: ClassVar[str] = "mean_select"
    reference: ClassVar[str] = "Fan et al. 2023, Evaluating neuron interpretation methods of NLP models"
    complexity: ClassVar[str] = "O(N·D), one pass"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1 (by range); 0 for constant neurons and for classes without rows."""
        data.require_classes()
        found = moments(data, progress)
        counts = found.counts[:, None]
        rest = (found.mean * len(data) - found.class_means * counts) / np.maximum(len(data) - counts, 1)
        spread = found.maximum - found.minimum if self.by == "range" or self.compat else found.scale
        usable = ~found.constant & (counts > 0) & (counts < len(data))
        signed = np.where(usable, found.class_means - rest, 0.0) / np.where(found.constant, 1.0, spread)
        scores = np.abs(signed)
        return self.ranking(data, scores.max(axis=0), scores, {"signed": signed})
