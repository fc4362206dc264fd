"""Layer selector: the lowest layer up to which all that a probe needs is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.neurons import Neurons
from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .linear_probe import LinearProbe
from .method import Kind, TableMethod
from .parameters import About
from .probe_trials import ProbeTrial, ProbeTrials

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LayerSelection", "LayerSelector", "layers_of"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerSelection:
    """What probes of layers 0..l reach on rows they have not seen, as far up as was needed."""

    layers: tuple[tuple[str, ...], ...]
    """The sites of each layer, lowest first."""
    reached: tuple[ProbeTrial, ...]
    """With layers 0..l, for l from 0 to the highest that was chosen."""
    oracle: ProbeTrial
    """With all layers."""
    chosen: Mapping[float, int]
    """For each part of the oracle's accuracy that may be lost: the lowest l."""

    def sites(self, loss: float) -> tuple[str, ...]:
        """The sites of layers 0..l for a loss that was asked for."""
        return tuple(site for layer in self.layers[: self.chosen[loss] + 1] for site in layer)

    def to_pandas(self) -> pd.DataFrame:
        """A row per number of layers: the highest layer's sites, accuracy, and its part of the oracle's."""
        import pandas as pd

        frame = pd.DataFrame({"accuracy": [trial.accuracy for trial in self.reached]})
        frame.insert(0, "up to", [", ".join(sites) for sites in self.layers[: len(frame)]])
        return frame.assign(of_oracle=frame["accuracy"] / (self.oracle.accuracy or 1.0))


@dataclass(frozen=True)
class LayerSelector(TableMethod):
    """The lowest layer l for which a linear probe of layers 0..l, side by side, is nearly as good as one of all.

    Accuracies are on rows that no probe has seen; for each loss δ the lowest l with accuracy ≥ (1 − δ)·oracle, the
    oracle being the probe of all layers. Layers are what the names of the sites say, "embeddings" first; the layers
    above l need not be computed at all.

    Misses a single high layer that would do alone, since layers are taken from below; and l is chosen on the rows that
    accuracies are of, so that they are a little too good: judge the end result on others.
    """

    losses: Annotated[tuple[float, ...], About("Parts of the oracle's accuracy that may be lost.", 0.0, 1.0)] = (
        0.01,
        0.02,
        0.03,
    )
    l1: Annotated[float, About("Weight of Σ|W|.", 0.0, 1e6)] = 3e-4
    l2: Annotated[float, About("Weight of ΣW².", 0.0, 1e6)] = 1e-2
    epochs: Annotated[int, About("Passes over the rows.", 1, 10_000)] = 5
    test_share: Annotated[float, About("Part of the rows to judge by, if no others are given.", 0.01, 0.9)] = 0.2
    seed: Annotated[int, About("Of the splits and of shuffling.", 0, 2**32 - 1)] = 0
    standardise: Annotated[bool, About("Train on activations of mean 0 and deviation 1.")] = True

    kind: ClassVar[Kind] = Kind.REDUNDANCY
    supervised: ClassVar[bool] = True
    name: ClassVar[str] = "layer_selector"
    reference: ClassVar[str] = "Dalvi et al. 2020, Analyzing redundancy in pretrained transformer models"
    complexity: ClassVar[str] = "O(epochs·N·D·C·l)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.losses:
            raise BadData("needs at least one", where="layer_selector.losses")

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "layers": accuracy with layers 0..l. "chosen": for each loss the lowest l that is enough."""
        import pandas as pd

        found = self.select(self.only(datas), progress=progress)
        chosen = [(loss, found.chosen[loss], ", ".join(found.layers[found.chosen[loss]])) for loss in self.losses]
        return self.answer(
            datas, layers=found.to_pandas(), chosen=pd.DataFrame(chosen, columns=["loss", "layer", "up to"])
        )

    def select(self, data: Data, test: Data | None = None, *, progress: Progress = QUIET) -> LayerSelection:
        """Trains on the data, judges on `test`, or on a part of the data that is kept aside."""
        data.require_classes()
        train, test = data.split(self.test_share, self.seed) if test is None else (data, test)
        layers = layers_of(data.neurons)
        probe = LinearProbe(l1=self.l1, l2=self.l2, epochs=self.epochs, standardise=self.standardise, seed=self.seed)
        trial = ProbeTrials(probe, train, test)
        total = len(layers) + 1
        oracle = trial(np.arange(len(data.neurons)), progress.part(0.0, 1 / total))
        wanted = (1.0 - min(self.losses)) * oracle.accuracy
        reached: list[ProbeTrial] = []
        places = np.zeros(0, np.int64)
        for number, (_, of_layer) in enumerate(layers, 1):
            places = np.append(places, of_layer)
            part = progress.part(number / total, (number + 1) / total)
            reached.append(oracle if number == len(layers) else trial(places, part))
            if reached[-1].accuracy >= wanted:
                break
        progress.at(1.0)
        accuracies = np.array([trial.accuracy for trial in reached])
        lowest = {loss: int(np.argmax(accuracies >= (1.0 - loss) * oracle.accuracy)) for loss in self.losses}
        return LayerSelection(tuple(sites for sites, _ in layers), tuple(reached), oracle, MappingProxyType(lowest))


def layers_of(neurons: Neurons) -> list[tuple[tuple[str, ...], NDArray[np.int64]]]:
    """The sites of each layer and the places of its neurons, from the lowest layer on. A site without a number in its
    name comes before the layers.
    """
    numbers: dict[int, list[int]] = {}
    for number, site in enumerate(neurons.sites):
        of_site = neurons.of_site(number)
        if of_site.stop > of_site.start:
            found = re.search(r"\blayers\.(\d+)\.", site.name)
            numbers.setdefault(int(found[1]) if found else -1, []).append(number)

    def places(sites: Sequence[int]) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(neurons.site_numbers, sites))

    return [(tuple(neurons.sites[site].name for site in sites), places(sites)) for _, sites in sorted(numbers.items())]
