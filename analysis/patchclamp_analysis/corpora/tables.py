"""Corpora from tables: pandas DataFrames and Hugging Face datasets. Neither library is imported here."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import BadData
from .sentences import Sentence, all_plain, label_fault, quoted, text_fault, word_fault

if TYPE_CHECKING:
    from datasets import Dataset
    from pandas import DataFrame

__all__ = ["TableColumns", "from_dataframe", "from_dataset", "from_token_dataframe"]


@dataclass(frozen=True, slots=True)
class TableColumns:
    """What the columns of a table hold."""

    words: str = ""
    """Words: a list of them, or in a table with a word a row, one."""
    text: str = ""
    """Texts, where there are no words."""
    second: str = ""
    """The second text of a pair."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Layer → column of the words' labels."""
    sentence_labels: Mapping[str, str] = field(default_factory=dict)
    """Layer → column of the sentences' labels."""

    def used(self, columns: Iterable[object]) -> list[str]:
        """The columns that are used. Raises BadData for one that is not among `columns`."""
        if bool(self.words) == bool(self.text):
            raise BadData("name the column of the words or else that of the texts")
        contents = [name for name in (self.words, self.text, self.second) if name]
        used = list(dict.fromkeys([*contents, *self.labels.values(), *self.sentence_labels.values()]))
        there = list(columns)
        for name in used:
            if there.count(name) != 1:
                said = "several columns" if name in there else "no column"
                raise BadData(f"there is {said} {quoted(name)}; there are {', '.join(map(str, there))}")
        return used


def from_dataframe(frame: DataFrame, columns: TableColumns, *, no_label: str = "") -> Iterator[Sentence]:
    """A sentence a row. Missing values are no label; whole numbers are labels as they are written.

    Raises BadData with row (by position, from 0) and column.
    """
    used = columns.used(frame.columns)
    for i, row in enumerate(zip(*(frame[name] for name in used), strict=True)):
        yield _Cells(dict(zip(used, row, strict=True)), partial(_in_row, i), no_label).sentence(columns)


def from_token_dataframe(
    frame: DataFrame, columns: TableColumns, *, sentence: str, no_label: str = ""
) -> Iterator[Sentence]:
    """A word a row. The rows of a sentence follow one another and have one value in the column `sentence`, and one in
    each column of sentence labels.

    Raises BadData with row (by position, from 0) and column.
    """
    used = columns.used(frame.columns)
    if not columns.words:
        raise BadData("name the column of the words")
    seen: set[object] = set()
    start = 0
    for key, rows in groupby(zip(frame[sentence], *(frame[name] for name in used), strict=True), lambda row: row[0]):
        lists = list(zip(*rows, strict=True))[1:]
        if _missing(key) or key in seen:
            said = "is missing" if _missing(key) else f"{key!r} again, after another sentence"
            raise BadData(said, where=_in_rows(start, sentence))
        seen.add(key)
        cells = _Cells(dict(zip(used, lists, strict=True)), partial(_in_rows, start), no_label)
        yield cells.with_one_of(columns.sentence_labels.values()).sentence(columns)
        start += len(lists[0])


def from_dataset(dataset: Dataset, columns: TableColumns, *, no_label: str = "") -> Iterator[Sentence]:
    """A row of a Hugging Face dataset each. Numbers of classes become their names; −1 is no label.

    Raises BadData with row (from 0) and column.
    """
    if not hasattr(dataset, "features"):
        raise BadData("is not one dataset but several: choose a split")
    used = columns.used(dataset.features)
    classes = {name: _classes(dataset.features[name]) for name in used}
    for i, row in enumerate(dataset.select_columns(used)):
        yield _Cells(row, partial(_in_row, i), no_label, classes).sentence(columns)


class _Cells:
    """One sentence of a table: what its columns hold, and what errors call a place in them."""

    def __init__(
        self,
        cells: Mapping[str, object],
        where: Callable[..., str],
        no_label: str,
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._cells = cells
        self._where = where
        self._no_label = no_label
        self._classes = classes or {}

    def sentence(self, columns: TableColumns) -> Sentence:
        """The sentence."""
        words = self._words(columns.words) if columns.words else ()
        return Sentence(
            words,
            self._text(columns.text) if columns.text else "",
            self._text(columns.second) if columns.second else "",
            {layer: self._labels(column, len(words)) for layer, column in columns.labels.items()},
            {
                layer: self._label(self._cells[column], column, None)
                for layer, column in columns.sentence_labels.items()
            },
        )

    def with_one_of(self, columns: Iterable[str]) -> _Cells:
        """The same with one label instead of a list of equal ones in some columns."""
        single = {}
        for column in columns:
            values = self._list(column)
            first = self._label(values[0], column, 0)
            for i, value in enumerate(values):
                if self._label(value, column, i) != first:
                    text = f"{value!r}, but the rows of its sentence before have {quoted(first)}"
                    raise BadData(text, where=self._where(column, i))
            single[column] = first
        return _Cells({**self._cells, **single}, self._where, self._no_label)

    def _list(self, column: str) -> list[object]:
        value = self._cells[column]
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise BadData(f"{_shown(value)} is no list", where=self._where(column))
        return list(value)

    def _words(self, column: str) -> tuple[str, ...]:
        words = tuple(self._string(word, column, i) for i, word in enumerate(self._list(column)))
        if not words:
            raise BadData("there are no words", where=self._where(column))
        if not all_plain(words):
            for i, word in enumerate(words):
                if fault := word_fault(word):
                    raise BadData(fault, where=self._where(column, i))
        return words

    def _text(self, column: str) -> str:
        text = self._string(self._cells[column], column, None)
        if fault := text_fault(text):
            raise BadData(fault, where=self._where(column))
        return text

    def _labels(self, column: str, words: int) -> tuple[str, ...]:
        values = self._list(column)
        if len(values) != words:
            raise BadData(f"{len(values)} labels for {words} words", where=self._where(column))
        return tuple(self._label(value, column, i) for i, value in enumerate(values))

    def _label(self, value: object, column: str, index: int | None) -> str:
        try:
            label = _label(value, self._classes.get(column, ()))
        except BadData as error:
            raise BadData(error.message, where=self._where(column, index)) from None
        if fault := label_fault(label):
            raise BadData(fault, where=self._where(column, index))
        return "" if label == self._no_label else label

    def _string(self, value: object, column: str, index: int | None) -> str:
        if not isinstance(value, str):
            raise BadData(f"{_shown(value)} is no string", where=self._where(column, index))
        return str(value)


def _in_row(row: int, column: str, index: int | None = None) -> str:
    return f"row {row}, column {column}" + ("" if index is None else f"[{index}]")


def _in_rows(start: int, column: str, index: int | None = None) -> str:
    return f"row {start + (index or 0)}, column {column}"


def _classes(feature: object) -> Sequence[str]:
    """The names of the classes of a ClassLabel, or of a list of them; none: it is neither."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return getattr(inner, "names", ())


def _label(value: object, classes: Sequence[str]) -> str:
    if isinstance(value, str):
        return str(value)
    if _missing(value):
        return ""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise BadData(f"{_shown(value)} is no label: give strings or whole numbers")
    number = operator.index(value)
    if not classes:
        return str(number)
    if not -1 <= number < len(classes):
        raise BadData(f"the class {number} is out of range: there are {len(classes)}, from 0")
    return classes[number] if number >= 0 else ""


def _missing(value: object) -> bool:
    """None, NaN, or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)


def _shown(value: object) -> str:
    return f"{quoted(str(value))} ({type(value).__name__})"
