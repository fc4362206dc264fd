"""Analyses as files."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from patchclamp.v1 import activations_pb2, analysis_pb2

from patchclamp_service.activations.set_labels import nearest
from patchclamp_service.analyses.analyses import Analyses
from patchclamp_service.engine.errors import InvalidRequest, NotFound
from patchclamp_service.store.downloads import file_chunks
from patchclamp_service.store.staging import disk_space, staging

__all__ = ["export"]


async def export(
    analyses: Analyses, request: analysis_pb2.ExportAnalysisRequest, scratch: Path
) -> AsyncGenerator[activations_pb2.FileChunk]:
    """The chunks of the file, which may lie in `scratch` meanwhile; size and digest with the first. Raises
    InvalidRequest, NotFound, or what reading the analysis raises."""
    message = await analyses.files.get(request.name)
    table = _table(message, request)
    if not table:
        async with aclosing(_chunks(await analyses.files.path(request.name, "name"))) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    with disk_space():
        async with staging(scratch) as folder:
            path = folder / "table.csv"
            await analyses.write_csv(request.name, table, path)
            async with aclosing(_chunks(path)) as chunks:
                async for chunk in chunks:
                    yield chunk


def _table(message: analysis_pb2.Analysis, request: analysis_pb2.ExportAnalysisRequest) -> str:
    """The table that is wanted as CSV; "" for all of them as JSON."""
    names, wanted = [table.name for table in message.tables], request.table
    if request.format != analysis_pb2.ANALYSIS_FORMAT_CSV:
        if wanted:
            text = "table: JSON holds all tables; leave it out, or ask for CSV"
            raise InvalidRequest(text, reason="TABLE_UNUSED", field="table")
        return ""
    if wanted and wanted not in names:
        text = f"table: {message.name} has no table {wanted!r}{nearest(wanted, names)}"
        raise InvalidRequest(text, reason="UNKNOWN_TABLE", field="table")
    if not wanted and len(names) != 1:
        raise InvalidRequest(f"table: say which: {', '.join(names)}", reason="TABLE_NEEDED", field="table")
    return wanted or names[0]


async def _chunks(path: Path) -> AsyncGenerator[activations_pb2.FileChunk]:
    try:
        size, digest = await asyncio.to_thread(_measured, path)
    except FileNotFoundError:
        raise NotFound("the analysis was removed just now", field="name") from None
    message = activations_pb2.FileChunk(total_bytes=size, sha256=digest)
    async with aclosing(file_chunks(path, size, 0)) as chunks:
        async for offset, data in chunks:
            message.offset, message.data = offset, data
            yield message
            message = activations_pb2.FileChunk()


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
