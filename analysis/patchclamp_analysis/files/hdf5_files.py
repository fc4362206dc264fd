"""Writing HDF5 files that cannot meet a full disk, and reading them with errors that say what is wrong.

Where a write fails, HDF5 2.0 brings the process down (a segmentation fault in H5Dwrite, or when it exits). So space
is reserved before HDF5 writes: a full disk is then an OSError of ours, while HDF5 has room for what it holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ..errors import BadData

__all__ = ["ALIGNMENT", "NewFile", "allocate", "is_hdf5", "new_file", "opened"]

ALIGNMENT = 64
"""Datasets begin at multiples of this, so that arrays over them are aligned."""
_SLACK = 1 << 16
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class NewFile:
    """An HDF5 file that is being written; see `new_file`."""

    def __init__(self, file: h5py.File, descriptor: int) -> None:
        self.file = file
        self._descriptor = descriptor
        self._reserved = 0

    def reserve(self, count: int) -> None:
        """Makes sure that the disk has room for `count` more bytes. To be called before anything is written, with
        no less than HDF5 may need: a kilobyte a dataset, whole chunks, twice the size of strings and 64 bytes each.
        """
        needed = self.file.id.get_filesize() + count + _SLACK
        if needed > self._reserved:
            # Beyond what is asked for, so that many small pieces need few calls.
            allocate(self._descriptor, self._reserved, needed + (needed >> 3) - self._reserved)
            self._reserved = needed + (needed >> 3)


@contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """Creates an HDF5 file, or empties the one that is there; on leaving, it has all its space on the disk.

    Raises:
        OSError: The disk is full (ENOSPC), or the file cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        allocate(descriptor, 0, _SLACK)
        # Without a cache of chunks, what will be written has its place in the file at once.
        file = h5py.File(path, "w", locking=False, rdcc_nbytes=0, alignment_threshold=1, alignment_interval=ALIGNMENT)
        try:
            new = NewFile(file, descriptor)
            new.reserve(0)
            yield new
            file.flush()
            end = file.id.get_filesize()
        finally:
            file.close()
        os.ftruncate(descriptor, end)
        allocate(descriptor, 0, end)
    finally:
        os.close(descriptor)


def allocate(descriptor: int, offset: int, count: int) -> None:
    """Reserves space on the disk. Raises OSError (ENOSPC) where there is not enough."""
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(descriptor, offset, count)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does. OSError if it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def opened(path: Path, *, lock: bool = True) -> h5py.File:
    """Opens a file to read; with HDF5's own lock, unless it is one that we hold ourselves.

    Raises:
        BadData: It is no HDF5 file, or a damaged one.
        OSError: There is no such file, or it may not be read.
    """
    if not is_hdf5(path):
        raise BadData("is no HDF5 file", where=path.name)
    try:
        return h5py.File(path, "r", locking=None if lock else False)
    except OSError as error:
        raise BadData(f"is damaged, cut off or still being written: {error}", where=path.name) from None
