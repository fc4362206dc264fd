"""Dead: how often a neuron says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import Kind, RankingMethod
from .parameters import About

__all__ = ["Dead"]


@dataclass(frozen=True)
class Dead(RankingMethod):
    """Dead neurons first: by the part of the rows at which a neuron is silent.

    Silent is a row with |x| ≤ `threshold`; the score is their part of the rows [D], 1 for a neuron that never fires.
    `details["largest"]` [D] is the largest |x|, by which dead neurons (0) and nearly dead ones can be told apart.

    Misses neurons that are stuck at another value than 0 (their `variance` is 0), and those of smooth activation
    functions unless the threshold is raised: a GELU is hardly ever exactly 0.
    """

    threshold: Annotated[float, About("Activations up to this size are silence.", 0.0, 1e30)] = 0.0

    name: ClassVar[str] = "dead"
    reference: ClassVar[str] = "Karpathy et al. 2015, Visualizing and understanding recurrent networks"
    complexity: ClassVar[str] = "O(N·D), one pass"

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    supervised: ClassVar[bool] = False

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1."""
        silent, largest = np.zeros(len(data.neurons), np.int64), np.zeros(len(data.neurons), np.float32)
        for _, block in progress.each(data.blocks()):
            size = np.abs(block)
            silent += np.sum(size <= np.float32(self.threshold), axis=0)
            np.maximum(largest, size.max(axis=0), out=largest)
        return self.ranking(data, silent / len(data), details={"largest": largest})
