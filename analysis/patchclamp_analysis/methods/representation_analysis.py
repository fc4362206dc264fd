"""Representation analysis: a probe per site, to see which layers know about a concept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from ..data.rows import Data
from ..probe import ProbeScores
from ..progress import QUIET, Progress
from ..tables import Tables
from .linear_probe import LinearProbe
from .method import Kind, TableMethod
from .parameters import About

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RepresentationAnalysis", "SiteScores"]


@dataclass(frozen=True, slots=True)
class SiteScores:
    """How well a probe of each site does on rows it has not seen, in the order of the sites."""

    sites: tuple[str, ...]
    scores: tuple[ProbeScores, ...]
    regression: bool = False

    def to_pandas(self) -> pd.DataFrame:
        """A row per site: accuracy, majority and loss, or loss and correlations of a regression."""
        import pandas as pd

        columns = ("loss", "pearson", "spearman") if self.regression else ("accuracy", "majority", "loss")
        rows = [[getattr(scores, column) for column in columns] for scores in self.scores]
        frame = pd.DataFrame(rows, columns=list(columns))
        frame.insert(0, "site", list(self.sites))
        return frame


@dataclass(frozen=True)
class RepresentationAnalysis(TableMethod):
    """A linear probe per site, trained on its neurons alone and judged on rows it has not seen.

    Says where a concept can be read off linearly. Misses whether the model uses it there, and which neurons carry it. A
    wide site has more to read from than a narrow one.
    """

    l1: Annotated[float, About("Weight of Σ|W|.", 0.0, 1e6)] = 3e-4
    l2: Annotated[float, About("Weight of ΣW².", 0.0, 1e6)] = 1e-2
    epochs: Annotated[int, About("Passes over the rows; 0: as many as it takes.", 0, 100_000)] = 0
    test_share: Annotated[float, About("Part of the rows to judge by, if no others are given.", 0.01, 0.9)] = 0.2
    seed: Annotated[int, About("Of the splits and of shuffling.", 0, 2**32 - 1)] = 0
    standardise: Annotated[bool, About("Train on activations of mean 0 and deviation 1.")] = True

    kind: ClassVar[Kind] = Kind.CONCEPT_TO_NEURONS
    supervised: ClassVar[bool] = True
    name: ClassVar[str] = "representation_analysis"
    reference: ClassVar[str] = "Dalvi et al. 2019, What is one grain of sand in the desert?"
    complexity: ClassVar[str] = "O(epochs·N·D·C)"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "sites": how well a probe of each site does, on a part of the rows that is kept aside."""
        return self.answer(datas, sites=self.analyse(self.only(datas), progress=progress).to_pandas())

    def analyse(self, data: Data, test: Data | None = None, *, progress: Progress = QUIET) -> SiteScores:
        """Trains on the data, judges on `test`, or on a part of the data that is kept aside."""
        if test is None:
            data, test = data.split(self.test_share, self.seed)
        probe = LinearProbe(l1=self.l1, l2=self.l2, epochs=self.epochs, standardise=self.standardise, seed=self.seed)
        sites = [data.neurons.sites[number].name for number in np.unique(data.neurons.site_numbers)]
        found = []
        for number, site in enumerate(sites):
            part = progress.part(number / len(sites), (number + 1) / len(sites))
            trained = probe.fit(data.of_site(site), progress=part)
            found.append(trained.score(test.of_site(site)))
        return SiteScores(tuple(sites), tuple(found), data.targets is not None)
