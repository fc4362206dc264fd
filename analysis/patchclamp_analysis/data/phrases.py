"""Words that follow one another in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..errors import BadData
from .rows import Data
from .word_types import word_types

__all__ = ["Phrases", "spans"]

# For each row that an occurrence covers, while phrases are collected.
_BYTES = 40


@dataclass(frozen=True, slots=True, eq=False)
class Phrases:
    """P phrases: shorter ones first, those of a length in sorted order. `counts` [P] is how often each occurs,
    `members` [P, N] has a one for each row that an occurrence covers, and phrase `numbers[i]` occurs at the rows that
    end with `ends[i]`.
    """

    texts: tuple[tuple[str, ...], ...]
    counts: NDArray[np.int64]
    members: sparse.csc_array
    numbers: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, data: Data, *, longest: int, least: int) -> Phrases:
        """Those of up to `longest` words that occur at least `least` times.

        Raises:
            BadData: There are no words, no phrase occurs that often, or half of the memory bound does not hold them.
        """
        words, types = word_types(data)
        lengths = spans(data, longest)
        _require_memory(data, lengths)
        texts: list[tuple[str, ...]] = []
        numbers, ends, counts, covered = [], [], [], []
        for length, rows, ranks in _ranked(types, lengths, longest):
            _, first, places, times = np.unique(ranks, return_index=True, return_inverse=True, return_counts=True)
            kept = times >= least
            frequent = kept[places]
            numbers.append(len(texts) + (np.cumsum(kept) - 1)[places[frequent]])
            ends.append(rows[frequent])
            counts.append(times[kept])
            covered.append(np.subtract.outer(ends[-1], np.arange(length)).T)
            texts.extend(tuple(words[at] for at in types[end - length + 1 : end + 1]) for end in rows[first[kept]])
        if not texts:
            raise BadData(f"no word occurs {least} times or more", where=data.label)
        covering = np.concatenate([np.tile(some, len(rows)) for some, rows in zip(numbers, covered, strict=True)])
        places = np.concatenate([rows.ravel() for rows in covered])
        pairs = sparse.coo_array((np.ones(len(places), np.float32), (covering, places)), (len(texts), len(types)))
        members = pairs.tocsc()
        # Occurrences that overlap cover a row once.
        members.data[:] = 1.0
        return cls(tuple(texts), np.concatenate(counts), members, np.concatenate(numbers), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.texts)


def _ranked(
    types: NDArray[np.int64], lengths: NDArray[np.int64], longest: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """For each number of words the rows that end so many, and which of them are the same: their ranks in sorted
    order.
    """
    ranks = types
    yield 1, np.arange(len(types)), ranks
    for length in range(2, longest + 1):
        rows = np.flatnonzero(lengths >= length)
        shorter, ranks = ranks, np.zeros(len(types), np.int64)
        # What ends a row earlier comes first, so that the order is that of the texts.
        ranks[rows] = np.unique(shorter[rows - 1] * (types.max() + 1) + types[rows], return_inverse=True)[1]
        yield length, rows, ranks[rows]


def spans(data: Data, longest: int) -> NDArray[np.int64]:
    """[N] how many words, up to `longest`, follow one another in a sentence up to each row and with it. A row that the
    data leaves out parts what is before it from what is after.
    """
    starts = np.ones(len(data), bool)
    starts[1:] = np.diff(data.rows) != 1
    if data.sentences is not None:
        starts[1:] |= np.diff(data.sentences) != 0
    rows = np.arange(len(data))
    first = np.maximum.accumulate(np.where(starts, rows, 0))
    return np.minimum(rows - first + 1, longest)


def _require_memory(data: Data, lengths: NDArray[np.int64]) -> None:
    need = _BYTES * int(np.sum(lengths * (lengths + 1) // 2))
    if need > data.memory_bytes // 2:
        text = f"phrases of {len(data)} words need {need} bytes, and memory_bytes is {data.memory_bytes}"
        raise BadData(f"{text}: raise it, or take shorter phrases", where=data.label)
