"""Files of the NeuroX toolkit (1.0.9): what its writers write is read here, what is written here its loader reads.

`.hdf5`: a dataset "0", "1", … a sentence, of shape [layers, words, neurons], and `sentence_to_index` [1], the JSON of
    a mapping from sentences (words joined by blanks) to the names of datasets. A sentence that comes again is called
    "… (Occurrence 2)".
`.json`: a line a sentence: {"linex_index": 0, "features": [{"token": …, "layers": [{"index": 0, "values": […]}, …]}]}.

Neither says which layers of the model its layers are. Where they are not the first ones, files from here name their
sites in `patchclamp_sites`, which NeuroX's loader does not look at: an attribute of HDF5's root, a key of JSON's lines.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..files.durable_files import locked, sync_directory
from ..files.hdf5_files import is_hdf5, new_file, opened

__all__ = ["NeuroxSentence", "noted_sites", "read_neurox", "write_neurox"]

_SITES = "patchclamp_sites"

_OCCURRENCE = re.compile(r" \(Occurrence \d+\)$")


@dataclass(frozen=True, slots=True, eq=False)
class NeuroxSentence:
    """A sentence: its words, and their activations [layers, words, neurons] in float32 or float16."""

    words: tuple[str, ...]
    activations: NDArray[Any]


def read_neurox(
    path: Path, *, words: Iterable[Sequence[str]] | None = None, values: bool = True
) -> Iterator[NeuroxSentence]:
    """Reads sentence by sentence, HDF5 or JSON lines. `words` are those of all sentences, for words with blanks in
    them, which HDF5 does not tell apart. Without `values` zeros stand for the activations, and HDF5 is not read.

    Raises:
        BadData: The file is neither, or damaged; or its words cannot be told, or are not those given.
        OSError: It cannot be read.
    """
    found = _read_hdf5(path, values) if is_hdf5(path) else _read_json(path, values)
    if words is None:
        for each in found:
            yield NeuroxSentence(each.words(), each.activations)
        return
    for each, told in zip_longest(found, words):
        if each is None or told is None:
            side = "more" if each is None else "fewer"
            raise BadData(f"there are words of {side} sentences than the file has", where=path.name)
        if len(told) != each.activations.shape[1] or " ".join(told) not in each.texts:
            raise BadData(
                f"the words given are others: {' '.join(told)[:80]!r}, not {each.texts[0][:80]!r}", where=each.where
            )
        yield NeuroxSentence(tuple(told), each.activations)


def noted_sites(path: Path) -> tuple[str, ...]:
    """The sites that a file says its layers are; none: it does not say.

    Raises:
        BadData: The file is damaged, or what it says is no list of distinct names.
        OSError: It cannot be read.
    """
    try:
        if is_hdf5(path):
            with opened(path) as file:
                sites = json.loads(file.attrs[_SITES]) if _SITES in file.attrs else []
        else:
            with path.open("rb") as lines:
                sites = json.loads(lines.readline()).get(_SITES, [])
    except (ValueError, TypeError, AttributeError) as error:
        raise BadData(f"{_SITES} cannot be read: {error}", where=path.name) from None
    if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites) or len(set(sites)) < len(sites):
        raise BadData(f"{_SITES} is no list of distinct names", where=path.name)
    return tuple(sites)


def write_neurox(path: Path, sentences: Iterable[NeuroxSentence], *, sites: Sequence[str] = ()) -> None:
    """Writes sentence by sentence; `path` is there whole or not at all. HDF5 needs the text of all sentences in memory,
    as the format has it in one string. `sites` are noted, for `noted_sites`.

    Raises:
        BadData: The path ends neither in .hdf5 nor in .json, which NeuroX tells files by.
        FileExistsError: The file is there already.
        OSError: The disk is full, or the file cannot be written.
    """
    if path.suffix not in _WRITERS:
        raise BadData(f"NeuroX files end in {' or '.join(_WRITERS)}", where=path.name)
    if path.exists():
        raise FileExistsError(f"{path} is there already")
    partial = path.with_name(f".{path.name}.partial")
    descriptor = locked(partial)
    try:
        _WRITERS[path.suffix](partial, sentences, sites)
        os.fsync(descriptor)
        partial.rename(path)
        sync_directory(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


class _Raw(NamedTuple):
    """A sentence whose words may still have to be told."""

    texts: tuple[str, ...]
    """What it may be, words joined by blanks."""
    tokens: tuple[str, ...] | None
    activations: NDArray[Any]
    where: str

    def words(self) -> tuple[str, ...]:
        """Its words. Whether "(Occurrence 2)" belongs to it is told by their number."""
        if self.tokens is not None:
            return self.tokens
        count = self.activations.shape[1]
        for text in self.texts:
            words = tuple(text.split(" ")) if text else ()
            if len(words) == count:
                return words
        raise BadData(f"has {count} rows for the words {self.texts[0][:80]!r}; give the words", where=self.where)


def _read_hdf5(path: Path, values: bool) -> Iterator[_Raw]:
    with opened(path) as file:
        for text, name in _index(file, path).items():
            dataset = file.get(name)
            if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 3 or dataset.dtype.kind != "f":
                raise BadData("is no dataset of floats [layers, words, neurons]", where=f"{path.name}, {name!r}")
            activations = dataset[()] if values else np.broadcast_to(dataset.dtype.type(0), dataset.shape)
            yield _Raw((text, _OCCURRENCE.sub("", text)), None, activations, f"{path.name}, sentence {name!r}")


def _index(file: h5py.File, path: Path) -> dict[str, str]:
    try:
        index = json.loads(file["sentence_to_index"].asstr()[0])
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise BadData(f"is no NeuroX file: sentence_to_index: {error}", where=path.name) from None
    if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
        raise BadData("is no NeuroX file: sentence_to_index is no mapping to names", where=path.name)
    return index


def _read_json(path: Path, values: bool) -> Iterator[_Raw]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}, line {number}"
            try:
                features = json.loads(line)["features"]
                words = tuple(str(feature["token"]) for feature in features)
                activations = np.array(
                    [[layer["values"] for layer in feature["layers"]] for feature in features], np.float32
                )
            except KeyError as error:
                raise BadData(f"is no sentence of a NeuroX file: there is no {error}", where=where) from None
            except (ValueError, TypeError) as error:
                raise BadData(f"is no sentence of a NeuroX file: {error}", where=where) from None
            if activations.ndim != 3:
                raise BadData("its words differ in layers or neurons, or it has none", where=where)
            activations = activations.transpose(1, 0, 2)
            if not values:
                activations = np.broadcast_to(np.float32(0), activations.shape)
            yield _Raw((" ".join(words),), words, activations, where)


def _write_hdf5(path: Path, sentences: Iterable[NeuroxSentence], sites: Sequence[str]) -> None:
    index: dict[str, str] = {}
    occurrences: dict[str, int] = {}
    with new_file(path) as new:
        if sites:
            note = json.dumps(list(sites))
            new.reserve(2 * len(note) + 4096)
            new.file.attrs[_SITES] = note
        for number, sentence in enumerate(sentences):
            new.reserve(sentence.activations.nbytes + 2048)
            new.file.create_dataset(str(number), data=sentence.activations)
            text = key = " ".join(sentence.words)
            while key in index:
                occurrences[text] = occurrences.get(text, 1) + 1
                key = f"{text} (Occurrence {occurrences[text]})"
            index[key] = str(number)
        mapping = json.dumps(index)
        new.reserve(2 * len(mapping) + 4096)
        new.file.create_dataset("sentence_to_index", (1,), h5py.string_dtype())[0] = mapping


def _write_json(path: Path, sentences: Iterable[NeuroxSentence], sites: Sequence[str]) -> None:
    note = {_SITES: list(sites)} if sites else {}
    with path.open("w", encoding="utf-8") as file:
        for number, sentence in enumerate(sentences):
            features = [
                {"token": word, "layers": [{"index": i, "values": v.tolist()} for i, v in enumerate(layers)]}
                for word, layers in zip(sentence.words, sentence.activations.transpose(1, 0, 2), strict=True)
            ]
            file.write(json.dumps({"linex_index": number, "features": features, **note}) + "\n")


_WRITERS: dict[str, Callable[[Path, Iterable[NeuroxSentence], Sequence[str]], None]] = {
    ".hdf5": _write_hdf5,
    ".json": _write_json,
}
