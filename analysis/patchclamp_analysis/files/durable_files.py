"""Files that one process at a time writes, and that are there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import Busy

__all__ = ["Digest", "locked", "sync_directory"]

_PIECE = 1 << 20


def locked(path: Path) -> int:
    """Opens a file to read and write, creates it if need be, and locks it; closing the descriptor unlocks it.

    Raises:
        Busy: It is locked already, in this process or another.
        OSError: It cannot be opened.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock may have renamed or removed the file meanwhile.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise Busy("is being written by somebody else", where=path.name) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Makes a directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Digest:
    """SHA-256 of a file, taken piece by piece."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._at = 0
        self._buffer = bytearray(_PIECE)

    def up_to(self, end: int, told: Callable[[int], None] | None = None) -> str:
        """Goes on to before `end`; the digest (hex) of all bytes so far. `told` hears how many those are after every
        piece; what it raises ends the work."""
        while self._at < end:
            piece = memoryview(self._buffer)[: min(_PIECE, end - self._at)]
            count = os.preadv(self._descriptor, [piece], self._at)
            if not count:
                raise EOFError("the file ends early")
            self._digest.update(piece[:count])
            self._at += count
            if told:
                told(self._at)
        return self._digest.hexdigest()
