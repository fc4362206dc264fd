"""Room on a disk that is set aside, so that something can be deleted when the disk is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["DiskReserve"]

_BYTES = 1 << 20


class DiskReserve:
    """A file of a MiB that is there for its size."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Sets the room aside, unless it is already. On a full disk there is none to be had, which is no error."""
        if self._path.exists():
            return
        try:
            with self._path.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, _BYTES)
        except OSError:
            self.release()

    def release(self) -> bool:
        """Gives the room back; whether there was any."""
        with suppress(OSError):
            self._path.unlink()
            return True
        return False
