"""The file of an activation set, whole or partial, opened to be read in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..files.hdf5_files import opened
from .element_types import ELEMENT_TYPES, widened
from .set_layout import Place, SetDescription, description_of, member
from .statistics import Moments

__all__ = ["Grouping", "Progress", "SetFile", "all_rows", "by_label", "measured"]

_BLOCK_BYTES = 1 << 22
"""Of float32; what numpy goes over several times should stay in the cache."""
# What h5py and json raise for what is not there or not as it should be; OSError only without an errno.
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError)


class Progress(NamedTuple):
    """How far the writing of a file is."""

    rows_done: int
    whole: bool


class SetFile:
    """Reads pieces of rows from any thread. BadData if this is no activation set, or its parts do not fit together."""

    def __init__(self, path: Path, *, lock: bool = True) -> None:
        self.path = path
        self.file = opened(path, lock=lock)
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
            self._open()
        except BaseException as error:
            self.close()
            if isinstance(error, BadData):
                raise BadData(error.message, where=error.where or path.name) from None
            if isinstance(error, _DAMAGE) and not getattr(error, "errno", None):
                raise BadData(f"is a damaged activation set: {error}", where=path.name) from None
            raise

    def _open(self) -> None:
        self.description: SetDescription = description_of(self.file)
        self.sites: Mapping[str, int] = dict(self.description.sites)
        self.layers: Mapping[str, tuple[str, ...]] = dict(self.description.layers)
        self.element_type = self.description.dtype
        self.rows = len(self.file["rows/masked"])
        self._masked = Place.of(self.file["rows/masked"])
        self.datasets: Mapping[str, h5py.Dataset] = {
            site: self.file["activations"][member(site)] for site in self.sites
        }
        self.places: Mapping[str, Place | None] = {site: Place.of(data) for site, data in self.datasets.items()}
        for site, data in self.datasets.items():
            kind = ELEMENT_TYPES[self.element_type]
            if data.shape != (self.rows, self.sites[site]) or data.dtype != kind:
                raise BadData(
                    f"{site} holds {data.dtype} of shape {data.shape}, not {kind} of {(self.rows, self.sites[site])}"
                )
        for name in ("sentence", "word", "words"):
            if (count := len(self.file["rows"][name])) != self.rows:
                raise BadData(f"rows/{name} has {count} entries for {self.rows} rows")

    def progress(self) -> Progress | None:
        """None: the file is not even laid out. What is torn or damaged is told by its complement."""
        if "progress" not in self.file:
            return None
        place = Place.of(self.file["progress"])
        numbers = self.file["progress"][()] if place is None else place.read(self.descriptor)
        if numbers.shape != (2, 2) or not np.array_equal(numbers[0], ~numbers[1]):
            return None
        rows_done, whole = numbers[0].tolist()
        return Progress(rows_done, bool(whole)) if 0 <= rows_done <= self.rows else None

    def place(self, name: str) -> Place:
        """Where a dataset lies. BadData if it is not in one piece, which a file of this library's own always is."""
        place = Place.of(self.file[name])
        if place is None:
            raise BadData(f"{name} does not lie in one piece", where=self.path.name)
        return place

    def raw(self, site: str, start: int, stop: int) -> NDArray[Any]:
        """[n, width] as stored."""
        place = self.places[site]
        if place is None:
            values: NDArray[Any] = self.datasets[site][start:stop]
            return values
        return place.read(self.descriptor, start, stop)

    def values(self, site: str, start: int, stop: int) -> NDArray[np.float32]:
        """[n, width] as float32."""
        return widened(self.raw(site, start, stop), self.element_type)

    def masked(self, start: int, stop: int) -> NDArray[np.bool_]:
        """[n]."""
        place = self._masked
        masked: NDArray[np.bool_] = (
            self.file["rows/masked"][start:stop] if place is None else place.read(self.descriptor, start, stop)
        )
        return masked

    def codes(self, layer: str, start: int, stop: int) -> NDArray[np.int32]:
        """[n] places in the labels of a layer; −1: none."""
        codes: NDArray[np.int32] = self.file["labels"][member(layer)][start:stop]
        return codes

    def label_counts(self, layer: str) -> dict[str, int]:
        """Rows of each label, masked ones too, in the order of the labels."""
        labels = self.layers[layer]
        counts = np.zeros(len(labels) + 1, np.int64)
        for start in range(0, self.rows, 1 << 20):
            counts += np.bincount(self.codes(layer, start, start + (1 << 20)) + 1, minlength=len(counts))
        return dict(zip(labels, counts[1:].tolist(), strict=True))

    def row_name(self, row: int) -> str:
        """What a row is called in errors."""
        rows = self.file["rows"]
        word = rows["words"].asstr()[row]
        return f"row {row} (sentence {rows['sentence'][row]}, place {rows['word'][row]}: {word!r})"

    def check_whole(self) -> None:
        """BadData unless every row and statistic is there."""
        if self.progress() != Progress(self.rows, True):
            raise BadData("is not whole: its writing has not come to its end", where=self.path.name)

    def __enter__(self) -> SetFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        self.file.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Grouping(NamedTuple):
    """Groups of rows, and how to learn the group of each: from `start` to before `stop`; −1: none."""

    groups: int
    of: Callable[[int, int], NDArray[np.integer]]


def all_rows() -> Grouping:
    """One group."""
    return Grouping(1, lambda start, stop: np.zeros(stop - start, np.int32))


def by_label(file: SetFile, layer: str, label: str = "") -> Grouping:
    """A group for each label of a layer, or one for the rows of one label."""
    if not label:
        return Grouping(len(file.layers[layer]), lambda start, stop: file.codes(layer, start, stop))
    code = file.layers[layer].index(label)
    return Grouping(1, lambda start, stop: np.where(file.codes(layer, start, stop) == code, 0, -1))


def measured(
    file: SetFile, site: str, groupings: Sequence[Grouping], report: Callable[[int], None] | None = None
) -> list[Moments]:
    """Goes over a site in blocks, masked rows left out; `report` is told how many rows are done.

    Blocks depend on the width alone: the same rows give the same bits, however and whenever they were written.
    """
    width = file.sites[site]
    step = max(1, _BLOCK_BYTES // (4 * width))
    moments = [Moments(grouping.groups, width) for grouping in groupings]
    for start in range(0, file.rows, step):
        stop = min(start + step, file.rows)
        values, masked = file.values(site, start, stop), file.masked(start, stop)
        for grouping, found in zip(groupings, moments, strict=True):
            groups = grouping.of(start, stop)
            found.add(values, np.where(masked, -1, groups) if masked.any() else groups)
        if report:
            report(stop)
    return moments
