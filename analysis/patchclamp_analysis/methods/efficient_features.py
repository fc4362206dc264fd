"""Efficient features: as few layers and neurons as do nearly as well as all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.neurons import Neurons
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..tables import Tables
from .clusters import Clusters
from .correlation_clusters import CorrelationClusters
from .layer_selector import LayerSelector, layers_of
from .linear_probe import LinearProbe
from .method import Kind, RankingMethod, TableMethod
from .parameters import About
from .probe_trials import ProbeTrial, ProbeTrials

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EfficientFeatures", "Reduction", "Stage"]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The neurons that are left after a step ("oracle", which is all, "layers", "clusters" or "ranking"), and how a
    probe of them does.
    """

    step: str
    trial: ProbeTrial

    @property
    def layers(self) -> int:
        """Layers that have a neuron among these."""
        return len(layers_of(self.trial.neurons))


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """The steps, from all neurons to those that are enough."""

    stages: tuple[Stage, ...]
    clusters: Clusters
    """Of the neurons of the layers that were kept."""

    @property
    def neurons(self) -> Neurons:
        """Those that are enough."""
        return self.stages[-1].trial.neurons

    @property
    def speed_up(self) -> float:
        """How many times as fast a probe of these is trained as one of all, as measured."""
        return self.stages[0].trial.seconds / max(self.stages[-1].trial.seconds, 1e-9)

    def to_pandas(self) -> pd.DataFrame:
        """A row per step: layers and neurons left, their part of all, accuracy, its part of the oracle's, speed-up."""
        import pandas as pd

        oracle = self.stages[0].trial
        rows = []
        for stage in self.stages:
            trial = stage.trial
            rows.append(
                {
                    "step": stage.step,
                    "layers": stage.layers,
                    "neurons": len(trial.neurons),
                    "of_neurons": len(trial.neurons) / len(oracle.neurons),
                    "accuracy": trial.accuracy,
                    "of_oracle": trial.accuracy / (oracle.accuracy or 1.0),
                    "speed_up": oracle.seconds / max(trial.seconds, 1e-9),
                }
            )
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class EfficientFeatures(TableMethod):
    """As few layers and neurons as do nearly as well as all: layer selector, correlation clusters, ranking.

    The lowest layers with accuracy ≥ (1 − `loss`)·oracle; of their neurons one of each correlation cluster, a random
    one; of those the best by a ranking, as many as the smallest of `percents` (of all neurons) with which a probe
    reaches (1 − `loss`)·oracle. If none does, all that the clusters left stay. Probes are linear, and judged on rows
    that they have not seen; the speed-up is that of training one, measured once.

    Misses sets of neurons that are only good together, which a ranking cannot see; and all is chosen on the rows that
    accuracies are of, so that they are a little too good: judge the end result on others. Deviation: in the paper the
    threshold of the clusters is tuned for each task.
    """

    loss: Annotated[float, About("Part of the oracle's accuracy that may be lost.", 0.0, 1.0)] = 0.01
    threshold: Annotated[float, About("Neurons this near to each other say the same.", 0.0, 2.0)] = 0.3
    percents: Annotated[tuple[float, ...], About("How many neurons to try, in % of all.", 0.0, 100.0)] = (
        0.5,
        1.0,
        2.0,
        4.0,
        6.0,
        8.0,
        10.0,
        15.0,
        20.0,
        30.0,
        40.0,
        50.0,
    )
    l1: Annotated[float, About("Weight of Σ|W|.", 0.0, 1e6)] = 3e-4
    l2: Annotated[float, About("Weight of ΣW².", 0.0, 1e6)] = 1e-2
    epochs: Annotated[int, About("Passes over the rows.", 1, 10_000)] = 5
    test_share: Annotated[float, About("Part of the rows to judge by, if no others are given.", 0.01, 0.9)] = 0.2
    seed: Annotated[int, About("Of the splits, of shuffling and of the choice from clusters.", 0, 2**32 - 1)] = 0
    standardise: Annotated[bool, About("Train on activations of mean 0 and deviation 1.")] = True

    kind: ClassVar[Kind] = Kind.REDUNDANCY
    supervised: ClassVar[bool] = True
    name: ClassVar[str] = "efficient_features"
    reference: ClassVar[str] = "Dalvi et al. 2020, Analyzing redundancy in pretrained transformer models"
    complexity: ClassVar[str] = "O(epochs·N·D·C·l + N·D²), and what the ranking takes"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "steps": what each step leaves, and how a probe of that does. "neurons": those that are enough."""
        found = self.reduce(self.only(datas), progress=progress)
        return self.answer(datas, steps=found.to_pandas(), neurons=found.neurons.to_pandas())

    def reduce(
        self, data: Data, test: Data | None = None, *, ranking: RankingMethod | None = None, progress: Progress = QUIET
    ) -> Reduction:
        """Trains on the data, judges on `test`, or on a part of the data that is kept aside. `ranking` is the method
        that orders neurons: the linear probe, unless another is given.
        """
        data.require_classes()
        train, test = data.split(self.test_share, self.seed) if test is None else (data, test)
        probe = LinearProbe(l1=self.l1, l2=self.l2, epochs=self.epochs, standardise=self.standardise, seed=self.seed)
        selector = LayerSelector(
            (self.loss,), self.l1, self.l2, self.epochs, self.test_share, self.seed, self.standardise
        )
        selection = selector.select(train, test, progress=progress.part(0.0, 0.6))
        kept = _places(data.neurons, selection.sites(self.loss))
        clusters = CorrelationClusters(self.threshold).cluster(train.keep(kept), progress=progress.part(0.6, 0.7))
        kept = kept[clusters.independent(seed=self.seed)]
        trial = ProbeTrials(probe, train, test)
        stages = [
            Stage("oracle", selection.oracle),
            Stage("layers", selection.reached[selection.chosen[self.loss]]),
            Stage("clusters", trial(kept, progress.part(0.7, 0.75))),
        ]
        order = kept[(ranking or probe).rank(train.keep(kept), progress=progress.part(0.75, 0.85)).order()]
        wanted = (1.0 - self.loss) * selection.oracle.accuracy
        enough = self._fewest(trial, order, wanted, progress.part(0.85, 1.0))
        return Reduction((*stages, Stage("ranking", enough)) if enough else tuple(stages), clusters)

    def _fewest(
        self, trial: ProbeTrials, order: NDArray[np.int64], wanted: float, progress: Progress
    ) -> ProbeTrial | None:
        """The smallest number of the best neurons that is enough, if it is below all of them."""
        total = len(trial.train.neurons)
        counts = sorted({max(1, round(percent / 100 * total)) for percent in self.percents})
        counts = [count for count in counts if count < len(order)]
        for number, count in enumerate(counts):
            part = progress.part(number / len(counts), (number + 1) / len(counts))
            found = trial(np.sort(order[:count]), part)
            if found.accuracy >= wanted:
                progress.at(1.0)
                return found
        progress.at(1.0)
        return None


def _places(neurons: Neurons, sites: tuple[str, ...]) -> NDArray[np.int64]:
    """The places of the neurons of some sites."""
    numbers = [number for number, site in enumerate(neurons.sites) if site.name in sites]
    return np.flatnonzero(np.isin(neurons.site_numbers, numbers))
