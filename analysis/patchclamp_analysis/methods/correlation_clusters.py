"""Correlation clusters: neurons that rise and fall together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.blocks import steps
from ..data.correlation import Standardised, correlation_stripes, correlations
from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .clusters import Clusters
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["CorrelationClusters"]

# Per pair of neurons: correlations and distances of all at once, or of a group alone. Scipy works on a copy.
_BYTES, _GROUP_BYTES = 14, 9
_CHECK_ROWS = 256


@dataclass(frozen=True)
class CorrelationClusters(TableMethod):
    """Groups of neurons that say the same, by agglomerative clustering of their correlations.

    Distances d = 1 − |ρ| (1 − ρ without `absolute`), ρ being Pearson's correlation over the rows and 0 for constant
    neurons; clusters merge in the order of their average, largest ("complete") or smallest ("single") distance, up to
    and with `threshold`. Only neurons that a chain of distances within the threshold links can end up in one cluster,
    so that each such group is clustered alone: exactly what clustering all at once gives.

    Memory: 14·D² bytes where the memory bound holds them: correlations in float32, and distances in float64 of as many
    as are linked (at most 4.2 GB for 17,280 neurons). Otherwise correlations are made in stripes, a pass each, and
    those within a group once more: a group of m neurons then needs 9·m² bytes, and BadData says so if it is too much.

    Misses neurons that are redundant in another way: as combinations of several others, or by a relation that is not
    linear; with a threshold below 10⁻⁵ also exact copies, between which rounding leaves some 10⁻⁶. Deviation from
    NeuroX: correlations in float32, the partition is the same.
    """

    threshold: Annotated[float, About("Clusters merge up to this distance.", 0.0, 2.0)] = 0.3
    absolute: Annotated[bool, About("Whether opposite neurons are near to each other.")] = True
    linkage: Annotated[Literal["average", "complete", "single"], About("Distance of two clusters.")] = "average"

    kind: ClassVar[Kind] = Kind.REDUNDANCY
    name: ClassVar[str] = "correlation_clusters"
    reference: ClassVar[str] = "Dalvi et al. 2020, Analyzing redundancy in pretrained transformer models"
    complexity: ClassVar[str] = "O(N·D² + D²), two passes"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "neurons": the cluster of each neuron and its size. "clusters": how many there are, and how many
        neurons can go when one of each stays.
        """
        import pandas as pd

        found = self.cluster(self.only(datas), progress=progress)
        summary = {"neurons": [len(found.labels)], "clusters": [len(found)], "redundant_share": [found.redundant_share]}
        return self.answer(datas, neurons=found.to_pandas(), clusters=pd.DataFrame(summary))

    def cluster(self, data: Data, *, progress: Progress = QUIET) -> Clusters:
        """The clusters of the data's neurons. Labels are not looked at."""
        rows = Standardised.of(data, progress.part(0.0, 0.1))
        width = len(data.neurons)
        labels, begin = np.arange(width), 0.8
        whole: NDArray[np.float32] | None = None
        if _BYTES * width**2 <= data.memory_bytes:
            whole, begin = correlations(rows, progress.part(0.1, 0.9)), 0.9
            self._link(labels, 0, whole, progress)
        else:
            stripes = steps(0, width, data.memory_bytes // (24 * width))
            for stripe, found in correlation_stripes(rows, None, stripes, progress.part(0.1, begin)):
                self._link(labels, stripe.start, found, progress)
        groups = Clusters.of(data.neurons, labels).members()
        if self.linkage != "single":
            # A pair is a cluster as it is.
            for members in progress.part(begin, 1.0).each([members for members in groups if len(members) > 2]):
                distances = self._condensed(data, members, whole, progress)
                labels[members] = members[_cut(distances, self.linkage, self.threshold)]
        progress.at(1.0)
        return Clusters.of(data.neurons, labels)

    def _link(self, labels: NDArray[np.int64], start: int, found: NDArray[np.float32], progress: Progress) -> None:
        """Gives one label to neurons that a chain of distances within the threshold links. Row i of `found` is neuron
        start + i, its columns begin at neuron `start`; what lies below the diagonal is not looked at.
        """
        for i in range(len(found)):
            if not i % _CHECK_ROWS:
                progress.check()
            near = start + i + 1 + np.flatnonzero(self._distances(found[i, i + 1 :]) <= self._limit)
            if len(near):
                joined = np.zeros(len(labels), bool)
                joined[labels[near]] = joined[labels[start + i]] = True
                labels[joined[labels]] = np.argmax(joined)

    def _condensed(
        self, data: Data, members: NDArray[np.int64], whole: NDArray[np.float32] | None, progress: Progress
    ) -> NDArray[np.float64]:
        """[m·(m − 1)/2] distances of some neurons, as scipy wants them."""
        count, columns = len(members), members
        if whole is None:
            if (need := _GROUP_BYTES * count**2) > data.memory_bytes:
                text = f"{count} neurons are linked at this threshold, and their distances need {need} bytes"
                raise BadData(
                    f"{text}: raise memory_bytes = {data.memory_bytes}, or lower the threshold", where=self.name
                )
            progress.check()
            whole, columns = correlations(Standardised.of(data.keep(members))), np.arange(count)
        distances = np.empty(count * (count - 1) // 2)
        at = 0
        for i, column in enumerate(columns):
            row = whole[column, columns[i + 1 :]]
            distances[at : at + len(row)] = self._distances(row)
            at += len(row)
        return distances

    def _distances(self, correlation: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes = np.abs(correlation) if self.absolute else correlation
        # Rounding puts correlations just above 1.
        return np.maximum(np.float32(1.0) - sizes, np.float32(0.0))

    @property
    def _limit(self) -> np.float32:
        """The largest float32 within the threshold."""
        limit = np.float32(self.threshold)
        return limit if float(limit) <= self.threshold else np.nextafter(limit, np.float32(-1.0))


def _cut(distances: NDArray[np.float64], linkage: str, threshold: float) -> NDArray[np.int64]:
    """[m] the number of each neuron's cluster, from 0."""
    from scipy.cluster import hierarchy

    labels = hierarchy.fcluster(hierarchy.linkage(distances, linkage), threshold, "distance")
    return np.asarray(labels, dtype=np.int64) - 1
