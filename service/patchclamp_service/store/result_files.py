"""What operations make: a file in the data directory and a row in the database that says so.

The operation that makes a result writes its file under a name that no other operation has; the row makes it a result,
all at once. What a crash leaves in between is a file without a row, which nobody sees: the operation's next attempt
goes on with it or writes it anew, and once there is none, `sweep` removes it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.errors import BadData

from patchclamp_service.engine.errors import DigestMismatch, NotFound
from patchclamp_service.store.resources import Resource, Resources, checked_name, missing
from patchclamp_service.store.uninterrupted import uninterrupted

__all__ = ["ResultFiles"]

T = TypeVar("T")
MessageT = TypeVar(
    "MessageT", activations_pb2.ActivationSet, analysis_pb2.Ranking, analysis_pb2.Probe, analysis_pb2.Analysis
)

# With a dot before it: what a writer that was killed has left.
_FILE = re.compile(r"\.?(?P<id>[a-z0-9][a-z0-9._-]{0,62})@(?P<operation>[0-9a-f]{22})\..+")
_log = structlog.get_logger(__name__)


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
        return await self._loaded(name, field, partial(load, await self.path(name, field)))

    async def path(self, name: str, field: str = "name") -> Path:
        """The file. Raises as `get`."""
        return self.new_path(name, (await self._resource(name, field)).request_id)

    def new_path(self, name: str, operation: str) -> Path:
        """Where an operation writes a result."""
        identifier, number = name.partition("/")[2], operation.rpartition("/")[2]
        return self.folder / f"{identifier}@{number}{self._suffix}"

    async def list(self, size: int, token: str) -> tuple[list[MessageT], str]:
        """A page, ordered by name, and the token of the next one; fewer than asked for where they are large."""
        found, following = await self._resources.list(self._collection, size, token)
        return [self._message.FromString(resource.body) for resource in found], following

    async def delete(self, name: str, field: str = "name") -> None:
        """Removes row and file, even when the caller is cancelled meanwhile. Who reads the file at the moment may go
        on. Raises as `get`, or Unsupported while an operation reads it."""
        checked_name(name, self._collection, field)

        async def deleted() -> None:
            resource = await self._resources.delete(name, field)
            stem = self.new_path(resource.name, resource.request_id).stem
            await asyncio.to_thread(_remove, _beginning_with(self.folder, f"{stem}."))

        await uninterrupted(deleted())

    async def made_by(self, name: str, operation: str) -> MessageT | None:
        """What that operation has made, if it has."""
        with suppress(NotFound):
            resource = await self._resource(name, "name")
            if resource.request_id == operation:
                return self._message.FromString(resource.body)
        return None

    async def keep(self, message: MessageT, operation: str) -> None:
        """Makes a result of the file that an operation has written, and removes what others have left that were to make
        it; even when that is cancelled meanwhile."""
        body = message.SerializeToString(deterministic=True)
        created = message.create_time.ToDatetime(tzinfo=UTC)
        resource = Resource(message.name, body, created, request_id=operation)

        async def kept() -> None:
            await self._resources.create(resource)
            await self._discard_others(message.name, operation)

        await uninterrupted(kept())

    async def discard(self, name: str) -> None:
        """Removes what operations have left that were to make it and will not."""
        maker = ""
        with suppress(NotFound):
            maker = (await self._resource(name, "name")).request_id
        await self._discard_others(name, maker)

    async def sweep(self) -> None:
        """Removes what earlier servers have left behind: files of operations that have ended and made nothing, or
        nothing that is there still. Other servers may be at work."""
        try:
            # Before the records are asked: what is begun after this is not among them.
            files = await asyncio.to_thread(_by_maker, self.folder, self._collection)
            lost = await self._resources.lost(self._collection, files.keys())
            left = [file for pair in lost for file in files[pair]]
            await asyncio.to_thread(_remove, left)
        except Exception as error:  # it is in nobody's way: the next start tries again
            _log.warning("not swept", folder=str(self.folder), exc_info=error)
            return
        if left:
            _log.info("swept", folder=str(self.folder), files=[file.name for file in left])

    async def _discard_others(self, name: str, maker: str) -> None:
        """Removes the files of all operations but the maker."""
        files = _beginning_with(self.folder, f"{name.partition('/')[2]}@")
        kept = f"{self.new_path(name, maker).stem}."
        others = (file for file in files if not file.name.removeprefix(".").startswith(kept))
        await asyncio.to_thread(_remove, others)

    async def _loaded(self, name: str, field: str, load: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(load)
        except FileNotFoundError:  # removed since
            raise missing(name, field) from None
        except BadData as error:
            raise DigestMismatch(f"the file of {name} is not whole", reason="DATA_LOST", field=field) from error

    async def _resource(self, name: str, field: str) -> Resource:
        return await self._resources.get(checked_name(name, self._collection, field), field)


def _by_maker(folder: Path, collection: str) -> dict[tuple[str, str], list[Path]]:
    """The files by the name of the result and the operation that was to make it; what is not ours is not among them."""
    found: dict[tuple[str, str], list[Path]] = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        if match := _FILE.fullmatch(file.name):
            pair = f"{collection}/{match['id']}", f"operations/{match['operation']}"
            found.setdefault(pair, []).append(file)
    return found


def _beginning_with(folder: Path, start: str) -> Iterator[Path]:
    for pattern in (f"{start}*", f".{start}*"):
        yield from folder.glob(pattern)


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
