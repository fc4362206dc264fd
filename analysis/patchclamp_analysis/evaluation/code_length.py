"""Minimum description length: how many bits it takes to send the labels to somebody who has the activations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..data.rows import Data
from ..methods.linear_probe import LinearProbe
from ..progress import QUIET, Progress

__all__ = ["CodeLength", "online_code_length"]

# A probe of fewer rows, standardised by them, can be wrong by hundreds of bits a row.
_LEAST = 16
_PARTS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class CodeLength:
    """Bits for all labels, and for each portion sent: its last row and its bits."""

    rows: int
    classes: int
    portions: tuple[tuple[int, float], ...]

    @property
    def bits(self) -> float:
        """For all labels."""
        return sum(bits for _, bits in self.portions)

    @property
    def bits_per_row(self) -> float:
        """Mean over the rows."""
        return self.bits / self.rows

    @property
    def compression(self) -> float:
        """How many times shorter than the uniform code, log₂ C bits a row; 1 or less: nothing was learnt."""
        return float(self.rows * np.log2(self.classes)) / self.bits


def online_code_length(
    data: Data, probe: LinearProbe | None = None, *, seed: int = 0, progress: Progress = QUIET
) -> CodeLength:
    """The online code: rows go in portions that double in size (0.1 %, 0.2 %, … 100 %), each coded by a probe trained
    on all before it, −log₂ p(y | x); the first by the uniform code. Rows are shuffled by the seed, whole sentences
    where they are known.

    Source: Voita & Titov 2020, Information-theoretic probing with minimum description length. A first portion of fewer
    than 16 rows, or of one class only, is prolonged by the next one, as no probe can be trained on it.
    """
    data.require_classes()
    trained = replace(probe or LinearProbe(), seed=seed)
    shuffled = data.take(_shuffled(data, seed))
    ends = _ends(shuffled)
    classes = len(data.classes)
    portions = [(ends[0], float(ends[0] * np.log2(classes)))]
    for number, (begin, end) in enumerate(pairwise(ends)):
        part = progress.part(number / (len(ends) - 1), (number + 1) / (len(ends) - 1))
        fitted = trained.fit(shuffled.take(np.arange(begin)), progress=part)
        scores = fitted.score(shuffled.take(np.arange(begin, end)))
        portions.append((end, scores.loss * (end - begin) / float(np.log(2))))
    progress.at(1.0)
    return CodeLength(len(data), classes, tuple(portions))


def _shuffled(data: Data, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    groups = np.arange(len(data)) if data.sentences is None else np.unique(data.sentences, return_inverse=True)[1]
    places = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    return np.argsort(places[groups], kind="stable")


def _ends(data: Data) -> list[int]:
    """Where portions end, from the first on that has two classes."""
    second = int(np.argmax(data.y != data.y[0])) + 1
    ends = sorted({round(part * len(data)) for part in _PARTS})
    return [end for end in ends if end >= max(second, _LEAST)] or [len(data)]
