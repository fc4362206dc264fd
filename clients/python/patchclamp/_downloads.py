"""Downloads: what is there of a file waits beside its place, and is gone on with another time."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from patchclamp._activation_sets import ActivationSet
from patchclamp._exceptions import DataLoss, ProtocolError
from patchclamp._uploads import sha256_of
from patchclamp.v1 import activations_pb2

__all__ = ["PartialFile", "WholeFile"]


class PartialFile:
    """The file of a set on its way to `path` (or into that folder): `path`.partial, with its checksum in
    `path`.partial.sha256. FileExistsError if `path` is there already and is not to be overwritten.

    Attributes:
        offset: Where to go on.
        size_bytes: Where it ends.
    """

    def __init__(self, activation_set: ActivationSet, path: Path, *, overwrite: bool) -> None:
        if path.is_dir():
            path /= f"{activation_set.name.rpartition('/')[2]}.h5"
        self._path = path
        self._overwrite = overwrite
        self._check_free()
        self._partial = path.with_name(f"{path.name}.partial")
        self._expected = path.with_name(f"{path.name}.partial.sha256")
        self._sha256 = activation_set.sha256
        self.size_bytes = activation_set.size_bytes
        if not self._is_begun():
            self._partial.unlink(missing_ok=True)
            self._expected.write_text(f"{self._sha256}\n", encoding="ascii")
            self._partial.touch()
        self._file = self._partial.open("r+b")
        self.offset = self._file.seek(0, os.SEEK_END)

    def write(self, chunk: activations_pb2.FileChunk) -> None:
        """Appends what came.

        Raises:
            ProtocolError: It is of another file, or from another place.
        """
        if chunk.sha256 and (chunk.sha256, chunk.total_bytes) != (self._sha256, self.size_bytes):
            raise ProtocolError("the file on the server has become another one since the download began; start again")
        if chunk.offset != self.offset or self.offset + len(chunk.data) > self.size_bytes:
            raise ProtocolError(
                f"{len(chunk.data)} bytes from {chunk.offset} came where those from {self.offset} of "
                f"{self.size_bytes} were wanted"
            )
        self._file.write(chunk.data)
        self.offset += len(chunk.data)

    def finish(self) -> Path:
        """Puts the whole file into its place.

        Raises:
            ProtocolError: It is not whole.
            DataLoss: Its checksum is wrong; what was there is thrown away.
            FileExistsError: Another file has come to its place meanwhile; it waits as `path`.partial.
        """
        if self.offset != self.size_bytes:
            raise ProtocolError(f"the download ended after {self.offset} of {self.size_bytes} bytes")
        self._file.flush()
        os.fsync(self._file.fileno())
        with self._partial.open("rb") as file:
            found = sha256_of(file)
        if found != self._sha256:
            self._partial.unlink()
            self._expected.unlink(missing_ok=True)
            raise DataLoss(
                f"{self._path.name}: its SHA-256 is {found} and should be {self._sha256}; download it again",
                reason="CHECKSUM_MISMATCH",
            )
        self._check_free()
        self._partial.replace(self._path)
        self._expected.unlink(missing_ok=True)
        return self._path

    def close(self) -> None:
        """Lets go of the file; what is there stays, to be gone on with."""
        self._file.close()

    def _check_free(self) -> None:
        if self._path.exists() and not self._overwrite:
            raise FileExistsError(f"{self._path} is there already; overwrite=True, or --force, replaces it")

    def _is_begun(self) -> bool:
        """Whether what is there is the beginning of this file."""
        try:
            expected = self._expected.read_text(encoding="ascii").strip()
            return expected == self._sha256 and self._partial.stat().st_size <= self.size_bytes
        except (FileNotFoundError, UnicodeDecodeError):
            return False


class WholeFile:
    """A file fetched in one go; a context manager. It appears under its name when `finish` says so, or never."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        self._expected = ("", 0)
        self._digest = hashlib.sha256()
        self._file = self._own.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._own.unlink(missing_ok=True)

    def write(self, chunk: activations_pb2.FileChunk) -> None:
        """Appends what came."""
        if chunk.sha256:
            self._expected = (chunk.sha256, chunk.total_bytes)
        self._digest.update(chunk.data)
        self._file.write(chunk.data)

    def finish(self) -> None:
        """Puts it into its place.

        Raises:
            DataLoss: It is not whole, or its checksum is wrong.
        """
        if (self._digest.hexdigest(), self._file.tell()) != self._expected:
            raise DataLoss(f"{self._path.name}: what came is not the whole file", reason="CHECKSUM_MISMATCH")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._own.replace(self._path)
