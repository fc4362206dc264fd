"""Corpora with a word a line and its labels in columns: CoNLL-U (universaldependencies.org/format.html) and TSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ..errors import BadData
from .sentences import Sentence, all_plain, quoted, word_fault
from .sources import LONGEST, LayerLabels, Source, lines, place

__all__ = ["CONLLU_COLUMNS", "Column", "read_conllu", "read_tsv"]

CONLLU_COLUMNS = 10

# What stands for several words (1-2) or for none (1.1).
_NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of labels."""

    column: int
    """From 1. In CoNLL-U: 3 LEMMA, 4 UPOS, 5 XPOS, 6 FEATS, 8 DEPREL, 10 MISC."""
    layer: str
    """The layer that it makes."""
    key: str = ""
    """For FEATS and MISC ("Number=Sing|Case=Nom"): only the value of this key; "": the column as it is."""


def read_tsv(
    source: Source, columns: Sequence[Column] = (), *, word_column: int = 1, no_label: str = ""
) -> Iterator[Sentence]:
    """A word a line, tab-separated columns, an empty line after each sentence; an empty cell is no label.

    Raises BadData with file, line and column.
    """
    table = _Table(source.name, word_column, columns, no_label, blanks=False)
    width = 0
    for first, block in _blocks(source):
        rows = _Rows(range(first, first + len(block)), [line.split("\t") for line in block])
        width = width or len(rows.cells[0])
        table.check_width(rows, width, f"the lines before have {width}")
        yield table.sentence(rows)


def read_conllu(
    source: Source, columns: Sequence[Column] = (), *, word_column: int = 2, no_label: str = ""
) -> Iterator[Sentence]:
    """CoNLL-U. Multi-word ranges, empty nodes and comments are skipped; words may contain blanks, as the format has it.

    Raises BadData with file, line and column.
    """
    table = _Table(source.name, word_column, columns, no_label, blanks=True)
    for first, block in _blocks(source):
        numbers = [number for number, line in enumerate(block, first) if not line.startswith("#")]
        rows = _Rows(numbers, [block[number - first].split("\t") for number in numbers])
        table.check_width(rows, CONLLU_COLUMNS, f"CoNLL-U has {CONLLU_COLUMNS}, separated by tabs")
        rows = _words_of(rows, source.name)
        if not rows.cells:
            raise BadData("a sentence without words", where=place(source.name, first))
        yield table.sentence(rows)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Lines cut into cells, with the numbers of the lines."""

    lines: Sequence[int]
    cells: list[list[str]]


def _words_of(rows: _Rows, name: str) -> _Rows:
    """The rows of words, whose ids must count from 1."""
    numbers: list[int] = []
    cells: list[list[str]] = []
    for number, row in zip(rows.lines, rows.cells, strict=True):
        if row[0] == str(len(cells) + 1):
            numbers.append(number)
            cells.append(row)
        elif not _NO_WORD.fullmatch(row[0]):
            raise BadData(f"the id {quoted(row[0])} where {len(cells) + 1} comes next", where=place(name, number, 1))
    return _Rows(numbers, cells)


def _blocks(source: Source) -> Iterator[tuple[int, list[str]]]:
    """The lines between empty lines, with the number of the first."""
    block: list[str] = []
    size = 0
    number = 0
    for number, line in enumerate(lines(source), 1):
        if line:
            block.append(line)
            size += len(line)
            if size > LONGEST:
                text = f"the sentence has more than {LONGEST} characters; an empty line ends a sentence"
                raise BadData(text, where=place(source.name, number))
        elif block:
            yield number - len(block), block
            block, size = [], 0
        else:
            raise BadData("an empty line that ends no sentence", where=place(source.name, number))
    if block:
        yield number + 1 - len(block), block


class _Table:
    """Makes sentences of rows."""

    def __init__(self, name: str, word_column: int, columns: Sequence[Column], no_label: str, *, blanks: bool) -> None:
        self._name = name
        self._word = word_column - 1
        self._columns = columns
        self._layers = [LayerLabels(column.layer, no_label) for column in columns]
        self._last = max(word_column, *(column.column for column in columns)) if columns else word_column
        self._blanks = blanks

    def check_width(self, rows: _Rows, width: int, why: str) -> None:
        """Raises BadData for the first row that has not `width` columns, or too few for what is wanted of it."""
        for i, cells in enumerate(rows.cells):
            if len(cells) != width:
                raise BadData(f"{_count(len(cells))}; {why}", where=self._place(rows, len(cells), i))
        if self._last > width:
            text = f"{_count(width)}; column {self._last} is said to hold {self._what(self._last)}"
            raise BadData(text, where=self._place(rows, width, 0))

    def sentence(self, rows: _Rows) -> Sentence:
        """The sentence in these rows."""
        cells = list(zip(*rows.cells, strict=True))
        words = cells[self._word]
        if not all_plain(words):
            for i, word in enumerate(words):
                if fault := word_fault(word, blanks=self._blanks):
                    raise BadData(fault, where=self._place(rows, self._word, i))
        labels = {}
        for column, layer in zip(self._columns, self._layers, strict=True):
            where = partial(self._place, rows, column.column - 1)
            found: Sequence[str] = cells[column.column - 1]
            if column.key:
                found = [_value(cell, column.key, where, i) for i, cell in enumerate(found)]
            labels[column.layer] = layer.take(found, where)
        return Sentence(words, labels=labels)

    def _what(self, number: int) -> str:
        layers = (f"the layer {column.layer}" for column in self._columns if column.column == number)
        return "the words" if number == self._word + 1 else next(layers)

    def _place(self, rows: _Rows, column: int, index: int) -> str:
        """Where a column (from 0) of a row begins; one behind the last: where the row ends."""
        cells = rows.cells[index]
        start = sum(len(cell) + 1 for cell in cells[:column])
        return place(self._name, rows.lines[index], start + 1 if column < len(cells) else start)


def _value(cell: str, key: str, where: Callable[[int], str], index: int) -> str:
    """The value of a key in "Number=Sing|Case=Nom"."""
    if key not in cell:
        return ""
    found = [value for part in cell.split("|") for name, _, value in (part.partition("="),) if name == key]
    if len(found) > 1:
        raise BadData(f"the key {quoted(key)} twice", where=where(index))
    return found[0] if found else ""


def _count(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns} columns"
