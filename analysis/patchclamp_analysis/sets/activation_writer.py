"""Writes activation sets: everything but the numbers first, then the numbers raw to their places.

The HDF5 file is laid out as `path`.partial and closed before the first number is written, so nothing that happens
later can break it. How many rows are durable is written into the file, once they are.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..files.durable_files import Digest, locked, sync_directory
from .element_types import ELEMENT_TYPES, NOT_A_NUMBER, finite
from .set_creation import create
from .set_file import Progress, SetFile, all_rows, by_label, measured
from .set_layout import RowBlock, SetDescription, checked, measured_layers, member

__all__ = ["ActivationSetWriter", "Finished", "RowBlock", "SetDescription"]

Report = Callable[[str, int, int], None]
"""Is told a stage, and how many of how many bytes are done; what it raises ends the work."""

_COMMIT_BYTES, _COMMIT_SECONDS = 1 << 27, 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A set that is whole and in its place."""

    path: Path
    sha256: str
    size_bytes: int
    rows: int
    sentences: int
    """Sentences with rows."""
    masked_rows: int
    layers: Mapping[str, Mapping[str, int]]
    """Layer → label → rows with it, masked ones too, ordered by label."""

    @classmethod
    def of(cls, path: Path, report: Report | None = None) -> Finished:
        """Of a set that is in its place already; reads all of it. BadData if it is not whole."""
        with SetFile(path) as file:
            file.check_whole()
            size = path.stat().st_size
            return _finished(file, path, Digest(file.descriptor).up_to(size, _told(report, size)))


