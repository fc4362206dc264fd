"""Concepts: sets of rows with a name, from labels and words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..data.bits import Bits, packed
from ..data.blocks import steps
from ..data.rows import Data
from ..data.word_types import word_types
from ..errors import BadData

__all__ = ["Concepts"]

Layer = tuple[NDArray[np.int32], list[str]]
_PACKED_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Concepts:
    """K sets of rows with a name each: labels and words. `numbers` [G, N] has for each layer of labels the concept that
    a row belongs to, −1 for none. Every concept has a row.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.int32]

    @classmethod
    def of(cls, data: Data, *, word_rows: int = 0) -> Concepts:
        """The classes of the data's labels ("NOUN"); of data without, every label of every layer ("upos=NOUN"). With
        `word_rows` > 0 also each word type that has at least so many rows ("word=the"). 4·G·N bytes.

        Raises:
            BadData: There is none, or words are wanted and the data has none.
        """
        names: list[str] = []
        numbers = []
        for codes, labels in (*_labels(data), *_words(data, word_rows)):
            counts = np.bincount(codes + 1, minlength=len(labels) + 1)[1:]
            places = np.full(len(labels) + 1, -1, np.int32)
            places[np.flatnonzero(counts)] = len(names) + np.arange(np.count_nonzero(counts))
            numbers.append(places[codes])
            names.extend(labels[at] for at in np.flatnonzero(counts))
        if not names:
            what = f", and no word has {word_rows} rows" if word_rows else ""
            raise BadData(f"there is no concept: no row has a label{what}", where=data.label)
        return cls(tuple(names), np.stack(numbers))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def rows(self) -> int:
        """N."""
        return len(self.numbers[0])

    @property
    def counts(self) -> NDArray[np.int64]:
        """[K] rows of each."""
        return np.bincount(self.numbers.ravel() + 1, minlength=len(self) + 1)[1:]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """[N, K] which rows belong to which, N·K bytes: for a few concepts."""
        found = np.zeros((self.rows, len(self)), bool)
        group, row = np.nonzero(self.numbers >= 0)
        found[row, self.numbers[group, row]] = True
        return found

    def members(self) -> sparse.csc_array:
        """[K, N] the same, as `group_means` wants it."""
        by_row = self.numbers.T
        there = by_row >= 0
        places = np.concatenate(([0], np.cumsum(there.sum(axis=1))))
        indices = by_row[there]
        return sparse.csc_array((np.ones(len(indices), np.float32), indices, places), shape=(len(self), self.rows))

    def packed(self, memory_bytes: int) -> Bits:
        """[K, ⌈N/64⌉] the same, a bit a row. BadData if that does not fit into the memory."""
        if (need := len(self) * -(-self.rows // 64) * 8) > memory_bytes:
            text = f"{len(self)} concepts of {self.rows} rows need {need} bytes of {memory_bytes}"
            raise BadData(f"{text}: raise memory_bytes, or take fewer words for concepts", where="concepts")
        found = np.zeros((len(self), -(-self.rows // 64)), np.uint64)
        for numbers in self.numbers:
            there = np.unique(numbers[numbers >= 0])
            for part in steps(0, len(there), _PACKED_AT_ONCE // self.rows):
                found[there[part]] = packed(numbers == there[part, None])
        return found


def _labels(data: Data) -> Iterator[Layer]:
    if data.classes:
        yield data.y, list(data.classes)
        return
    for layer, (codes, names) in data.annotations.items():
        yield codes, [f"{layer}={name}" for name in names]


def _words(data: Data, least: int) -> Iterator[Layer]:
    if least:
        words, types = word_types(data)
        kept = np.bincount(types) >= least
        yield (
            np.where(kept, np.cumsum(kept) - 1, -1)[types].astype(np.int32),
            [f"word={word}" for word, frequent in zip(words, kept, strict=True) if frequent],
        )
