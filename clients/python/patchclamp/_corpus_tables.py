"""Tables (data frames, data sets) as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from patchclamp._corpus_rows import Row, label_text, row, word_labels
from patchclamp._sentences import Pair

if TYPE_CHECKING:
    import pandas

__all__ = ["Dataset", "LabelColumns", "TableColumns", "dataset_rows", "frame_rows"]

# Columns of labels: their names, or from layer to the name of its column.
LabelColumns: TypeAlias = Sequence[str] | Mapping[str, str]


class Dataset(Protocol):
    """What of a Hugging Face `datasets.Dataset` (or `IterableDataset`) is used."""

    @property
    def features(self) -> Mapping[str, object] | None:
        """Types of the columns."""

    def __iter__(self) -> Iterator[Mapping[str, object]]: ...


@dataclass(frozen=True, slots=True, init=False)
class TableColumns:
    """Which column holds what.

    Raises:
        ValueError: Not exactly one of text, words and pair is given.
    """

    content: tuple[str, ...]
    labels: Mapping[str, str]
    sentence_labels: Mapping[str, str]

    def __init__(
        self,
        text: str,
        words: str,
        pair: tuple[str, str] | None,
        labels: LabelColumns,
        sentence_labels: LabelColumns,
    ) -> None:
        if sum(map(bool, (text, words, pair))) != 1:
            raise ValueError("give exactly one of text, words and pair: the column (or two) of the sentences")
        object.__setattr__(self, "content", pair or (text or words,))
        object.__setattr__(self, "labels", _by_layer(labels))
        object.__setattr__(self, "sentence_labels", _by_layer(sentence_labels))

    def names(self) -> list[str]:
        """All the columns, each once."""
        return list(dict.fromkeys([*self.content, *self.labels.values(), *self.sentence_labels.values()]))

    def sentence(self, values: Mapping[str, object]) -> object:
        """The content of a row."""
        if len(self.content) == 1:
            return values[self.content[0]]
        first, second = (values[name] for name in self.content)
        return Pair(cast("str", first), cast("str", second))


def frame_rows(frame: pandas.DataFrame, columns: TableColumns, sentence: str) -> Iterator[Row]:
    """An object a row; or, with a column that numbers the sentences, an object a run of rows with one word each."""
    names = columns.names() + ([sentence] if sentence else [])
    _check_columns(names, list(frame.columns))
    rows = (dict(zip(names, values, strict=True)) for values in zip(*(frame[name] for name in names), strict=True))
    return _rows("sentence", _grouped(rows, columns, sentence), columns) if sentence else _rows("row", rows, columns)


def dataset_rows(dataset: Dataset, columns: TableColumns) -> Iterator[Row]:
    """An object a row; numbers of classes become their names."""
    features = dataset.features or {}
    if features:
        _check_columns(columns.names(), list(features))
    return _rows("row", dataset, columns, {name: _class_names(feature) for name, feature in features.items()})


def _rows(
    kind: str,
    rows: Iterable[Mapping[str, object]],
    columns: TableColumns,
    classes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[Row]:
    for number, values in enumerate(rows):
        place = f"{kind} {number}"
        words = {
            layer: word_labels(f"{place}, column {name!r}", values[name], classes.get(name, ()))
            for layer, name in columns.labels.items()
        }
        whole = {
            layer: label_text(f"{place}, column {name!r}", values[name], classes.get(name, ()))
            for layer, name in columns.sentence_labels.items()
        }
        yield row(place, columns.sentence(values), words, whole)


def _grouped(
    rows: Iterable[Mapping[str, object]], columns: TableColumns, sentence: str
) -> Iterator[Mapping[str, object]]:
    """A row a sentence: lists of what its words have, and the one value they share."""
    for value, group in groupby(rows, itemgetter(sentence)):
        words = list(group)
        made: dict[str, object] = {name: [word[name] for word in words] for name in columns.names()}
        for name in columns.sentence_labels.values():
            shared = {label_text(f"{sentence} {value}, column {name!r}", word[name]) for word in words}
            if len(shared) > 1:
                raise ValueError(f"{sentence} {value}: its words differ in column {name!r}, which labels sentences")
            made[name] = shared.pop()
        yield made


def _by_layer(columns: LabelColumns) -> Mapping[str, str]:
    if isinstance(columns, str):
        raise TypeError(f"labels are columns, and {columns!r} is one name; give a list: [{columns!r}]")
    return dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}


def _check_columns(wanted: Iterable[str], there: Sequence[object]) -> None:
    for name in wanted:
        if name not in there:
            raise ValueError(f"there is no column {name!r}; there are {', '.join(map(str, there))}")


def _class_names(feature: object) -> Sequence[str]:
    """Names of a `ClassLabel`, or of a list of them."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return tuple(getattr(inner, "names", None) or ())
