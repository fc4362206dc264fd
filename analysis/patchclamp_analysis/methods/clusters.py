"""Clusters of neurons that say the same, and one neuron of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data.neurons import Neurons
from ..errors import BadData
from ..results import Ranking

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Clusters"]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which cluster each of D neurons is in: `labels` [D], numbered from 0 by their first neurons."""

    neurons: Neurons
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, neurons: Neurons, labels: NDArray[np.integer]) -> Clusters:
        """From any numbers that are equal within a cluster."""
        _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
        return cls(neurons, np.argsort(np.argsort(first))[numbers])

    def __len__(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Neurons of each cluster."""
        return np.bincount(self.labels)

    @property
    def redundant_share(self) -> float:
        """The part of the neurons that can go when one of each cluster stays."""
        return 1.0 - len(self) / len(self.labels)

    def members(self) -> list[NDArray[np.int64]]:
        """The places of each cluster's neurons, ascending; largest clusters first, equal ones by their first neuron."""
        groups = np.split(np.argsort(self.labels, kind="stable"), np.cumsum(self.sizes)[:-1])
        return sorted(groups, key=lambda group: (-len(group), int(group[0])))

    def independent(self, ranking: Ranking | None = None, *, seed: int = 0, name: str = "") -> NDArray[np.int64]:
        """The place of one neuron of each cluster, ascending: a random one by the seed; with a ranking the one with
        the highest score, overall or for the class `name`, the lowest of equals.

        Source: Dalvi et al. 2020, Analyzing redundancy in pretrained transformer models (random). Deviation: by score.
        """
        if ranking is None:
            order = np.random.default_rng(seed).permutation(len(self.labels))
        elif ranking.neurons != self.neurons:
            raise BadData("the ranking is of other neurons than the clusters", where=ranking.method)
        else:
            order = ranking.order(name)
        _, first = np.unique(self.labels[order], return_index=True)
        return np.sort(order[first])

    def to_pandas(self) -> pd.DataFrame:
        """A row per neuron: site, index, cluster, and the size of the cluster."""

        return self.neurons.to_pandas().assign(cluster=self.labels, size=self.sizes[self.labels])