class ActivationSetWriter:
    """Writes a set as `path`.partial and renames it once it is whole. Context manager: leaving it closes."""

    def __init__(self, path: Path, descriptor: int, file: SetFile, rows_done: int) -> None:
        self.path = path
        self.description = file.description
        self.rows = file.rows
        """Rows of the whole set."""
        self.rows_done = self.rows_written = rows_done
        """Rows that are durable: where a resumed writer must go on; and rows written, durable or not."""
        self._file = file
        self._descriptor = descriptor
        self._sites = {site: file.place(f"activations/{member(site)}") for site in file.sites}
        self._masked, self._progress = file.place("rows/masked"), file.place("progress")
        self._row_bytes = sum(place.row_bytes for place in self._sites.values())
        self._committed = time.monotonic()

    @classmethod
    def open(
        cls, path: Path, description: SetDescription, rows: Iterable[RowBlock], *, resume: bool = True
    ) -> ActivationSetWriter:
        """Creates `path`.partial, or goes on with it if it is of the same description: then `rows` is not consumed.
        Without `resume` it begins anew, for rows that the description alone does not tell.

        Raises:
            BadData: The rows do not fit the description, or there are none.
            Busy: Somebody else is writing this set.
            FileExistsError: The set is there already.
            OSError: The disk cannot hold it (ENOSPC).
        """
        checked(description)
        partial = path.with_name(f"{path.name}.partial")
        descriptor = locked(partial)
        try:
            if path.exists():
                raise FileExistsError(f"{path} is there already")
            found = _resumable(partial, description) if resume else None
            file = found or _created(partial, descriptor, description, rows)
            progress = file.progress()
            assert progress is not None
            return cls(path, descriptor, file, progress.rows_done)
        except BaseException:
            if os.fstat(descriptor).st_size == 0:
                partial.unlink()
            os.close(descriptor)
            raise

    def __enter__(self) -> ActivationSetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, values: Mapping[str, NDArray[Any]], masked: NDArray[np.bool_]) -> None:
        """The next n rows: [n, width] of every site in the set's dtype (bfloat16: its bits as uint16), and which of
        them are masked; masked rows are written as NaN, whatever is in them.

        Raises:
            BadData: A value is NaN or infinite in a row that is not masked; or names, shapes or types are not those
                of the set. Nothing is written then.
            OSError: Writing failed.
        """
        masked = np.asarray(masked, np.bool_)
        self._check(values, masked)
        nothing = ELEMENT_TYPES[self.description.dtype].type(NOT_A_NUMBER[self.description.dtype])
        for site, place in self._sites.items():
            block = np.where(masked[:, None], nothing, values[site]) if masked.any() else values[site]
            place.write(self._descriptor, block, self.rows_written)
        self._masked.write(self._descriptor, masked, self.rows_written)
        self.rows_written += len(masked)
        pending = (self.rows_written - self.rows_done) * self._row_bytes
        if pending >= _COMMIT_BYTES or time.monotonic() - self._committed >= _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Makes durable what was written."""
        if self.rows_written > self.rows_done:
            os.fdatasync(self._descriptor)
            self._mark(Progress(self.rows_written, False))
            self.rows_done = self.rows_written
        self._committed = time.monotonic()

    def finish(self, report: Report | None = None) -> Finished:
        """Adds statistics, takes the digest and renames the file into its place; closes.

        Raises:
            BadData: Rows are missing.
        """
        if self.rows_written < self.rows:
            raise BadData(f"only {self.rows_written} of {self.rows} rows were written", where=self.path.name)
        self.commit()
        digest = Digest(self._descriptor)
        size = os.fstat(self._descriptor).st_size
        self._measure(digest, report)
        os.fdatasync(self._descriptor)
        self._mark(Progress(self.rows, True))
        sha256 = digest.up_to(size, _told(report, size))
        finished = _finished(self._file, self.path, sha256)
        if self.path.exists():
            raise FileExistsError(f"{self.path} is there already")
        self._file.path.rename(self.path)
        sync_directory(self.path.parent)
        self.close()
        return finished

    def close(self) -> None:
        """Lets go of the file; what is partial stays, to be gone on with. May be called again."""
        if self._descriptor >= 0:
            self._file.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Removes the partial file, and closes."""
        if self._descriptor >= 0:
            self._file.path.unlink(missing_ok=True)
        self.close()

    def _check(self, values: Mapping[str, NDArray[Any]], masked: NDArray[np.bool_]) -> None:
        if values.keys() != self._sites.keys():
            raise BadData(f"values are of {', '.join(values)}, the set's sites are {', '.join(self._sites)}")
        if (end := self.rows_written + len(masked)) > self.rows:
            raise BadData(f"{end} rows are more than the {self.rows} of the set")
        for site, place in self._sites.items():
            shape = (len(masked), *place.shape[1:])
            if values[site].shape != shape or values[site].dtype != place.dtype:
                raise BadData(
                    f"{values[site].dtype} of shape {values[site].shape} instead of {place.dtype} of {shape}",
                    where=site,
                )
            self._check_finite(site, values[site], masked)

    def _check_finite(self, site: str, values: NDArray[Any], masked: NDArray[np.bool_]) -> None:
        good = finite(values, self.description.dtype)
        if good.all():
            return
        wrong = np.flatnonzero(~good.all(axis=1) & ~masked)
        if not len(wrong):
            return
        row = int(wrong[0])
        neuron = int(np.argmin(good[row]))
        infinite = not np.isnan(values[row, neuron]) if values.dtype.kind == "f" else not values[row, neuron] & 0x7F
        advice = "; float16 ends at 65,504: bfloat16 or float32 can hold more" if values.dtype == np.float16 else ""
        raise BadData(
            f"neuron {neuron} is {'infinite' + advice if infinite else 'NaN'}, and the row is not masked",
            where=f"{site}, {self._file.row_name(self.rows_written + row)}",
        )

    def _mark(self, progress: Progress) -> None:
        _mark(self._descriptor, self._file, progress)

    def _statistics_begin(self) -> int:
        names = ["statistics/count", "progress", *(f"statistics/values/{member(site)}" for site in self._sites)]
        return min(self._file.place(name).offset for name in names)

    def _measure(self, digest: Digest, report: Report | None) -> None:
        """Writes the statistics. Meanwhile takes the digest of what they do not change, in step with them: what lets
        them rest lets it rest too."""
        groupings = [all_rows(), *(by_label(self._file, layer) for layer in measured_layers(self.description))]
        done, total = 0, self.rows * self._row_bytes
        end = self._statistics_begin()
        with ThreadPoolExecutor(1) as pool:
            ahead: deque[Future[str]] = deque()

            def told(rows: int) -> None:
                now = done + rows * place.row_bytes
                ahead.append(pool.submit(digest.up_to, end * now // total))
                if len(ahead) > 1:
                    ahead.popleft().result()
                if report:
                    report("statistics", now, total)

            for site, place in self._sites.items():
                moments = measured(self._file, site, groupings, told)
                values = np.concatenate([found.values() for found in moments], axis=1)
                self._file.place(f"statistics/values/{member(site)}").write(self._descriptor, values)
                counts = np.concatenate([found.count for found in moments])
                done += self.rows * place.row_bytes
            self._file.place("statistics/count").write(self._descriptor, counts)
            ahead.popleft().result()


def _told(report: Report | None, size: int) -> Callable[[int], None] | None:
    """Of the digest."""
    return report and (lambda done: report("digest", done, size))


def _resumable(partial: Path, description: SetDescription) -> SetFile | None:
    """The partial file, if it is of this description and rows can be written into it."""
    try:
        file = SetFile(partial, lock=False)
    except BadData:
        return None
    if file.description == description and file.progress() is not None:
        return file
    file.close()
    return None


def _created(partial: Path, descriptor: int, description: SetDescription, rows: Iterable[RowBlock]) -> SetFile:
    try:
        create(partial, description, rows)
        os.fsync(descriptor)
        file = SetFile(partial, lock=False)
        _mark(descriptor, file, Progress(0, False))
        sync_directory(partial.parent)
    except BaseException:
        os.ftruncate(descriptor, 0)
        raise
    return file


def _mark(descriptor: int, file: SetFile, progress: Progress) -> None:
    """Says how far the file is, durably. Of two rows, the second is the complement of the first."""
    numbers = np.array([progress], np.int64)
    file.place("progress").write(descriptor, np.concatenate([numbers, ~numbers]))
    os.fdatasync(descriptor)


def _finished(file: SetFile, path: Path, sha256: str) -> Finished:
    return Finished(
        path=path,
        sha256=sha256,
        size_bytes=os.fstat(file.descriptor).st_size,
        rows=file.rows,
        sentences=len(file.file["sentence_offsets"]) - 1,
        masked_rows=sum(
            int(file.masked(at, min(at + (1 << 20), file.rows)).sum()) for at in range(0, file.rows, 1 << 20)
        ),
        layers={layer: file.label_counts(layer) for layer in file.layers},
    )
