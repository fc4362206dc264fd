"""Directories in the making: private until they are renamed into place, and gone if they never are.

Who makes one holds a lock on it. What nobody holds after a crash can be told by that, and is swept away.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import time

import structlog

from patchclamp_service.engine.errors import Exhausted

__all__ = ["disk_space", "held", "staging", "sweep"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A directory is made and locked in two steps; nobody else's is swept in between.
_FRESH_SECONDS = 60
_log = structlog.get_logger(__name__)


@asynccontextmanager
async def staging(folder: Path) -> AsyncGenerator[Path]:
    """A new directory in `folder` that is removed in the end with all that is still in it."""
    directory = folder / f".{secrets.token_hex(8)}"
    directory.mkdir(parents=True)
    try:
        with held(directory):
            yield directory
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


@contextmanager
def held(directory: Path) -> Generator[None]:
    """Keeps `sweep` away from a directory, wherever it is renamed to. Raises BlockingIOError when it is held."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


async def sweep(folder: Path, wanted: Callable[[str], Awaitable[bool]]) -> list[str]:
    """Removes the directories that nobody holds and whose names are not wanted; returns their names. One that cannot
    be removed is logged and stays."""
    swept = []
    for directory in await asyncio.to_thread(_settled, folder):
        try:
            with held(directory):
                if not await wanted(directory.name):
                    await asyncio.to_thread(shutil.rmtree, directory)
                    swept.append(directory.name)
        except (BlockingIOError, FileNotFoundError):  # somebody works on it, or has removed it
            continue
        except OSError as error:
            _log.warning("not swept", directory=str(directory), error=str(error))
    return swept


def _settled(folder: Path) -> list[Path]:
    found = [directory for directory in folder.iterdir() if directory.is_dir()] if folder.is_dir() else []
    return [directory for directory in found if time() - directory.stat().st_mtime > _FRESH_SECONDS]


@contextmanager
def disk_space() -> Generator[None]:
    """Turns a full disk into Exhausted."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            text = f"the server's data directory is full: {error.strerror}"
            raise Exhausted(text, reason="DISK_FULL", quota="data_dir") from error
        raise
