"""Concept alignment: the words and phrases of the sentences that a neuron likes best, by how much they drive it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..data.blocks import steps
from ..data.phrases import Phrases
from ..data.row_groups import BYTES, GroupMeans, group_means
from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .method import Kind, TableMethod
from .parameters import About

__all__ = ["AlignedConcept", "ConceptAlignment", "NeuronAlignment", "Respond"]

Respond = Callable[[Sequence[Sequence[str]]], NDArray[np.floating]]
"""Runs the model on texts, given as words; returns the mean activation of each of the data's neurons [texts, D]."""

_TEXTS = 64


@dataclass(frozen=True, slots=True)
class AlignedConcept:
    """A word or phrase, how much it drives a neuron, the neuron's selectivity for it, and how often it occurs."""

    words: tuple[str, ...]
    alignment: float
    selectivity: float
    count: int


@dataclass(frozen=True, slots=True)
class NeuronAlignment:
    """The concepts that drive a neuron, strongest first; none for a constant neuron."""

    site: str
    index: int
    concepts: tuple[AlignedConcept, ...]


@dataclass(frozen=True)
class ConceptAlignment(TableMethod):
    """The words and phrases of a neuron's favourite sentences, by how much they drive it.

    Candidates are the phrases of one word to `words` in the `sentences` sentences with the highest mean activation. In
    the paper a candidate is repeated up to the mean length of a sentence, and its degree of alignment is the neuron's
    mean activation on that text; `respond`, which runs the model, gives exactly that. Without it the degree of
    alignment is the mean activation over the rows of its occurrences, each row once: what stored activations know.
    Selectivity (μ₊ − μ₋)/(max − min): μ₊ the mean over those rows, μ₋ over all others. The `top` of each neuron by
    alignment; of equal ones the shorter, then the first in sorted order. Memory: 24 bytes per phrase or sentence and
    neuron, as many neurons at a time as the memory bound allows, a pass each.

    Misses what a neuron is silent for, and concepts that are no words (`concept_selectivity` has labels). Rows that the
    data leaves out part phrases. Deviations: phrases are runs of words, since there is no parser; selectivity is over
    words, not sentences; phrases rarer than `min_count` are left out, for without `respond` their means are noise.
    """

    sentences: Annotated[int, About("How many sentences candidates come from.", 1, 10_000)] = 10
    top: Annotated[int, About("How many concepts a neuron.", 1, 10_000)] = 3
    words: Annotated[int, About("Longest phrase.", 1, 10)] = 3
    min_count: Annotated[int, About("Fewest occurrences of a phrase.", 1)] = 3

    kind: ClassVar[Kind] = Kind.NEURON_TO_CONCEPTS
    name: ClassVar[str] = "concept_alignment"
    reference: ClassVar[str] = "Na et al. 2019, Discovery of natural language concepts in individual units of CNNs"
    complexity: ClassVar[str] = "O(N·D·W²) for phrases of up to W words, one pass; with respond a text per candidate"

    def tables(
        self, datas: Mapping[str, Data], *, respond: Respond | None = None, progress: Progress = QUIET
    ) -> Tables:
        """Gives "concepts": those of each neuron, strongest first."""
        import pandas as pd

        rows = [
            (each.site, each.index, " ".join(concept.words), concept.alignment, concept.selectivity, concept.count)
            for each in self.find(self.only(datas), respond=respond, progress=progress)
            for concept in each.concepts
        ]
        columns = ["site", "index", "concept", "alignment", "selectivity", "count"]
        return self.answer(datas, concepts=pd.DataFrame(rows, columns=columns))

    def find(
        self, data: Data, *, respond: Respond | None = None, progress: Progress = QUIET
    ) -> tuple[NeuronAlignment, ...]:
        """For all neurons, in the order of the data. BadData without words or sentences, or if no phrase is frequent
        enough, or if what `respond` says is not as it should be.
        """
        candidates = _Candidates.of(data, self.words, self.min_count)
        groups = len(candidates.phrases) + candidates.count
        width = data.memory_bytes // 2 // (BYTES * groups)
        if not width:
            text = f"{groups} phrases and sentences need {BYTES * groups} bytes a neuron"
            raise BadData(f"{text}, and memory_bytes is {data.memory_bytes}: raise it", where="concept_alignment.words")
        parts = steps(0, len(data.neurons), width)
        found: list[NeuronAlignment] = []
        for number, part in enumerate(parts):
            chunk = data.keep(np.arange(part.start, part.stop))
            stretch = progress.part(number / len(parts), (number + 1) / len(parts))
            means = group_means(chunk, candidates.members(), stretch.part(0.0, 0.5 if respond else 1.0))
            chosen = [self._candidates(candidates, means, place) for place in range(len(chunk.neurons))]
            if respond:
                answers = candidates.answers(respond, data, part, chosen, stretch.part(0.5, 1.0))
            else:
                answers = [means.means[some, place] for place, some in enumerate(chosen)]
            for place, (some, alignments) in enumerate(zip(chosen, answers, strict=True)):
                neuron = data.neurons[part.start + place]
                concepts = self._strongest(candidates.phrases, means, place, some, alignments)
                found.append(NeuronAlignment(neuron.site, neuron.index, concepts))
        return tuple(found)

    def _candidates(self, candidates: _Candidates, means: GroupMeans, neuron: int) -> NDArray[np.int64]:
        """The phrases of a neuron's sentences, ascending; none for a constant neuron."""
        if not means.spread[neuron]:
            return np.zeros(0, np.int64)
        best = np.argsort(-means.means[len(candidates.phrases) :, neuron], kind="stable")[: self.sentences]
        return candidates.of_sentences(best)

    def _strongest(
        self,
        phrases: Phrases,
        means: GroupMeans,
        neuron: int,
        some: NDArray[np.int64],
        alignments: NDArray[np.floating],
    ) -> tuple[AlignedConcept, ...]:
        order = np.argsort(-alignments, kind="stable")[: self.top]
        selectivities = means.selectivity(some[order], neuron)
        return tuple(
            AlignedConcept(phrases.texts[at], float(alignment), float(selectivity), int(phrases.counts[at]))
            for at, alignment, selectivity in zip(some[order], alignments[order], selectivities, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Phrases, and which of them are in which of `count` sentences [sentences, P]; `sentences` [N] numbers those of the
    rows.
    """

    phrases: Phrases
    sentences: NDArray[np.int64]
    count: int
    inside: sparse.csr_array

    @classmethod
    def of(cls, data: Data, longest: int, least: int) -> _Candidates:
        if data.sentences is None:
            raise BadData("the data has no sentences", where=data.label)
        phrases = Phrases.of(data, longest=longest, least=least)
        sentences = np.unique(data.sentences, return_inverse=True)[1]
        count = int(sentences.max()) + 1
        ones = np.ones(len(phrases.ends), np.int32)
        inside = sparse.coo_array((ones, (sentences[phrases.ends], phrases.numbers)), (count, len(phrases))).tocsr()
        return cls(phrases, sentences, count, inside)

    def members(self) -> sparse.csc_array:
        """[P + sentences, N] as `group_means` wants it: phrases, then sentences."""
        rows = np.arange(len(self.sentences) + 1)
        ones = np.ones(len(self.sentences), np.float32)
        whole = sparse.csc_array((ones, self.sentences, rows), (self.count, len(self.sentences)))
        return sparse.csc_array(sparse.vstack((self.phrases.members, whole)))

    def of_sentences(self, some: NDArray[np.int64]) -> NDArray[np.int64]:
        """The phrases in some sentences, ascending."""
        starts = self.inside.indptr
        return np.unique(np.concatenate([self.inside.indices[starts[at] : starts[at + 1]] for at in some]))

    def answers(
        self, respond: Respond, data: Data, part: slice, chosen: list[NDArray[np.int64]], progress: Progress
    ) -> list[NDArray[np.floating]]:
        """For each neuron of a part the model's answers to its candidates, in their order."""
        asked = np.unique(np.concatenate(chosen))
        answers: list[NDArray[np.floating]] = [np.zeros(len(some)) for some in chosen]
        for batch in progress.each(steps(0, len(asked), _TEXTS)):
            given = _checked(respond(list(self._repeated(asked[batch]))), len(asked[batch]), data)[:, part]
            first, last = asked[batch][0], asked[batch][-1]
            for place, some in enumerate(chosen):
                here = slice(*np.searchsorted(some, (first, last + 1)))
                answers[place][here] = given[np.searchsorted(asked[batch], some[here]), place]
        return answers

    def _repeated(self, numbers: NDArray[np.int64]) -> Iterator[tuple[str, ...]]:
        """Phrases, each as often as comes nearest to the mean length of a sentence."""
        length = len(self.sentences) / self.count
        for number in numbers:
            words = self.phrases.texts[number]
            yield words * max(1, round(length / len(words)))


def _checked(values: NDArray[np.floating], texts: int, data: Data) -> NDArray[np.floating]:
    shape = texts, len(data.neurons)
    if np.shape(values) != shape:
        raise BadData(f"has shape {np.shape(values)}, not {shape}: texts × neurons", where="respond")
    if not np.isfinite(values).all():
        text, place = np.argwhere(~np.isfinite(values))[0]
        raise BadData(f"the activation is {values[text, place]}", where=f"respond, {data.neurons[int(place)]}")
    return values
