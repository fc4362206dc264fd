"""Mutual information: how much each neuron alone tells about the class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..information import entropy
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About
from .sorting import sorted_with

__all__ = ["MutualInformation"]

# Values at a time: more fall out of the caches.
_AT_ONCE = 2**17


@dataclass(frozen=True)
class MutualInformation(RankingMethod):
    """Mutual information of each neuron alone with the class, as a part of the class's entropy.

    Overall I(x; y)/H(y); for class c I(x; y = c)/H(y = c) [C, D]. `estimator="binned"` cuts each neuron's values into
    bins of equal numbers of rows (equal values stay together), I = H(bin) + H(y) − H(bin, y), less the bias that counts
    of independent bins and classes would show, (B − 1)(C − 1)/2N nats, and never below 0. `"knn"` is scikit-learn's
    nearest-neighbour estimator (Ross 2014): no bins, but hundreds of times as slow.

    Finds any dependence, also where means are equal. Misses what only several neurons tell together; twins score the
    same. `details["bits"]` [D]: I(x; y) in bits.
    """

    estimator: Annotated[Literal["binned", "knn"], About("How it is estimated.")] = "binned"
    bins: Annotated[int, About("Bins of each neuron (binned).", 2, 1024)] = 16
    neighbours: Annotated[int, About("Nearest neighbours (knn).", 1, 100)] = 3
    seed: Annotated[int, About("Of the tiny noise that parts equal values (knn).", 0, 2**32 - 1)] = 0

    name: ClassVar[str] = "mutual_information"
    reference: ClassVar[str] = "Shannon 1948; bias: Miller 1955; knn: Ross 2014"
    complexity: ClassVar[str] = "O(N·log N·D)"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1 (of knn about that)."""
        data.require_classes()
        bits = np.zeros((1 + len(data.classes), len(data.neurons)))
        of_classes = np.array([entropy(np.array([count, len(data) - count])) for count in data.counts])
        estimate = self._binned if self.estimator == "binned" else self._nearest
        for places, block in progress.each(data.columns(working_bytes=28)):
            for at, found in estimate(block.T, data.y, data.counts):
                bits[:, places.start + at : places.start + at + found.shape[1]] = found
                progress.check()
        certain = np.where(of_classes > 0, of_classes, 1.0)[:, None]
        return self.ranking(data, bits[0] / entropy(data.counts), bits[1:] / certain, {"bits": bits[0]})

    def _binned(
        self, values: NDArray[np.float32], y: NDArray[np.int32], counts: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Bits [1 + C, d], overall first, for some of the neurons [d, N] at a time, and where these begin."""
        step = max(1, _AT_ONCE // len(y))
        alone = np.array([entropy(np.array([count, len(y) - count])) for count in counts])
        for at in range(0, len(values), step):
            keys, classes = sorted_with(values[at : at + step], y)
            yield at, _bits(_table(keys, classes, self.bins, len(counts)), alone)

    def _nearest(
        self, values: NDArray[np.float32], y: NDArray[np.int32], counts: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.float64]]]:
        from sklearn.feature_selection import mutual_info_classif

        goals = [y] + [y == number for number in range(len(counts))]
        for at, row in enumerate(values):
            found = [
                mutual_info_classif(row[:, None], goal, n_neighbors=self.neighbours, random_state=self.seed)[0]
                if row.min() < row.max() and goal.any()
                else 0.0
                for goal in goals
            ]
            yield at, np.array(found)[:, None] / np.log(2)


def _table(keys: NDArray[np.uint32], classes: NDArray[np.uint64], bins: int, count: int) -> NDArray[np.int64]:
    """[d, bins, C] how many rows of each class each bin has, of keys and classes [d, N] in the order of the keys."""
    neurons, rows = keys.shape
    edges = np.arange(1, bins) * rows // bins
    starts = np.tile(edges, (neurons, 1))
    cut = keys[:, edges] == keys[:, edges - 1]
    # An edge within equal values moves to where these begin.
    for neuron in np.flatnonzero(cut.any(axis=1)):
        starts[neuron] = np.searchsorted(keys[neuron], keys[neuron, edges])
    number = np.zeros((neurons, rows + 1), np.int64)
    np.add.at(number, (np.arange(neurons)[:, None], starts), 1)
    cells = np.cumsum(number[:, :-1], axis=1)
    cells += np.arange(neurons)[:, None] * bins
    cells *= count
    cells += classes.astype(np.int64)
    return np.bincount(cells.ravel(), minlength=neurons * bins * count).reshape(neurons, bins, count)


def _bits(table: NDArray[np.int64], alone: NDArray[np.float64]) -> NDArray[np.float64]:
    """[1 + C, d] mutual information of bin and class, and of bin and each class against the rest, in bits; `alone`
    [C] are the entropies of the latter.
    """
    rows = table[0].sum()
    in_bin = table.sum(axis=2)
    in_class = table[0].sum(axis=0)
    of_bin = _entropies(in_bin, rows, axis=1)
    filled = np.sum(in_bin > 0, axis=1)
    bias = (filled - 1) / (2 * rows * np.log(2))
    joint = _entropies(table, rows, axis=(1, 2))
    overall = of_bin + entropy(in_class) - joint - bias * (np.sum(in_class > 0) - 1)
    parts = _entropies(table, rows, axis=1) + _entropies(in_bin[:, :, None] - table, rows, axis=1)
    of_classes = of_bin[:, None] + alone - parts - bias[:, None] * (alone > 0)
    return np.asarray(np.maximum(np.concatenate((overall[:, None], of_classes), axis=1).T, 0.0))


def _entropies(counts: NDArray[np.int64], rows: int, axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    parts = counts / rows
    return np.asarray(-np.sum(parts * np.log2(np.where(counts > 0, parts, 1.0)), axis=axis))
