"""What analyses leave: a file in the data directory and a row in the database that says so.

The operation that makes a result writes its file under a name that no other operation has; the row makes it a result,
all at once. What a crash leaves in between is a file without a row, which nobody sees: the operation's next attempt
writes it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar

from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.errors import BadData

from patchclamp_service.engine.errors import DigestMismatch, NotFound
from patchclamp_service.store.resources import Resource, Resources, checked_name, missing

__all__ = ["ResultFiles"]

T = TypeVar("T")
MessageT = TypeVar("MessageT", analysis_pb2.Ranking, analysis_pb2.Probe, analysis_pb2.Analysis)

# Pages stay below what gRPC's clients take by default, which is 4 MiB.
_PAGE_BYTES = 2 << 20


class ResultFiles(Generic[MessageT]):
    """The results of a collection. Whatever takes time happens in threads."""

    def __init__(
        self, resources: Resources, folder: Path, collection: str, suffix: str, message: type[MessageT]
    ) -> None:
        self.folder = folder
        self._resources = resources
        self._collection = collection
        self._suffix = suffix
        self._message: type[MessageT] = message

    async def get(self, name: str, field: str = "name") -> MessageT:
        """What is on record. Raises InvalidRequest or NotFound."""
        return self._message.FromString((await self._resource(name, field)).body)

    async def read(self, name: str, field: str, load: Callable[[Path], T]) -> T:
        """What `load` makes of the file. Raises as `get`, or DigestMismatch when the file is not whole."""
        path = await self.path(name, field)
        try:
            return await asyncio.to_thread(load, path)
        except FileNotFoundError:  # removed since
            raise missing(name, field) from None
        except BadData as error:
            raise DigestMismatch(f"the file of {name} is not whole", reason="DATA_LOST", field=field) from error

    async def path(self, name: str, field: str) -> Path:
        """The file. Raises as `get`."""
        return self.new_path(name, (await self._resource(name, field)).request_id)

    def new_path(self, name: str, operation: str) -> Path:
        """Where an operation writes a result."""
        identifier, number = name.partition("/")[2], operation.rpartition("/")[2]
        return self.folder / f"{identifier}@{number}{self._suffix}"

    async def list(self, size: int, token: str) -> tuple[list[MessageT], str]:
        """A page, ordered by name, and the token of the next one; fewer than asked for where they are large."""
        found, following = await self._resources.list(self._collection, size, token)
        totals = accumulate(len(resource.body) for resource in found)
        fitting = max(1, sum(total <= _PAGE_BYTES for total in totals))
        if fitting < len(found):
            found, following = await self._resources.list(self._collection, fitting, token)
        return [self._message.FromString(resource.body) for resource in found], following

    async def delete(self, name: str, field: str = "name") -> None:
        """Removes row and file. Raises as `get`, or Unsupported while an operation reads it."""
        resource = await self._resources.delete(checked_name(name, self._collection, field), field)
        await asyncio.to_thread(self.new_path(resource.name, resource.request_id).unlink, missing_ok=True)

    async def made_by(self, name: str, operation: str) -> bool:
        """Whether that operation has made it."""
        with suppress(NotFound):
            return (await self._resource(name, "name")).request_id == operation
        return False

    async def keep(self, message: MessageT, operation: str) -> None:
        """Makes a result of the file that an operation has written, even when that is cancelled meanwhile."""
        body = message.SerializeToString(deterministic=True)
        created = message.create_time.ToDatetime(tzinfo=UTC)
        keeping = asyncio.ensure_future(
            self._resources.create(Resource(message.name, body, created, request_id=operation))
        )
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:  # too late: it is whole
            await keeping

    async def discard(self, name: str) -> None:
        """Removes what operations have left that were to make it and will not."""
        kept = None
        with suppress(NotFound):
            kept = self.new_path(name, (await self._resource(name, "name")).request_id)
        await asyncio.to_thread(_discard_others, self.folder, name.partition("/")[2], kept)

    async def _resource(self, name: str, field: str) -> Resource:
        return await self._resources.get(checked_name(name, self._collection, field), field)


def _discard_others(folder: Path, identifier: str, kept: Path | None) -> None:
    # With a dot before it: what a writer that was killed has left.
    for pattern in (f"{identifier}@*", f".{identifier}@*"):
        for file in folder.glob(pattern):
            if file != kept:
                file.unlink(missing_ok=True)
