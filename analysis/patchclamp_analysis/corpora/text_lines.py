"""Corpora in line-aligned files (a sentence a line in each of them), and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest

from ..errors import BadData
from .sentences import Level, Sentence, text_fault, word_fault
from .sources import LayerLabels, Source, lines, place

__all__ = ["read_lines", "read_text"]


def read_lines(words: Source, labels: Sequence[Source] = (), *, no_label: str = "") -> Iterator[Sentence]:
    """A file of words, separated by single blanks, and files of labels: one a word, or one a line where the level is
    SENTENCE. `no_label` stands for none.

    Raises BadData with file, line and column.
    """
    layers = [LayerLabels(source.layer, no_label) for source in labels]
    for number, row in _aligned((words, *labels)):
        split = _split(row[0], words.name, number)
        word_labels: dict[str, tuple[str, ...]] = {}
        sentence_labels: dict[str, str] = {}
        for source, layer, text in zip(labels, layers, row[1:], strict=True):
            if source.level is Level.SENTENCE:
                sentence_labels[source.layer] = _sentence_label(layer, text, source.name, number)
                continue
            found = _split(text, source.name, number)
            if len(found) != len(split):
                said = f"{len(found)} {'label' if len(found) == 1 else 'labels'} for"
                said += f" {len(split)} {'word' if len(split) == 1 else 'words'}"
                raise BadData(said, where=place(source.name, number))
            word_labels[source.layer] = layer.take(found, partial(_place_of, found, source.name, number))
        yield Sentence(tuple(split), labels=word_labels, sentence_labels=sentence_labels)


def read_text(text: Source, labels: Sequence[Source] = (), *, no_label: str = "") -> Iterator[Sentence]:
    """A text a line, and files of labels, one a line. Raises BadData with file, line and column."""
    layers = [LayerLabels(source.layer, no_label) for source in labels]
    for number, row in _aligned((text, *labels)):
        if fault := text_fault(row[0]):
            raise BadData(fault, where=place(text.name, number, 1))
        sentence_labels = {
            source.layer: _sentence_label(layer, label, source.name, number)
            for source, layer, label in zip(labels, layers, row[1:], strict=True)
        }
        yield Sentence(text=row[0], sentence_labels=sentence_labels)


def _aligned(sources: Sequence[Source]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Lines with the same number, one of each file. Files of different length are BadData."""
    for number, row in enumerate(zip_longest(*map(lines, sources)), 1):
        if None in row:
            ended = sources[row.index(None)].name
            longer = next(source.name for source, text in zip(sources, row, strict=True) if text is not None)
            raise BadData(f"the file ends before this line, {longer} does not", where=place(ended, number))
        yield number, row


def _sentence_label(layer: LayerLabels, label: str, name: str, number: int) -> str:
    return layer.take((label,), lambda _: place(name, number, 1))[0]


def _split(text: str, name: str, number: int) -> list[str]:
    """The line at its blanks. NBSP and the like separate nothing: they are characters of words."""
    words = text.split(" ")
    # The quick way to see that no word is empty or has any kind of whitespace in it.
    if words == text.split():
        return words
    if not text:
        raise BadData("the line is empty", where=place(name, number, 1))
    if match := re.search("^ | (?= )| $", text):
        raise BadData("a blank too many: single blanks separate words", where=place(name, number, match.start() + 1))
    for i, word in enumerate(words):
        if fault := word_fault(word):
            raise BadData(fault, where=_place_of(words, name, number, i))
    return words


def _place_of(words: Sequence[str], name: str, number: int, index: int) -> str:
    return place(name, number, sum(len(word) + 1 for word in words[:index]) + 1)
