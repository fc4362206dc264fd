"""Concept selectivity: the labels and words that a neuron tells from the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.blocks import steps
from ..data.row_groups import BYTES, group_means
from ..data.rows import Data
from ..progress import QUIET, Progress
from ..tables import Tables
from .concepts import Concepts
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["ConceptSelectivity", "NeuronSelectivity", "SelectedConcept"]


@dataclass(frozen=True, slots=True)
class SelectedConcept:
    """A concept, a neuron's selectivity for it (−1 to 1), its mean there, and how many rows it has."""

    name: str
    selectivity: float
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class NeuronSelectivity:
    """The concepts that a neuron is most selective for, strongest first; none for a constant neuron."""

    site: str
    index: int
    concepts: tuple[SelectedConcept, ...]


@dataclass(frozen=True)
class ConceptSelectivity(TableMethod):
    """The labels and words that a neuron tells from the rest: what it is active for, or silent.

    For each of K concepts (μ₊ − μ₋)/(max − min) [K, D], μ₊ being a neuron's mean over the rows of the concept, μ₋ over
    all others, max − min its range. Concepts are the classes of the data's labels; of data without, the labels of all
    its layers; on request word types. The `top` of each neuron by size, or only by how active ("positive") or silent
    ("negative") it is for them; of equal ones the first by layer and label. Memory: 24 bytes per concept and neuron, as
    many neurons at a time as the memory bound allows, a pass each.

    Misses what a neuron says by anything but its mean, and combinations of concepts (`compositional`). One outlier
    makes the range large and all selectivities of the neuron small. A rare concept is selected by chance: a word of one
    row on which the neuron happens to be at its maximum. Deviation: the paper takes means over sentences.
    """

    top: Annotated[int, About("How many concepts a neuron.", 1, 10_000)] = 5
    sign: Annotated[Literal["both", "positive", "negative"], About("Active for them, silent, or either.")] = "both"
    word_rows: Annotated[int, About("Words of at least so many rows are concepts too; 0: none.", 0)] = 0

    kind: ClassVar[Kind] = Kind.NEURON_TO_CONCEPTS
    name: ClassVar[str] = "concept_selectivity"
    reference: ClassVar[str] = "Na et al. 2019, Discovery of natural language concepts in individual units of CNNs"
    complexity: ClassVar[str] = "O(N·D·L + K·log K·D) for L layers of labels, one pass"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "concepts": those of each neuron, strongest first."""
        import pandas as pd

        rows = [
            (each.site, each.index, concept.name, concept.selectivity, concept.mean, concept.count)
            for each in self.find(self.only(datas), progress=progress)
            for concept in each.concepts
        ]
        columns = ["site", "index", "concept", "selectivity", "mean", "count"]
        return self.answer(datas, concepts=pd.DataFrame(rows, columns=columns))

    def find(
        self,
        data: Data,
        neurons: Sequence[int] | NDArray[np.integer] | None = None,
        *,
        progress: Progress = QUIET,
    ) -> tuple[NeuronSelectivity, ...]:
        """For some neurons, by place (None: all), in the order of the data. BadData without concepts."""
        concepts = Concepts.of(data, word_rows=self.word_rows)
        members = concepts.members()
        data = data if neurons is None else data.keep(neurons)
        width = data.memory_bytes // 2 // (BYTES * len(concepts))
        chunks = [data.keep(np.arange(len(data.neurons))[part]) for part in steps(0, len(data.neurons), width)]
        found: list[NeuronSelectivity] = []
        for number, chunk in enumerate(chunks):
            means = group_means(chunk, members, progress.part(number / len(chunks), (number + 1) / len(chunks)))
            for place, neuron in enumerate(chunk.neurons):
                scores = means.selectivity(slice(None), place)
                chosen = tuple(
                    SelectedConcept(
                        concepts.names[at], float(scores[at]), float(means.means[at, place]), int(means.counts[at])
                    )
                    for at in self._strongest(scores)
                )
                found.append(NeuronSelectivity(neuron.site, neuron.index, chosen))
        return tuple(found)

    def _strongest(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        sizes = {"both": np.abs(scores), "positive": scores, "negative": -scores}[self.sign]
        order = np.argsort(-sizes, kind="stable")[: self.top]
        return order[sizes[order] > 0]
