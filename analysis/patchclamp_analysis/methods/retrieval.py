"""Average precision of every class, for some neurons at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..errors import BadData
from .sorting import sorted_with

__all__ = ["Retrieval", "Sentences"]

# Half the size of numpy's own: this is all memory traffic.
Places = NDArray[np.int32]


class Retrieval:
    """Ranks rows by values and says how well that retrieves each class."""

    def __init__(self, y: NDArray[np.integer], counts: NDArray[np.integer]) -> None:
        """Classes of the rows [N], and how many rows each class has: none of them 0."""
        self.y, self.counts, self.rows = y, counts, len(y)
        self.starts = np.cumsum(counts) - counts
        # For rows sorted by class: where the class begins, its size, and the row's place in it.
        self.begin: Places = np.repeat(self.starts, counts).astype(np.int32)
        self.size: Places = np.repeat(counts, counts).astype(np.int32)
        self.place: Places = np.arange(self.rows, dtype=np.int32) - self.begin
        self.offsets = np.repeat(np.arange(len(counts), dtype=np.uint64), counts) * np.uint64(self.rows)

    def __call__(self, values: NDArray[np.float32], *, both: bool) -> NDArray[np.float64]:
        """[2, C, d] in descending and, if wanted, ascending order (else 0) of the values [d, N]."""
        keys, classes = sorted_with(values, self.y, descending=True)
        # Sorted again, by class and then by rank: every class has the same columns for all neurons.
        classes *= np.uint64(self.rows)
        classes += np.arange(self.rows, dtype=np.uint64)
        classes.sort(axis=1)
        classes -= self.offsets
        ranks: Places = classes.astype(np.int32)
        found = np.zeros((2, len(self.counts), len(values)))
        if (keys[:, 1:] == keys[:, :-1]).any():
            return self._with_ties(keys, ranks, found, both=both)
        found[0] = self._mean((self.place + 1) / (ranks + 1))
        if both:
            found[1] = self._mean((self.size - self.place) / (self.rows - ranks))
        return found

    def _with_ties(
        self, keys: NDArray[np.uint32], ranks: Places, found: NDArray[np.float64], *, both: bool
    ) -> NDArray[np.float64]:
        """The same where values are equal: each counts with all that are equal to it."""
        first, last = _runs(keys[:, 1:] != keys[:, :-1])
        ends = np.take_along_axis(last, ranks, axis=1)
        changes = ends[:, 1:] != ends[:, :-1]
        changes[:, self.starts[1:] - 1] = True
        first_in_class, last_in_class = _runs(changes)
        found[0] = self._mean((last_in_class - self.begin + 1) / (ends + 1))
        if both:
            begins = np.take_along_axis(first, ranks, axis=1)
            found[1] = self._mean((self.size - first_in_class + self.begin) / (self.rows - begins))
        return found

    def _mean(self, precision: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.add.reduceat(precision, self.starts, axis=1)
        return np.asarray((sums / self.counts).T)


class Sentences:
    """Rows grouped by sentence. `y` [S] is the class of each."""

    def __init__(self, data: Data) -> None:
        if data.sentences is None:
            raise BadData("the data does not say which sentence a row belongs to", where=data.label)
        self.rows = np.argsort(data.sentences, kind="stable")
        self.starts = np.unique(data.sentences[self.rows], return_index=True)[1]
        y = data.y[self.rows]
        self.y = y[self.starts]
        mixed = np.maximum.reduceat(y, self.starts) != np.minimum.reduceat(y, self.starts)
        if mixed.any():
            number = data.sentences[self.rows[self.starts[np.argmax(mixed)]]]
            raise BadData("has words of several classes; sentences need one each", where=f"sentence {number}")

    def largest(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """[d, S] the largest value of each sentence, of values [d, N]."""
        return np.maximum.reduceat(values[:, self.rows], self.starts, axis=1)


def _runs(changes: NDArray[np.bool_]) -> tuple[Places, Places]:
    """[d, n] the first and the last place of the run that each place is in, from where runs change [d, n − 1]."""
    count = changes.shape[1] + 1
    places = np.arange(count, dtype=np.int32)
    first = np.zeros((len(changes), count), np.int32)
    np.multiply(changes, places[1:], out=first[:, 1:])
    np.maximum.accumulate(first, axis=1, out=first)
    last = np.full((len(changes), count), count - 1, np.int32)
    np.copyto(last[:, :-1], places[:-1], where=changes)
    np.minimum.accumulate(last[:, ::-1], axis=1, out=last[:, ::-1])
    return first, last
