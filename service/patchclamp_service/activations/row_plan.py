"""Which rows an extraction gives, before the model runs: the rows of each sentence, and which of them are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from patchclamp_analysis.corpora.corpus import Corpus, Layer
from patchclamp_analysis.corpora.sentences import Level, Sentence
from patchclamp_analysis.sets.activation_writer import RowBlock
from patchclamp_analysis.sets.row_selection import RowFilter, RowSelection, Unit

from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.engine.requests import Pooling, TokenRows

__all__ = ["PlannedSentence", "RowPlan", "in_corpus"]

T = TypeVar("T")

Tokenise = Callable[[Sentence], TokenRows]
"""The rows of tokens of a sentence, as the engine will give them."""

Check = Callable[[Sentence], None]
"""Raises InvalidRequest for a sentence that the engine cannot run."""

# Small, so that who makes blocks beside other work can rest often.
_BLOCK_ROWS = 1000


def _nothing() -> None:
    pass


def in_corpus(error: InvalidRequest, number: int) -> InvalidRequest:
    """The same error, said of a sentence of the corpus."""
    text = f"sentence {number} of the corpus, counted from 0: {error.message}"
    return InvalidRequest(text, reason=error.reason, field="corpus")


@dataclass(frozen=True, slots=True)
class PlannedSentence:
    """A sentence with at least one row that is kept."""

    number: int
    """In the corpus."""
    sentence: Sentence
    names: tuple[str, ...]
    """The word, token or sentence of every row that the engine will give."""
    places: Sequence[int]
    """The rows that are kept, ascending."""
    labels: Mapping[str, Sequence[str]]
    """Per layer the labels of the rows that are kept."""
    end: int
    """How many rows are kept up to the end of this sentence."""


@dataclass(frozen=True)
class RowPlan:
    """The rows of a corpus, read from it as often as they are asked for.

    Without pooling a row is a token: a filter keeps or leaves out all tokens of a word together, and a token of
    running text or a special token by itself. Rows carry all layers of labels; a row that is a sentence, those of
    sentences; a special token has no label of a word.
    """

    corpus: Corpus
    pooling: Pooling
    rule: RowFilter
    tokenise: Tokenise
    check: Check
    numbers: range
    """The sentences whose rows are wanted; draws are made from the whole corpus."""
    turn: Callable[[], None] = _nothing
    """Called for every sentence that is read; what it raises ends the work."""

    @cached_property
    def selection(self) -> RowSelection:
        """The filter with its draws; the first to ask waits while the corpus is read."""
        return RowSelection.draw(self.rule, self._units_of_corpus)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of labels that the rows carry."""
        return tuple(
            layer
            for layer in self.corpus.summary.layers
            if layer.level is Level.SENTENCE or not self.pooling.per_sentence
        )

    def sentences(self) -> Iterator[PlannedSentence]:
        """The sentences that keep a row, in order."""
        end = 0
        for number, sentence in zip(self.numbers, self._read(self.numbers), strict=True):
            names, words = self._rows(number, sentence)
            if kept := self._kept(number, sentence, names, words):
                end += len(kept)
                yield PlannedSentence(number, sentence, names, kept, self._labels(sentence, words, kept), end)

    def blocks(self) -> Iterator[RowBlock]:
        """The same as the metadata of rows. InvalidRequest names the first sentence that cannot be run."""
        for planned in _groups(self._checked()):
            yield RowBlock(
                sentences=np.repeat(
                    np.array([each.number for each in planned], dtype=np.int64), [len(each.places) for each in planned]
                ),
                places=np.array([place for each in planned for place in each.places], dtype=np.int32),
                words=[each.names[place] for each in planned for place in each.places],
                labels={
                    layer.name: [label for each in planned for label in each.labels[layer.name]]
                    for layer in self.layers
                },
            )

    def _checked(self) -> Iterator[PlannedSentence]:
        for planned in self.sentences():
            if self.pooling is not Pooling.NONE:
                _of_corpus(self.check, planned.number, planned.sentence)
            yield planned

    def _kept(self, number: int, sentence: Sentence, names: Sequence[str], words: Sequence[int]) -> Sequence[int]:
        if self.rule == RowFilter():
            return range(len(names))
        units = self._units(number, sentence, names, words)
        return sorted(row for unit, rows in units if self.selection.keeps(unit) for row in rows)

    def _read(self, numbers: range) -> Iterator[Sentence]:
        return self.corpus.sentences(numbers.start, numbers.stop)

    def _units_of_corpus(self) -> Iterator[Unit]:
        for number, sentence in enumerate(self.corpus):
            for unit, _ in self._units(number, sentence, *self._rows(number, sentence)):
                yield unit

    def _rows(self, number: int, sentence: Sentence) -> tuple[tuple[str, ...], Sequence[int]]:
        """The names of all rows, and the number of the word that each belongs to (−1: to none)."""
        self.turn()
        if self.pooling.per_sentence:
            return (" ".join((*sentence.words, sentence.text, sentence.second)).strip(),), (-1,)
        if self.pooling is Pooling.NONE:
            rows = _of_corpus(self.tokenise, number, sentence)
            return rows.names, rows.words
        return sentence.words, range(len(sentence.words))

    def _units(
        self, number: int, sentence: Sentence, names: Sequence[str], words: Sequence[int]
    ) -> list[tuple[Unit, list[int]]]:
        """What the filter keeps or leaves out, each with its rows."""
        units: list[tuple[Unit, list[int]]] = []
        by_word: dict[int, list[int]] = {}
        for row, word in enumerate(words):
            if word in by_word:
                by_word[word].append(row)
                continue
            rows = [row]
            if word >= 0:
                by_word[word] = rows
            name = sentence.words[word] if word >= 0 else names[row]
            units.append((Unit(number, len(units), name, self._label(sentence, word)), rows))
        return units

    def _label(self, sentence: Sentence, word: int) -> str:
        """What the filter goes by."""
        layer = self.rule.layer
        if not layer:
            return ""
        if layer in sentence.sentence_labels:
            return sentence.sentence_labels[layer]
        return sentence.labels[layer][word] if word >= 0 and layer in sentence.labels else ""

    def _labels(self, sentence: Sentence, words: Sequence[int], kept: Sequence[int]) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        for layer in self.layers:
            if layer.level is Level.SENTENCE:
                found[layer.name] = [sentence.sentence_labels.get(layer.name, "")] * len(kept)
            else:
                labels = sentence.labels.get(layer.name)
                found[layer.name] = [labels[words[row]] if labels and words[row] >= 0 else "" for row in kept]
        return found


def _groups(sentences: Iterator[PlannedSentence]) -> Iterator[list[PlannedSentence]]:
    """Consecutive sentences of about as many rows as a block has."""
    group: list[PlannedSentence] = []
    rows = 0
    for planned in sentences:
        group.append(planned)
        rows += len(planned.places)
        if rows >= _BLOCK_ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _of_corpus(read: Callable[[Sentence], T], number: int, sentence: Sentence) -> T:
    try:
        return read(sentence)
    except InvalidRequest as error:
        raise in_corpus(error, number) from error
