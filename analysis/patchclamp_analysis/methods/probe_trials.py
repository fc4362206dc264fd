"""What a linear probe of some neurons reaches on rows it has not seen."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.neurons import Neurons
from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from .linear_probe import LinearProbe

__all__ = ["ProbeTrial", "ProbeTrials"]


@dataclass(frozen=True, slots=True, eq=False)
class ProbeTrial:
    """A probe of some neurons: the part of unseen rows that it gets right, and the seconds that training it took."""

    neurons: Neurons
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class ProbeTrials:
    """Trains probes of some neurons on one part of the rows and judges them on another."""

    probe: LinearProbe
    train: Data
    test: Data

    def __post_init__(self) -> None:
        if self.train.neurons != self.test.neurons:
            raise BadData("the rows to judge by are of other neurons than those to train on", where=self.test.label)

    def __call__(self, places: NDArray[np.int64], progress: Progress = QUIET) -> ProbeTrial:
        """Of the neurons at some places."""
        train = self.train.keep(places)
        began = time.perf_counter()
        trained = self.probe.fit(train, progress=progress)
        seconds = time.perf_counter() - began
        return ProbeTrial(train.neurons, trained.score(self.test.keep(places)).accuracy, seconds)
