"""IoU: how well the places where a neuron fires cover those of a concept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.moments import members
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .firing import Sign, own_thresholds, signed
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
    choice there. A dead neuron whose remnants of 1e-30 go by the concept's words fires, too: a threshold above them
    leaves it out. Deviations: the overall score, and "both", are ours.
    """

    threshold: Annotated[float, About("Fires above this; not used if share > 0.", least=-1e30, most=1e30)] = 0.0
    share: Annotated[float, About("Part of the rows for which each neuron fires; 0: by threshold.", 0.0, 1.0)] = 0.0
    sign: Annotated[Signs, About("What firing is.")] = "positive"

    name: ClassVar[str] = "iou"
    reference: ClassVar[str] = "Mu & Andreas 2020, Compositional explanations of neurons"
    complexity: ClassVar[str] = "O(N·D), one pass; with share > 0 a partial sort of each neuron more"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1. A neuron that always fires, or never, scores 0 overall."""
        data.require_classes()
        thresholds = self._thresholds(data, progress.part(0.0, 0.5))
        both = np.zeros((len(thresholds), len(data.classes), len(data.neurons)))
        firing = np.zeros((len(thresholds), len(data.neurons)))
        for rows, block in progress.part(0.5, 1.0).each(data.blocks()):
            by_class = members(data.y[rows], len(data.classes))
            for number, values in enumerate(self._signed(block)):
                fires = np.greater(values, thresholds[number]).astype(np.float32)
                both[number] += by_class @ fires
                firing[number] += fires.sum(axis=0)
        found, above_chance = zip(
            *(_iou(*counts, data.counts, len(data)) for counts in zip(both, firing, strict=True)), strict=True
        )
        scores = np.max(found, axis=0)
        signs = np.where(found[-1] > found[0], -1, 1).astype(np.int8)
        details = {"sign": signs} if self.sign == "both" else {}
        return self.ranking(data, np.max(above_chance, axis=(0, 1)), scores, details)

    def _thresholds(self, data: Data, progress: Progress) -> NDArray[np.float32]:
        """Of each neuron, for each of the signed values [1 or 2, D]."""
        count = 2 if self.sign == "both" else 1
        found = np.full((count, len(data.neurons)), np.float32(self.threshold))
        if self.share:
            for places, block in progress.each(data.columns(working_bytes=8)):
                for number, values in enumerate(self._signed(block)):
                    found[number, places] = own_thresholds(values, self.share)
        progress.at(1.0)
        return found

    def _signed(self, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """What is compared with the threshold; of "both" twice."""
        signs: tuple[Sign, ...] = ("positive", "negative") if self.sign == "both" else (self.sign,)
        return (signed(block, sign) for sign in signs)


def _iou(
    both: NDArray[np.float64], firing: NDArray[np.float64], counts: NDArray[np.int64], rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[C, d] IoU, and how far it is above chance."""
    size = counts[:, None].astype(np.float64)
    found = both / np.maximum(firing + size - both, 1.0)
    by_chance = firing * size / rows
    chance = by_chance / np.maximum(firing + size - by_chance, 1.0)
    return found, (found - chance) / np.where(chance < 1.0, 1.0 - chance, 1.0)
