"""What an activation set is made of: its description, and where things lie in its HDF5 file.

    /rows/sentence, /rows/word, /rows/words     where each row comes from
    /rows/masked                                whether it must not be used
    /sentence_offsets                           sentence i of the set has the rows from offsets[i] to offsets[i + 1]
    /labels/{layer}, /label_names/{layer}       a code per row, −1 for none; the label of each code
    /activations/{site}                         [rows, width], contiguous
    /statistics/count                           [groups]: rows of each group
    /statistics/values/{site}                   [4, groups, width]: mean, variance, minimum, maximum
    /progress                                   how many rows are durable, and whether the file is whole

Group 0 is all rows; then comes one for each label of each layer that has few enough of them.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from .element_types import ELEMENT_TYPES

__all__ = [
    "Place",
    "RowBlock",
    "SetDescription",
    "checked",
    "describe",
    "description_of",
    "group_table",
    "measured_layers",
    "member",
    "text_fault",
]

FORMAT, VERSION = "patchclamp activation set", 1
_MOST_GROUPS = 256
"""Layers with more labels have no statistics in the file."""
_TEXTS = ("aggregation", "model", "model_digest", "tokenizer", "corpus", "corpus_digest", "filter", "interventions")
_LIBRARIES = ("patchclamp", "torch", "transformers", "numpy", "h5py")


@dataclass(frozen=True, slots=True)
class SetDescription:
    """What identifies a set; a partial file with another description is discarded."""

    sites: tuple[tuple[str, int], ...]
    """Name and width of each site."""
    dtype: str
    """ "float32", "float16" or "bfloat16"."""
    aggregation: str = ""
    model: str = ""
    model_digest: str = ""
    tokenizer: str = ""
    corpus: str = ""
    corpus_digest: str = ""
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Layers of labels, each with its labels in sorted order."""
    filter: str = ""
    """Canonical JSON of the filter that chose the rows; empty: all."""
    interventions: str = ""
    """Digest of the edits; empty: none."""


@dataclass(frozen=True, slots=True, eq=False)
class RowBlock:
    """Where consecutive rows come from; best some thousand rows. Sentences never go down from a row to the next."""

    sentences: NDArray[np.int64]
    """[n]: number of the sentence in the corpus."""
    places: NDArray[np.int32]
    """[n]: place of the word (or token) in its sentence."""
    words: Sequence[str]
    labels: Mapping[str, Sequence[str]]
    """Per layer of the description one label a row; "": unlabelled."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies in the file: it can be read and written without HDF5."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> Place | None:
        """None: the dataset is not in one piece in this file."""
        offset = dataset.id.get_offset()
        return None if offset is None else cls(offset, dataset.shape, dataset.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize

    def write(self, descriptor: int, values: NDArray[Any], row: int = 0) -> None:
        """Writes consecutive rows from `row` on."""
        data = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data
        offset = self.offset + row * self.row_bytes
        while data:
            count = os.pwrite(descriptor, data, offset)
            data, offset = data[count:], offset + count

    def read(self, descriptor: int, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows `start` to before `stop`. EOFError if the file ends before them."""
        stop = self.shape[0] if stop is None else stop
        values = np.empty((stop - start, *self.shape[1:]), self.dtype)
        data = values.reshape(-1).view(np.uint8).data
        offset = self.offset + start * self.row_bytes
        while data:
            count = os.preadv(descriptor, [data], offset)
            if not count:
                raise EOFError("the file ends before its data")
            data, offset = data[count:], offset + count
        return values


def member(name: str) -> str:
    """The name of a site or layer as that of a member of an HDF5 group, where '/' and a lone '.' mean something."""
    return "%2E" if name == "." else name.replace("%", "%25").replace("/", "%2F")


def measured_layers(description: SetDescription) -> list[str]:
    """Layers whose labels have statistics in the file."""
    return [layer for layer, labels in description.layers if len(labels) <= _MOST_GROUPS]


def group_table(description: SetDescription) -> list[tuple[str, str]]:
    """Layer and label of each group of rows that has statistics in the file; ("", "") stands for all rows."""
    labels = dict(description.layers)
    return [("", "")] + [(layer, label) for layer in measured_layers(description) for label in labels[layer]]


def text_fault(text: str) -> str:
    """Why HDF5 cannot hold a string; "" if it can."""
    if "\0" in text:
        return f"{text!r} contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{text!r} contains half of a surrogate pair"
    return ""


def checked(description: SetDescription) -> SetDescription:
    """The same description. BadData if there can be no such set."""
    if description.dtype not in ELEMENT_TYPES:
        raise BadData(f"there is no element type {description.dtype!r}; there are {', '.join(ELEMENT_TYPES)}")
    if not description.sites:
        raise BadData("a set needs at least one site")
    for kind, names in (
        ("site", [name for name, _ in description.sites]),
        ("layer", [name for name, _ in description.layers]),
        *((f"label of {name}", labels) for name, labels in description.layers),
    ):
        if "" in names or len(set(names)) < len(names):
            raise BadData(f"every {kind} needs a name of its own, not {', '.join(map(repr, names[:20]))}")
        for name in names:
            if fault := text_fault(name):
                raise BadData(f"the {kind} {fault}")
    for name, width in description.sites:
        if width < 1:
            raise BadData(f"{name} has {width} neurons; a site has at least one")
    for name, labels in description.layers:
        if list(labels) != sorted(labels):
            raise BadData(f"the labels of {name} are not in sorted order")
    for field in _TEXTS:
        if fault := text_fault(getattr(description, field)):
            raise BadData(f"the {field} {fault}")
    return description


def describe(file: h5py.File, description: SetDescription) -> None:
    """Writes a description and what wrote it to the attributes of a file."""
    versions = {name: version for name in _LIBRARIES if (version := _version(name))}
    attributes = {
        "format": FORMAT,
        "format_version": VERSION,
        "dtype": description.dtype,
        "sites": json.dumps(description.sites, ensure_ascii=False),
        "layers": json.dumps([name for name, _ in description.layers], ensure_ascii=False),
        "versions": json.dumps(versions),
    }
    file.attrs.update(attributes | {field: getattr(description, field) for field in _TEXTS})


def description_of(file: h5py.File) -> SetDescription:
    """Reads a description. BadData, without a place, if there is none, or of a version that is too new."""
    if file.attrs.get("format") != FORMAT:
        raise BadData("is no activation set")
    if (version := int(file.attrs["format_version"])) > VERSION:
        raise BadData(f"is of format {version}; this version of patchclamp reads formats up to {VERSION}")
    layers = json.loads(file.attrs["layers"])
    return checked(
        SetDescription(
            sites=tuple((name, int(width)) for name, width in json.loads(file.attrs["sites"])),
            dtype=str(file.attrs["dtype"]),
            layers=tuple((name, tuple(file["label_names"][member(name)].asstr()[:].tolist())) for name in layers),
            **{field: str(file.attrs[field]) for field in _TEXTS},
        )
    )


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
