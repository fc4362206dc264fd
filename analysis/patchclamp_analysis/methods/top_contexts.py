"""Top contexts: the n-grams at whose last word a neuron is most active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.blocks import steps
from ..data.phrases import spans
from ..data.rows import Data
from ..data.word_types import word_types
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["Context", "NeuronContexts", "TopContexts"]

# What ordering takes for each value, and how much of it at a time.
_BYTES, _WORKING_BYTES = 64, 2**22


@dataclass(frozen=True, slots=True)
class Context:
    """An n-gram, the activation at its last word, and that word's row in what the data was made of, where rows that
    the data leaves out count too.
    """

    words: tuple[str, ...]
    activation: float
    row: int


@dataclass(frozen=True, slots=True)
class NeuronContexts:
    """The contexts of a neuron, strongest first."""

    site: str
    index: int
    contexts: tuple[Context, ...]


@dataclass(frozen=True)
class TopContexts(TableMethod):
    """The n-grams at whose last word a neuron is most active: what it reacts to, in context.

    The context of a row is its word and up to `words` − 1 before it in the sentence. Of rows with the same context the
    most active one stands for all; the `top` contexts are kept by activation, or by −x (`sign`), of equal ones
    the earlier row. One pass, in which each neuron keeps no more than its best so far.

    Misses what depends on words further back, or after. Rows that the data leaves out (masked, unlabelled) end a
    context. Deviation: equal contexts count once.
    """

    top: Annotated[int, About("How many contexts a neuron.", 1, 10_000)] = 20
    words: Annotated[int, About("Longest context.", 1, 100)] = 5
    sign: Annotated[Literal["positive", "negative"], About("What active is.")] = "positive"

    kind: ClassVar[Kind] = Kind.NEURON_TO_CONCEPTS
    name: ClassVar[str] = "top_contexts"
    reference: ClassVar[str] = "Kádár et al. 2017, Representation of linguistic form and function in RNNs"
    complexity: ClassVar[str] = "O(N·D + top·log N·D), one pass"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "contexts": the contexts of each neuron, strongest first."""
        import pandas as pd

        found = self.find(self.only(datas), progress=progress)
        rows = [
            (each.site, each.index, " ".join(context.words), context.activation, context.row)
            for each in found
            for context in each.contexts
        ]
        return self.answer(
            datas, contexts=pd.DataFrame(rows, columns=["site", "index", "context", "activation", "row"])
        )

    def find(
        self,
        data: Data,
        neurons: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        progress: Progress = QUIET,
    ) -> tuple[NeuronContexts, ...]:
        """For some neurons, by place (None: all), in the order of the data. BadData without words, or if the memory
        bound does not hold so many contexts.
        """
        words, types = word_types(data)
        data = data if neurons is None else data.keep(neurons)
        lengths = spans(data, self.words)
        sign = np.float32(1.0 if self.sign == "positive" else -1.0)
        if (need := 16 * self.top * len(data.neurons)) > data.memory_bytes // 2:
            text = f"{self.top} contexts of {len(data.neurons)} neurons need {need} bytes"
            raise BadData(f"{text}, and memory_bytes is {data.memory_bytes}: raise it", where="top_contexts.top")
        best = _Best(self.top, len(data.neurons), _numbers(types, lengths))
        for place, block in progress.each(data.blocks()):
            best.add(place, sign * block)
        found = []
        for neuron, values, rows in zip(data.neurons, sign * best.values, best.rows, strict=True):
            contexts = tuple(
                Context(
                    tuple(words[at] for at in types[row - lengths[row] + 1 : row + 1]),
                    float(value),
                    int(data.rows[row]),
                )
                for value, row in zip(values[rows >= 0], rows[rows >= 0], strict=True)
            )
            found.append(NeuronContexts(neuron.site, neuron.index, contexts))
        return tuple(found)


class _Best:
    """The best rows of each neuron so far [D, top], best first, of each context one; −1 where there are none yet."""

    def __init__(self, top: int, width: int, contexts: NDArray[np.int64]) -> None:
        self.contexts = contexts
        self.values = np.full((width, top), -np.inf, np.float32)
        self.rows = np.full((width, top), -1, np.int64)

    def add(self, rows: slice, block: NDArray[np.float32]) -> None:
        """The next rows. Neurons that have no better one are left as they are: soon most."""
        better = np.flatnonzero(block.max(axis=0) > self.values[:, -1])
        for part in steps(0, len(better), _WORKING_BYTES // (_BYTES * (self.rows.shape[1] + len(block)))):
            self._add(rows, block, better[part])

    def _add(self, rows: slice, block: NDArray[np.float32], better: NDArray[np.int64]) -> None:
        values, places = self._with(rows, block, better)
        order = np.argsort(-values, axis=1, kind="stable")
        values, places = np.take_along_axis(values, order, 1), np.take_along_axis(places, order, 1)
        repeated = _repeated(np.where(places < 0, -1, self.contexts[places]))
        values[repeated], places[repeated] = -np.inf, -1
        order = np.argsort(repeated, axis=1, kind="stable")[:, : self.rows.shape[1]]
        self.values[better] = np.take_along_axis(values, order, 1)
        self.rows[better] = np.take_along_axis(places, order, 1)

    def _with(
        self, rows: slice, block: NDArray[np.float32], better: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Values and rows of some neurons [d, top + n]: the best so far, and the next rows that are better."""
        given = np.ascontiguousarray(block[:, better].T)
        wanted = given > self.values[better, -1:]
        # As many for each neuron as the one with the most has: the others do no harm.
        chosen = np.argsort(~wanted, axis=1, kind="stable")[:, : wanted.sum(axis=1).max()]
        values = np.concatenate((self.values[better], np.take_along_axis(given, chosen, 1)), axis=1)
        return values, np.concatenate((self.rows[better], rows.start + chosen), axis=1)


def _repeated(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[d, n] where a row has the same number further left."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ascending = np.take_along_axis(numbers, order, 1)
    again = np.zeros(numbers.shape, bool)
    again[:, 1:] = ascending[:, 1:] == ascending[:, :-1]
    found = np.empty_like(again)
    np.put_along_axis(found, order, again, 1)
    return found


def _numbers(types: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] a number for each context, equal where contexts are."""
    codes = types + 1
    numbers, rows = np.zeros(len(types), np.int64), np.arange(len(types))
    for back in range(int(lengths.max())):
        code = np.where(back < lengths, codes[rows - back], 0)
        numbers = np.unique(numbers * (codes.max() + 1) + code, return_inverse=True)[1].astype(np.int64)
    return numbers
