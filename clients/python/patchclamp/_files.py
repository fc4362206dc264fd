"""Files of activations: written next to their place and renamed into it once they are complete.

`.npz`: an array of shape [rows, width] a site; `offsets` [sentences + 1], so that sentence i has the rows from
    offsets[i] to offsets[i + 1]; `tokens` [rows]; `masked` [rows]. Held in memory until the end.
`.h5`: the same as HDF5 datasets, sites under the group `activations`; written as it comes.
`.jsonl`: a line a sentence: {"sentence": …, "tokens": […], "masked": […], "activations": {site: [[…], …]}}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from patchclamp._activations import SentenceActivations

__all__ = ["SUFFIXES", "Writer", "writing"]


class Writer(Protocol):
    """Takes sentences in their order."""

    def write(self, sentence: SentenceActivations) -> None:
        """Appends a sentence."""

    def finish(self) -> None:
        """Says that there are no more."""

    def close(self) -> None:
        """Lets go of the file, complete or not."""


class JsonLines:
    """Writes `.jsonl`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, sentence: SentenceActivations) -> None:
        """Appends a line."""
        line = {
            "sentence": sentence.index,
            "tokens": sentence.tokens,
            "masked": sentence.masked.tolist(),
            "activations": {site: values.tolist() for site, values in sentence.activations.items()},
        }
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def finish(self) -> None:
        """Every line is there already."""

    def close(self) -> None:
        """Nothing is held."""


class NumpyArchive:
    """Writes `.npz`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sentences: list[SentenceActivations] = []

    def write(self, sentence: SentenceActivations) -> None:
        """Keeps a sentence."""
        self._sentences.append(sentence)

    def finish(self) -> None:
        """Writes all of them."""
        sentences = self._sentences
        sites = sentences[0].activations if sentences else {}
        arrays: dict[str, Any] = {
            site: np.concatenate([sentence.activations[site] for sentence in sentences]) for site in sites
        }
        arrays["offsets"] = np.cumsum([0, *(len(sentence.tokens) for sentence in sentences)], dtype=np.int64)
        arrays["tokens"] = np.array([token for sentence in sentences for token in sentence.tokens], np.str_)
        arrays["masked"] = np.concatenate([np.zeros(0, np.bool_), *(sentence.masked for sentence in sentences)])
        np.savez(self._file, **arrays)

    def close(self) -> None:
        """Nothing is held."""


class Hdf5:
    """Writes `.h5`."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import h5py
        except ModuleNotFoundError:
            raise ModuleNotFoundError("writing .h5 files needs h5py: pip install 'patchclamp[h5]'") from None
        self._strings = h5py.string_dtype()
        self._file = h5py.File(file, "w")
        self._append("offsets", np.zeros(1, np.int64))
        self._rows = 0

    def write(self, sentence: SentenceActivations) -> None:
        """Appends a sentence's rows."""
        self._rows += len(sentence.tokens)
        self._append("offsets", np.array([self._rows], np.int64))
        self._append("tokens", np.array(sentence.tokens, object), self._strings)
        self._append("masked", sentence.masked)
        for site, values in sentence.activations.items():
            self._append(f"activations/{site}", values)

    def finish(self) -> None:
        """Flushes."""
        self._file.flush()

    def close(self) -> None:
        """Closes, before the file below is."""
        self._file.close()

    def _append(self, name: str, values: np.ndarray[Any, Any], dtype: object = None) -> None:
        if name not in self._file:
            shape = (0, *values.shape[1:])
            kind = values.dtype if dtype is None else dtype
            self._file.create_dataset(name, shape, kind, maxshape=(None, *values.shape[1:]), chunks=True)
        dataset = self._file[name]
        dataset.resize(len(dataset) + len(values), axis=0)
        if len(values):
            dataset[-len(values) :] = values


SUFFIXES: dict[str, Callable[[IO[bytes]], Writer]] = {".npz": NumpyArchive, ".h5": Hdf5, ".jsonl": JsonLines}


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A writer for the file's suffix; on an error the place of the file is as it was.

    Raises:
        ValueError: The suffix is not one of `SUFFIXES`.
        ModuleNotFoundError: The format needs a package that is not installed; says which.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{str(path)!r} should end in one of {', '.join(SUFFIXES)}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w+b") as file:
            writer = SUFFIXES[path.suffix](file)
            with closing(writer):
                yield writer
                writer.finish()
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
