"""The analyses that the server keeps: tables that a method or an evaluation has answered with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from patchclamp.v1 import analysis_pb2

from patchclamp_service.analyses.table_messages import described, write_csv
from patchclamp_service.jobs.jobs import JobContext
from patchclamp_service.jobs.worker_process import Report
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.store.resources import Resources
from patchclamp_service.store.result_files import ResultFiles

__all__ = ["COLLECTION", "Analyses"]

T = TypeVar("T")

COLLECTION = "analyses"

_ROWS = 100
# Nobody else gets to run while JSON is parsed: of so many bytes, for some hundredths of a second.
_SMALL_BYTES = 1 << 20


class Analyses:
    """Keeps and shows analyses. Small files are read in threads, large ones in processes of their own."""

    def __init__(self, resources: Resources, folder: Path, readers: Workers) -> None:
        self.files = ResultFiles(resources, folder, COLLECTION, ".json", analysis_pb2.Analysis)
        self._readers = readers

    async def get(self, name: str, rows: int = 0) -> analysis_pb2.Analysis:
        """An analysis with the first rows of its tables; 0: a hundred. Raises InvalidRequest, NotFound, DigestMismatch
        when its file is not whole, or what workers raise."""
        message = await self.files.get(name)
        read = await self._read(await self.files.path(name, "name"), partial(described, rows=rows or _ROWS))
        del message.tables[:]
        message.tables.extend(read.tables)
        return message

    async def keep(self, message: analysis_pb2.Analysis, operation: str) -> analysis_pb2.Analysis:
        """Makes an analysis of the tables that an operation has written, and of what the message says already: name,
        what was read, and the number of rows. Returns it with the first rows of its tables."""
        path = self.files.new_path(message.name, operation)
        message.MergeFrom(await self._read(path, partial(described, rows=_ROWS)))
        message.create_time.FromDatetime(datetime.now(UTC))
        recorded = analysis_pb2.Analysis()
        recorded.CopyFrom(message)
        for table in recorded.tables:
            table.ClearField("columns")
        await self.files.keep(recorded, operation)
        return message

    async def write_csv(self, name: str, table: str, into: Path) -> None:
        """Writes one table, which the analysis has. Raises as `get`, or Exhausted when the disk is full."""
        await self._read(await self.files.path(name, "name"), partial(write_csv, table=table, into=into))

    async def _read(self, path: Path, read: Callable[[Report, Path], T]) -> T:
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
        except FileNotFoundError:  # which `read` says better
            size = 0
        if size <= _SMALL_BYTES:
            return await asyncio.to_thread(read, _to_nobody, path)
        return await self._readers.run(read, path, context=JobContext("", "", 1))


def _to_nobody(stage: str, done: int = 0, total: int = 0, unit: str = "") -> None:
    """Nobody asks how far it is."""
