"""IoU: how well the places where a neuron fires cover those of a concept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..data import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About

__all__ = ["Iou"]

Signs = Literal["positive", "negative", "absolute", "both"]


@dataclass(frozen=True)
class Iou(RankingMethod):
    """Intersection over union of the rows where a neuron fires and those of a class.

    M [N, D] is where x > threshold; for class c IoU = |M∩C| / |M∪C| [C, D]. Overall the largest over the classes of
    (IoU − chance)/(1 − chance), chance being what a neuron shows that fires as often, but independently of the class.
    With `share` > 0 the threshold is each neuron's own: its highest `share` of the rows fire (the 1 − share quantile),
    as in the paper. `sign` says what firing is: x above the threshold ("positive"), −x above it ("negative"), |x|
    ("absolute"), or whichever of the first two is better for the class ("both"; `details["sign"]` [C, D] says which).

    Misses neurons whose concept lies between two thresholds, and rare classes score low unless the neuron fires as
    seldom, since the union is large: neurons of a dense network are seldom silent, so that `share` is the better
    choice there. Deviations: the overall score, and "both", are ours.
    """

    threshold: Annotated[float, About("Fires above this; not used if share > 0.", least=-1e30, most=1e30)] = 0.0
    share: Annotated[float, About("Part of the rows for which each neuron fires; 0: by threshold.", 0.0, 1.0)] = 0.0
    sign: Annotated[Signs, About("What firing is.")] = "positive"

    name: ClassVar[str] = "iou"
    reference: ClassVar[str] = "Mu & Andreas 2020, Compositional explanations of neurons"
    complexity: ClassVar[str] = "O(N·D), one pass; with share > 0 a partial sort of each neuron more"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1. A neuron that never fires scores 0."""
        data.require_classes()
        members = sparse.csr_array(
            (np.ones(len(data), np.float32), (data.y, np.arange(len(data)))), shape=(len(data.classes), len(data))
        )
        scores = np.zeros((2, len(data.classes), len(data.neurons)))
        overall = np.zeros((2, len(data.neurons)))
        for places, block in progress.each(data.columns(working_bytes=20)):
            for number, values in enumerate(self._signed(block)):
                found, above_chance = _iou(self._fires(values), members, data.counts)
                scores[number, :, places], overall[number, places] = found, above_chance.max(axis=0)
        signs = np.where(scores[1] > scores[0], -1, 1).astype(np.int8)
        details = {"sign": signs} if self.sign == "both" else {}
        return self.ranking(data, overall.max(axis=0), scores.max(axis=0), details)

    def _signed(self, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """What is compared with the threshold; of "both" twice."""
        if self.sign in ("positive", "both"):
            yield block
        if self.sign in ("negative", "both"):
            yield -block
        if self.sign == "absolute":
            yield np.abs(block)

    def _fires(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, d] 1 where a neuron fires."""
        if not self.share:
            return np.greater(block, np.float32(self.threshold)).astype(np.float32)
        rows = len(block)
        place = rows - 1 - int(self.share * rows)
        if place < 0:
            return np.ones(block.shape, np.float32)
        threshold: NDArray[np.float32] = np.partition(block, place, axis=0)[place]
        return np.asarray(block > threshold, np.float32)


def _iou(
    fires: NDArray[np.float32], members: sparse.csr_array, counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[C, d] IoU, and how far it is above chance."""
    # Counts are exact in float32 up to 2²⁴, so that more rows are counted in parts.
    both = np.zeros((len(counts), fires.shape[1]))
    for at in range(0, len(fires), 2**24):
        both += members[:, at : at + 2**24] @ fires[at : at + 2**24]
    firing, size = fires.sum(axis=0, dtype=np.float64), counts[:, None].astype(np.float64)
    found = both / np.maximum(firing + size - both, 1.0)
    by_chance = firing * size / len(fires)
    chance = by_chance / np.maximum(firing + size - by_chance, 1.0)
    return found, (found - chance) / np.where(chance < 1.0, 1.0 - chance, 1.0)
