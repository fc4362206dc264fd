"""Reading files for callers, off the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

from patchclamp_service.engine.errors import DigestMismatch, InvalidRequest, NotFound

__all__ = ["file_chunks"]

_CHUNK_BYTES = 256 << 10


async def file_chunks(path: Path, size: int, offset: int) -> AsyncGenerator[tuple[int, bytes]]:
    """The bytes of a file of `size` bytes from an offset on, each chunk with its place; the last offset gives one
    empty chunk. A file that is removed meanwhile is read to its end.

    Raises:
        InvalidRequest: the offset lies beyond the end.
        NotFound: there is no such file.
        DigestMismatch: the file is shorter than it should be.
    """
    if offset > size:
        text = f"offset: out of range: {offset} is beyond the {size} bytes of the file"
        raise InvalidRequest(text, reason="OUT_OF_RANGE", field="offset")
    try:
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY)
    except FileNotFoundError:
        raise NotFound("it was removed just now", field="name") from None
    try:
        if offset == size:
            yield offset, b""
        while offset < size:
            data = await asyncio.to_thread(os.pread, descriptor, min(_CHUNK_BYTES, size - offset), offset)
            if not data:
                raise DigestMismatch(f"the file ends after {offset} of {size} bytes", reason="DATA_LOST")
            yield offset, data
            offset += len(data)
    finally:
        os.close(descriptor)
