"""Accuracy of probes: trained on some neurons alone, or trained on all and then deprived of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..data.neurons import Neurons, Site
from ..data.rows import Data
from ..data.sources import Arrays
from ..errors import BadData
from ..methods.linear_probe import LinearProbe
from ..probe import Probe
from ..progress import QUIET, Progress
from .selections import Places

__all__ = ["ProbingTask", "ablation_accuracies", "gathered", "majority"]


@dataclass(frozen=True, slots=True, eq=False)
class ProbingTask:
    """Rows to train a probe on, and others to judge it by. Test rows of classes without training count as wrong."""

    train: Data
    test: Data
    probe: LinearProbe

    def __post_init__(self) -> None:
        self.train.require_classes()
        if self.test.neurons != self.train.neurons:
            raise BadData("has other neurons than what is trained on", where="test")
        object.__setattr__(self, "test", self.test.with_classes(self.train.classes))

    def fit(self, places: Places | None = None, seed: int = 0, progress: Progress = QUIET) -> Probe:
        """A probe of some neurons, by place; None: of all."""
        train = self.train if places is None else gathered(self.train.keep(places))
        return replace(self.probe, seed=seed).fit(train, progress=progress)

    def accuracy(self, places: Places | None = None, seed: int = 0, progress: Progress = QUIET) -> float:
        """On the test rows, of a probe of some neurons."""
        test = self.test if places is None else gathered(self.test.keep(places))
        return self.fit(places, seed, progress).score(test).accuracy


def majority(train: Data, test: Data) -> float:
    """The accuracy on `test` of always saying the class that is most frequent in `train`."""
    most = int(train.counts.argmax())
    return float(np.mean(test.with_classes(train.classes).y == most))


def gathered(data: Data) -> Data:
    """The same rows with their neurons side by side, as one site, in memory or in a temporary file: for passes over a
    few neurons of many.
    """
    site = Site("chosen", len(data.neurons))
    arrays = Arrays((site,), (data.matrix(),))
    return replace(data, source=arrays, neurons=Neurons.all_of([site]), rows=np.arange(len(data)))


def ablation_accuracies(
    probe: Probe,
    test: Data,
    kept: Sequence[Places],
    value: Literal["mean", "zero"] = "mean",
    progress: Progress = QUIET,
) -> list[float]:
    """The accuracy of a trained probe for each choice of neurons that it still sees as they are; the others are at
    their mean or at 0. Many choices ride one pass: O(N·D·C) each.

    Source: Dalvi et al. 2019, What is one grain of sand in the desert? (there: 0).
    """
    y, classes = test.with_classes(probe.classes).y, len(probe.classes)
    at_once = max(1, test.memory_bytes // 4 // (4 * len(test) * classes))
    found: list[float] = []
    for start in progress.each(range(0, len(kept), at_once)):
        probes = [probe.ablated(places, value) for places in kept[start : start + at_once]]
        logits = _stacked(probes).logits(test).reshape(len(test), len(probes), classes)
        found += np.mean(logits.argmax(axis=2) == y[:, None], axis=0).tolist()
    return found


def _stacked(probes: Sequence[Probe]) -> Probe:
    weights: NDArray[np.float32] = np.concatenate([probe.weights for probe in probes])
    return replace(probes[0], weights=weights, bias=np.concatenate([probe.bias for probe in probes]))
