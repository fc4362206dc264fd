"""UMAP and k-means: a map of the neurons, and the populations on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..data.scaling import Scaling
from ..errors import AnalysisError, BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .clusters import Clusters
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["Populations", "UmapKmeans"]

# UMAP computes all distances of fewer points than this.
_ALL_DISTANCES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Populations:
    """Where each neuron is on the map [D, 2], and the clusters there."""

    positions: NDArray[np.float32]
    clusters: Clusters


@dataclass(frozen=True)
class UmapKmeans(TableMethod):
    """Populations of neurons: a UMAP of their activations, clustered by k-means.

    A neuron is the point (x − μ)/σ of `rows` dimensions (x without `standardise`: large neurons are then far from small
    ones), the rows being a random choice of the data's; UMAP puts the points on a plane so that near ones stay near,
    and k-means (scikit-learn, 10 starts) parts it into K populations. Needs umap-learn, the extra `umap`.

    Misses distances between populations and their sizes, which a UMAP distorts; opposite neurons are far apart
    (`correlation_clusters` joins them). Can be cancelled between its steps only. 16·N·D bytes for N rows, and 8·D² for
    distances (of more than 4096 neurons UMAP only takes those of near ones), must fit into the memory bound.
    """

    populations: Annotated[int, About("Clusters, K.", 1, 10_000)] = 10
    rows: Annotated[int, About("Most rows to look at.", 2, 1_000_000)] = 2000
    neighbours: Annotated[int, About("Neurons that each is kept near to.", 2, 1000)] = 15
    seed: Annotated[int, About("Of the choice of rows, of the map and of the clusters.", 0, 2**32 - 1)] = 0
    standardise: Annotated[bool, About("Look at activations of mean 0 and deviation 1.")] = True

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    name: ClassVar[str] = "umap_kmeans"
    reference: ClassVar[str] = "Meyes et al. 2020, Under the hood of neural networks"
    complexity: ClassVar[str] = "O(D²·rows) for the map; from 4,096 neurons on O(D·log D·rows)"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "neurons": where each neuron is on the map, its population and that one's size."""
        found = self.fit(self.only(datas), progress=progress)
        frame = found.clusters.to_pandas().rename(columns={"cluster": "population"})
        return self.answer(datas, neurons=frame.assign(x=found.positions[:, 0], y=found.positions[:, 1]))

    def fit(self, data: Data, *, progress: Progress = QUIET) -> Populations:
        """The populations. BadData for fewer neurons than they, or fewer than four."""
        try:
            from umap import UMAP
        except ImportError as error:
            raise AnalysisError("umap_kmeans needs umap-learn: pip install 'patchclamp[analysis,umap]'") from error
        width = len(data.neurons)
        if width < max(4, self.populations):
            raise BadData(f"{width} neurons are too few for a map of {self.populations} populations", where=data.label)
        points = self._points(data, progress.part(0.0, 0.2))
        map_ = UMAP(n_neighbors=min(self.neighbours, width - 1), random_state=self.seed, n_jobs=1)
        positions = np.asarray(map_.fit_transform(points), dtype=np.float32)
        progress.at(0.9)
        labels = self.partition(positions)
        progress.at(1.0)
        return Populations(positions, Clusters.of(data.neurons, labels))

    def partition(self, positions: NDArray[np.floating]) -> NDArray[np.int64]:
        """[D] the population of each position [D, 2]."""
        from sklearn.cluster import KMeans

        return np.asarray(KMeans(self.populations, n_init=10, random_state=self.seed).fit_predict(positions), np.int64)

    def _points(self, data: Data, progress: Progress) -> NDArray[np.float32]:
        """[D, rows]"""
        if len(data) > self.rows:
            data = data.take(np.sort(np.random.default_rng(self.seed).choice(len(data), self.rows, replace=False)))
        rows, width = data.shape
        if (need := 16 * rows * width + 8 * min(width, _ALL_DISTANCES) ** 2) > data.memory_bytes:
            text = f"{rows} rows of {width} neurons need {need} bytes, and memory_bytes is {data.memory_bytes}"
            raise BadData(f"{text}: raise it, or take fewer rows", where="umap_kmeans.rows")
        scaling = Scaling.of(data, standardise=self.standardise, progress=progress.part(0.0, 0.5))
        points = np.empty((width, rows), np.float32)
        for at, block in progress.part(0.5, 1.0).each(data.blocks()):
            points[:, at] = scaling.apply(block)[:, :-1].T
        return points
