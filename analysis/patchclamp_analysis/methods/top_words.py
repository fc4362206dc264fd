"""Top words: the word types that drive a neuron most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..data.blocks import steps
from ..data.moments import moments
from ..data.rows import Data
from ..data.word_types import word_types
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["NeuronWords", "TopWords", "WordScore"]


@dataclass(frozen=True, slots=True)
class WordScore:
    """A word, how strongly it drives a neuron (0 to 1), and how often it occurs."""

    word: str
    score: float
    count: int


@dataclass(frozen=True, slots=True)
class NeuronWords:
    """The words that drive a neuron, strongest first; none for a constant neuron."""

    site: str
    index: int
    words: tuple[WordScore, ...]


@dataclass(frozen=True)
class TopWords(TableMethod):
    """The word types that drive a neuron most.

    z = |x − μ|/σ [N, D], μ and σ being a neuron's mean and deviation over all rows; z is averaged over the rows of each
    word type and divided by the largest average. Types above `threshold` are kept, strongest first, of equal ones the
    first in sorted order. Types with fewer than `min_count` rows are left out before that, since a rare word's average
    is noise. Memory: 16 bytes per type and neuron; as many neurons at a time as the memory bound allows.

    Misses what a neuron says about more than the word: its place, the words around it (`TopContexts`). Upper and lower
    case are two types. A word at which the neuron is silent drives it as well, if it is usually active.
    """

    top: Annotated[int, About("How many words a neuron; 0: all above the threshold.", 0)] = 20
    threshold: Annotated[float, About("Scores must be above this.", 0.0, 1.0)] = 0.1
    min_count: Annotated[int, About("Fewest rows of a type.", 1)] = 1

    kind: ClassVar[Kind] = Kind.NEURON_TO_CONCEPTS
    name: ClassVar[str] = "top_words"
    reference: ClassVar[str] = "Dalvi et al. 2019, NeuroX: a toolkit for analyzing individual neurons"
    complexity: ClassVar[str] = "O(N·D + V·log V·D) for V word types, two passes"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "words": the words of each neuron, strongest first."""
        import pandas as pd

        found = self.find(self.only(datas), progress=progress)
        rows = [(each.site, each.index, word.word, word.score, word.count) for each in found for word in each.words]
        return self.answer(datas, words=pd.DataFrame(rows, columns=["site", "index", "word", "score", "count"]))

    def find(
        self,
        data: Data,
        neurons: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        progress: Progress = QUIET,
    ) -> tuple[NeuronWords, ...]:
        """For some neurons, by place (None: all), in the order of the data. BadData without words."""
        words, types = word_types(data)
        data = data if neurons is None else data.keep(neurons)
        counts = np.bincount(types)
        kept = np.flatnonzero(counts >= self.min_count)
        if not len(kept):
            raise BadData(f"no word occurs {self.min_count} times or more", where="top_words.min_count")
        width = data.memory_bytes // 2 // (24 * len(words))
        chunks = [data.keep(np.arange(len(data.neurons))[part]) for part in steps(0, len(data.neurons), width)]
        names, times = [words[at] for at in kept], counts[kept]
        found: list[NeuronWords] = []
        for number, chunk in enumerate(chunks):
            part = progress.part(number / len(chunks), (number + 1) / len(chunks))
            means = (_sums(chunk, types, len(words), part) / counts[:, None])[kept]
            for neuron, column in zip(chunk.neurons, means.T, strict=True):
                found.append(NeuronWords(neuron.site, neuron.index, self._strongest(column, names, times)))
        return tuple(found)

    def _strongest(
        self, means: NDArray[np.float64], words: Sequence[str], counts: NDArray[np.int64]
    ) -> tuple[WordScore, ...]:
        largest = means.max()
        if largest <= 0:
            return ()
        scores = means / largest
        places = np.flatnonzero(scores > self.threshold)
        if self.top and len(places) > self.top:
            least = np.partition(scores[places], -self.top)[-self.top]
            places = places[scores[places] >= least]
        order = places[np.argsort(-scores[places], kind="stable")]
        chosen = order[: self.top] if self.top else order
        return tuple(WordScore(words[at], float(scores[at]), int(counts[at])) for at in chosen)


def _sums(data: Data, types: NDArray[np.integer], count: int, progress: Progress) -> NDArray[np.float64]:
    """[V, D] sums of z over the rows of each type."""
    found = moments(data, progress.part(0.0, 0.5))
    mean, inverse = found.mean.astype(np.float32), np.where(found.constant, 0.0, 1.0 / found.scale).astype(np.float32)
    # What float32 leaves of a large mean is much to a small deviation.
    rest = (found.mean - mean).astype(np.float32)
    sums = np.zeros((count, len(data.neurons)))
    for rows, block in progress.part(0.5, 1.0).each(data.blocks()):
        here, places = np.unique(types[rows], return_inverse=True)
        ones = np.ones(len(block), np.float32)
        members = sparse.csr_array((ones, (places, np.arange(len(block)))), shape=(len(here), len(block)))
        sums[here] += members @ (np.abs(block - mean - rest) * inverse)
    return sums
