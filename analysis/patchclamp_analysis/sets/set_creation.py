"""Creates the file of an activation set: everything but the numbers, and the places for those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..files.hdf5_files import ALIGNMENT, NewFile, new_file
from .element_types import ELEMENT_TYPES
from .set_layout import RowBlock, SetDescription, describe, group_table, member, text_fault

__all__ = ["create"]

_CHUNK = 4096
_STRING = h5py.string_dtype()
_PER_DATASET = 1024
_PER_STRING = 64


def create(path: Path, description: SetDescription, rows: Iterable[RowBlock]) -> None:
    """Writes all that is known before the model runs. Rows pass through in blocks.

    Raises:
        BadData: The rows do not fit the description, or there are none.
        OSError: The disk cannot hold the set (ENOSPC).
    """
    with new_file(path) as new:
        _write_description(new, description)
        table = _RowTable(new, description)
        for block in rows:
            table.append(block)
        table.finish()
        _make_room(new, description, table.rows)


def _write_description(new: NewFile, description: SetDescription) -> None:
    texts = [name for name, _ in description.sites + description.layers] + [description.filter]
    new.reserve(_PER_DATASET * 16 + 2 * sum(len(text.encode()) + _PER_STRING for text in texts))
    describe(new.file, description)
    for layer, labels in description.layers:
        new.reserve(_PER_DATASET + sum(2 * len(label.encode()) + _PER_STRING for label in labels))
        new.file.create_dataset(f"label_names/{member(layer)}", data=np.array(labels, object), dtype=_STRING)


class _RowTable:
    """The growing datasets of what is known of each row."""

    def __init__(self, new: NewFile, description: SetDescription) -> None:
        self.rows = 0
        self._new = new
        self._codes = {layer: {"": -1} | {label: i for i, label in enumerate(ls)} for layer, ls in description.layers}
        self._last = -1
        kinds = {
            "rows/sentence": np.dtype("i8"),
            "rows/word": np.dtype("i4"),
            "rows/words": _STRING,
            "sentence_offsets": np.dtype("i8"),
        } | {f"labels/{member(layer)}": np.dtype("i4") for layer in self._codes}
        self._row_bytes = 24 + 16 + sum(kind.itemsize for kind in kinds.values())
        new.reserve((_PER_DATASET + 16 * _CHUNK) * len(kinds))
        self._columns = {
            name: new.file.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(_CHUNK,))
            for name, kind in kinds.items()
        }

    def append(self, block: RowBlock) -> None:
        """Adds rows."""
        count = len(block.words)
        sentences, places = np.asarray(block.sentences, np.int64), np.asarray(block.places, np.int32)
        if not (sentences.shape == places.shape == (count,)) or block.labels.keys() != self._codes.keys():
            raise BadData("sentences, places, words and labels are not of the same rows and layers", where=self._at(0))
        if not count:
            return
        before = np.concatenate([[self._last], sentences[:-1]])
        if (sentences < before).any():
            raise BadData("the sentence comes after a later one", where=self._at(int(np.argmax(sentences < before))))
        codes = {layer: self._coded(layer, labels, count) for layer, labels in block.labels.items()}
        self._new.reserve(2 * (count + _CHUNK) * self._row_bytes + 2 * self._size(block.words) + count * _PER_STRING)
        self._extend("sentence_offsets", self.rows + np.flatnonzero(sentences != before))
        self._extend("rows/sentence", sentences)
        self._extend("rows/word", places)
        self._extend("rows/words", np.array([*block.words, None], object)[:-1])
        for layer, values in codes.items():
            self._extend(f"labels/{member(layer)}", values)
        self.rows += count
        self._last = int(sentences[-1])

    def finish(self) -> None:
        """There are no more."""
        if not self.rows:
            raise BadData("there are no rows")
        self._extend("sentence_offsets", np.array([self.rows]))

    def _extend(self, name: str, values: NDArray[Any]) -> None:
        column = self._columns[name]
        length = len(column)
        column.resize((length + len(values),))
        column[length:] = values

    def _coded(self, layer: str, labels: Sequence[str], count: int) -> NDArray[np.int32]:
        if len(labels) != count:
            raise BadData(f"{len(labels)} labels of the layer {layer} for {count} rows", where=self._at(0))
        known = self._codes[layer]
        try:
            return np.fromiter(map(known.__getitem__, labels), np.int32, count)
        except KeyError:
            row = next(i for i, label in enumerate(labels) if label not in known)
            raise BadData(
                f"{labels[row]!r} is not among the labels of the layer {layer}", where=self._at(row)
            ) from None

    def _size(self, words: Sequence[str]) -> int:
        """Bytes of the words. BadData for one that HDF5 cannot hold."""
        joined = "\0".join(words)
        if joined.count("\0") == len(words) - 1:
            try:
                return len(joined.encode())
            except UnicodeEncodeError:
                pass
        row, fault = next((row, fault) for row, word in enumerate(words) if (fault := text_fault(word)))
        raise BadData(f"the word {fault}", where=self._at(row))

    def _at(self, row: int) -> str:
        return f"row {self.rows + row}"


def _make_room(new: NewFile, description: SetDescription, rows: int) -> None:
    """Creates the datasets that are filled in later, each contiguous and on the disk; none is written to."""
    groups = len(group_table(description))
    stored = ELEMENT_TYPES[description.dtype]
    datasets: list[tuple[str, tuple[int, ...], np.dtype[Any]]] = [("rows/masked", (rows,), np.dtype(np.bool_))]
    datasets += [(f"activations/{member(site)}", (rows, width), stored) for site, width in description.sites]
    datasets += [("statistics/count", (groups,), np.dtype("i8"))]
    datasets += [
        (f"statistics/values/{member(site)}", (4, groups, width), np.dtype("f4")) for site, width in description.sites
    ]
    datasets += [("progress", (2, 2), np.dtype("i8"))]
    new.reserve(sum(int(np.prod(shape)) * kind.itemsize + ALIGNMENT + _PER_DATASET for _, shape, kind in datasets))
    for name, shape, kind in datasets:
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        dataset = new.file.create_dataset(name, shape, kind, dcpl=early)
        if kind == ELEMENT_TYPES["bfloat16"]:
            dataset.attrs["dtype"] = "bfloat16"
