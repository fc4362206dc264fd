"""Compositional explanations: the formula of concepts that says best where a neuron fires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.bits import Bits, packed
from ..data.blocks import steps
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..tables import Tables
from .concepts import Concepts
from .firing import Sign, own_thresholds, signed
from .formula_search import FormulaSearch
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["Compositional", "FoundFormula", "NeuronFormulas"]

_PACKED_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class FoundFormula:
    """A formula, its IoU with where a neuron fires, its score, how many concepts it has, and where it holds: so many
    rows.
    """

    text: str
    iou: float
    score: float
    length: int
    count: int


@dataclass(frozen=True, slots=True)
class NeuronFormulas:
    """The formulas of a neuron, best first; none for one that fires always or never."""

    site: str
    index: int
    formulas: tuple[FoundFormula, ...]


@dataclass(frozen=True)
class Compositional(TableMethod):
    """The formula of concepts, like (noun OR pronoun) AND NOT plural, that says best where a neuron fires.

    M is the rows where a neuron fires, as `iou` has it: x > threshold, or with `share` > 0 its highest `share` of the
    rows. A formula L of n concepts is one joined to a shorter one by OR, AND or AND NOT; its score is
    penalty^(n − 1)·|M∩L| / |M∪L|. A beam search makes the best `beam` formulas of each length longer by every concept,
    up to `length`. Equal scores: the shorter, then the first by the order of its concepts. Concepts are the classes of
    the data's labels; of data without, the labels of all its layers; on request word types. Sets of rows are bits:
    K·N/8 bytes for K concepts; rows × a neuron are the least that must fit into the memory bound.

    Misses formulas whose beginnings are all worse than the beam, and those that are no chain: (a AND b) OR (c AND d).
    With many concepts some formula always fits a little: compare the IoU with that of one concept (`length` 1).
    Deviations: all concepts can be joined, also those on which the neuron never fires (as AND NOT); each length has a
    beam of its own, which finds whatever a common one does; formulas that hold for the same rows are one; by default a
    further concept has to raise the IoU by 1 %.
    """

    length: Annotated[int, About("Most concepts in a formula.", 1, 10)] = 5
    beam: Annotated[int, About("How many formulas of each length are made longer.", 1, 10_000)] = 10
    penalty: Annotated[float, About("What a score is multiplied with for each further concept.", 0.0, 1.0)] = 0.99
    top: Annotated[int, About("How many formulas a neuron.", 1, 1000)] = 1
    threshold: Annotated[float, About("Fires above this; not used if share > 0.", least=-1e30, most=1e30)] = 0.0
    share: Annotated[float, About("Part of the rows for which each neuron fires; 0: by threshold.", 0.0, 1.0)] = 0.0
    sign: Annotated[Sign, About("What firing is: x, −x or |x| above the threshold.")] = "positive"
    word_rows: Annotated[int, About("Words of at least so many rows are concepts too; 0: none.", 0)] = 0

    kind: ClassVar[Kind] = Kind.NEURON_TO_CONCEPTS
    name: ClassVar[str] = "compositional"
    reference: ClassVar[str] = "Mu & Andreas 2020, Compositional explanations of neurons"
    complexity: ClassVar[str] = "O(length·beam·K·N·D/64) for K concepts"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "formulas": those of each neuron, best first."""
        import pandas as pd

        rows = [
            (each.site, each.index, rank, found.text, found.iou, found.score, found.length, found.count)
            for each in self.find(self.only(datas), progress=progress)
            for rank, found in enumerate(each.formulas, 1)
        ]
        columns = ["site", "index", "rank", "formula", "iou", "score", "length", "count"]
        return self.answer(datas, formulas=pd.DataFrame(rows, columns=columns))

    def find(
        self,
        data: Data,
        neurons: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        progress: Progress = QUIET,
    ) -> tuple[NeuronFormulas, ...]:
        """For some neurons, by place (None: all), in the order of the data. BadData without concepts, or with more than
        a quarter of the memory bound holds.
        """
        concepts = Concepts.of(data, word_rows=self.word_rows)
        rows = concepts.packed(data.memory_bytes // 4)
        search = FormulaSearch(rows, concepts.counts, self.length, self.beam, self.penalty)
        data = data if neurons is None else data.keep(neurons)
        found: list[NeuronFormulas] = []
        progress.check()
        for place, (neuron, fires) in enumerate(zip(data.neurons, self._firing(data), strict=True), 1):
            formulas = tuple(
                FoundFormula(formula.text(concepts.names), iou, search.score(formula, iou), len(formula), count)
                for formula, iou, count in ([] if fires is None else search.best(fires, self.top))
            )
            found.append(NeuronFormulas(neuron.site, neuron.index, formulas))
            progress.at(place, len(data.neurons))
        return tuple(found)

    def _firing(self, data: Data) -> Iterator[Bits | None]:
        """For each neuron the rows where it fires [W]; None if these are all rows, or none."""
        for _, block in data.columns(working_bytes=16):
            values = signed(block, self.sign)
            thresholds = own_thresholds(values, self.share) if self.share else self._threshold(values)
            for part in steps(0, values.shape[1], _PACKED_AT_ONCE // len(values)):
                fires = (values[:, part] > thresholds[part]).T
                some: NDArray[np.bool_] = np.asarray(fires.any(axis=1) & ~fires.all(axis=1))
                yield from (bits if usable else None for bits, usable in zip(packed(fires), some, strict=True))

    def _threshold(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full(values.shape[1], np.float32(self.threshold))
