"""Average precision: how well a neuron's activation alone retrieves the rows of a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About
from .retrieval import Retrieval, Sentences

__all__ = ["AveragePrecision"]

# Values at a time: more fall out of the caches.
_AT_ONCE = 2**16


@dataclass(frozen=True)
class AveragePrecision(RankingMethod):
    """Average precision of each class when the rows are sorted by a neuron's activation: "expert units".

    With the rows in descending order of x, AP_c = Σ_k (R_k − R_{k−1})·P_k over the distinct values, P_k and R_k the
    precision and recall of c among the rows down to value k [C, D] (scikit-learn's definition; equal values count
    together). With `sign="both"` the ascending order is tried too, and the better of them is the score: a neuron that
    is silent for the class is found as well; `details["sign"]` [C, D] says which. Overall the largest over the classes
    of (AP_c − p_c)/(1 − p_c), p_c being what chance gives: the class's part of the rows. With `unit="sentence"` what is
    retrieved are sentences, by the largest activation among their words. All classes come from one sort.

    Misses neurons whose class lies in the middle of their range. `threshold` sets activations nearer to 0 than it to 0
    first, as NeuroX's "IoU probe" does (0.05 there); `compat="neurox"` looks at the descending order only.
    Deviations from the paper: both signs; multi-class.
    """

    sign: Annotated[Literal["positive", "both"], About("Whether silence for a class counts too.")] = "both"
    threshold: Annotated[float, About("Activations nearer to 0 than this count as 0.", 0.0, 1e30)] = 0.0
    unit: Annotated[Literal["word", "sentence"], About("What is retrieved; sentences by their largest word.")] = "word"
    compat: Annotated[Literal["", "neurox"], About("Reproduce another implementation.")] = ""

    name: ClassVar[str] = "average_precision"
    reference: ClassVar[str] = "Suau et al. 2020, Finding experts in transformer models"
    complexity: ClassVar[str] = "O(N·log N·D), a sort per neuron for all classes"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores per class from 0 to 1; a constant neuron has the class's part of the rows, and 0 overall."""
        data.require_classes()
        sentences = Sentences(data) if self.unit == "sentence" else None
        y = data.y if sentences is None else sentences.y
        counts = np.bincount(y, minlength=len(data.classes))
        present = np.flatnonzero(counts)
        both = self.sign == "both" and not self.compat
        retrieval = Retrieval(np.searchsorted(present, y), counts[present])
        scores = np.zeros((2, len(data.classes), len(data.neurons)))
        step = max(1, _AT_ONCE // len(data))
        for places, block in progress.each(data.columns(working_bytes=12)):
            for at in range(0, block.shape[1], step):
                values = self._prepared(block.T[at : at + step])
                neurons = slice(places.start + at, places.start + at + len(values))
                if sentences is None:
                    scores[:, present, neurons] = retrieval(values, both=both)
                else:
                    scores[0, present, neurons] = retrieval(sentences.largest(values), both=False)[0]
                    if both:
                        scores[1, present, neurons] = retrieval(sentences.largest(-values), both=False)[0]
            progress.check()
        best = scores.max(axis=0)
        chance = counts[present, None] / len(y)
        overall = ((best[present] - chance) / (1 - chance)).max(axis=0)
        signs = np.where(scores[1] > scores[0], -1, 1).astype(np.int8)
        return self.ranking(data, overall, best, {"sign": signs} if both else {})

    def _prepared(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.abs(values) < self.threshold, np.float32(0), values) if self.threshold else values
