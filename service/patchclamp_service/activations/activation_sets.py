"""The activation sets that the server keeps.

A set is a file in the data directory and a row in the database that says so. The operation that makes a set writes
its file under a name that no other operation has; the row makes it a set, all at once. What a crash leaves in between
is a file without a row, which nobody sees: the operation goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import ParamSpec, TypeVar

from patchclamp.v1 import activations_pb2
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.set_layout import SetDescription
from patchclamp_analysis.sets.statistics import Statistics

from patchclamp_service.activations.extraction import discard
from patchclamp_service.engine.errors import DigestMismatch, NotFound
from patchclamp_service.store.downloads import file_chunks
from patchclamp_service.store.resources import Resource, Resources, checked_name, missing

__all__ = ["COLLECTION", "ActivationSets", "Measures"]

P = ParamSpec("P")
T = TypeVar("T")

COLLECTION = "activationSets"

# Statistics of a site are four arrays of its width.
_KEPT_STATISTICS, _KEPT_DESCRIPTIONS = 512, 32
# Pages stay below what gRPC's clients take by default, which is 4 MiB.
_PAGE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Measures:
    """What a set is, and the statistics of its sites."""

    description: SetDescription
    of: Callable[[str, str, str], Awaitable[Statistics]]
    """By site, layer and label, which the description has; "" and "": over all rows. Raises as `measures`."""


class ActivationSets:
    """Lists, describes and removes sets. Whatever takes time happens in threads."""

    def __init__(self, resources: Resources, folder: Path) -> None:
        self.folder = folder
        self._resources = resources
        # By path, which no other set ever has: what is kept is never out of date.
        self._description = lru_cache(_KEPT_DESCRIPTIONS)(_description)
        self._statistics = lru_cache(_KEPT_STATISTICS)(_statistics)

    async def get(self, name: str, field: str = "name") -> activations_pb2.ActivationSet:
        """What a set is. Raises InvalidRequest or NotFound."""
        return activations_pb2.ActivationSet.FromString((await self._resource(name, field)).body)

    async def measures(self, name: str, field: str = "activation_set") -> Measures:
        """The description of a set and its statistics. Raises InvalidRequest, NotFound, or DigestMismatch when its
        file is not whole."""
        path = await self.path(name, field)
        description = await self._guarded(name, field, self._description, path)
        return Measures(
            description,
            lambda site, layer, label: self._guarded(name, field, self._statistics, path, site, layer, label),
        )

    async def chunks(
        self, name: str, offset: int
    ) -> tuple[activations_pb2.ActivationSet, AsyncGenerator[tuple[int, bytes]]]:
        """What a set is, and its file from an offset on; see `file_chunks`. Raises as `get`."""
        resource = await self._resource(name, "name")
        message = activations_pb2.ActivationSet.FromString(resource.body)
        return message, file_chunks(self.new_path(name, resource.request_id), message.size_bytes, offset)

    async def path(self, name: str, field: str = "activation_set") -> Path:
        """The file of a set. Raises as `get`."""
        return self.new_path(name, (await self._resource(name, field)).request_id)

    def new_path(self, name: str, operation: str) -> Path:
        """Where an operation writes a set."""
        identifier, number = name.partition("/")[2], operation.rpartition("/")[2]
        return self.folder / f"{identifier}@{number}.h5"

    async def list(self, size: int, token: str) -> activations_pb2.ListActivationSetsResponse:
        """A page of sets, ordered by name; fewer than asked for where they are large."""
        found, following = await self._resources.list(COLLECTION, size, token)
        totals = accumulate(len(resource.body) for resource in found)
        fitting = max(1, sum(total <= _PAGE_BYTES for total in totals))
        if fitting < len(found):
            found, following = await self._resources.list(COLLECTION, fitting, token)
        sets = [activations_pb2.ActivationSet.FromString(resource.body) for resource in found]
        return activations_pb2.ListActivationSetsResponse(activation_sets=sets, next_page_token=following)

    async def delete(self, name: str, field: str = "name") -> None:
        """Removes a set. Who reads its file at the moment may go on. Raises as `get`, or Unsupported while an
        operation reads it."""
        resource = await self._resources.delete(checked_name(name, COLLECTION, field), field)
        await asyncio.to_thread(discard, self.new_path(resource.name, resource.request_id))

    async def made_by(self, name: str, operation: str) -> activations_pb2.ActivationSet | None:
        """The set, if that operation has made it."""
        with suppress(NotFound):
            resource = await self._resource(name, "name")
            if resource.request_id == operation:
                return activations_pb2.ActivationSet.FromString(resource.body)
        return None

    async def keep(self, message: activations_pb2.ActivationSet, operation: str) -> None:
        """Makes a set of the file that an operation has written."""
        body = message.SerializeToString(deterministic=True)
        created = message.create_time.ToDatetime(tzinfo=UTC)
        await self._resources.create(Resource(message.name, body, created, request_id=operation))

    async def discard(self, name: str) -> None:
        """Removes what operations have left that were to make a set and will not."""
        kept = None
        with suppress(NotFound):
            kept = await self.path(name)
        await asyncio.to_thread(_discard_others, self.folder, name.partition("/")[2], kept)

    async def _resource(self, name: str, field: str) -> Resource:
        return await self._resources.get(checked_name(name, COLLECTION, field), field)

    async def _guarded(self, name: str, field: str, read: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(read, *args, **options)
        except FileNotFoundError:  # removed since
            raise missing(name, field) from None
        except BadData as error:
            raise DigestMismatch(f"the file of {name} is not whole", reason="DATA_LOST", field=field) from error


def _description(path: Path) -> SetDescription:
    with ActivationSet.open(path) as opened:
        return opened.description


def _statistics(path: Path, site: str, layer: str, label: str) -> Statistics:
    with ActivationSet.open(path) as opened:
        return opened.statistics(site, label, layer)


def _discard_others(folder: Path, identifier: str, kept: Path | None) -> None:
    for file in folder.glob(f"{identifier}@*"):
        operation = file.name.partition("@")[2].partition(".")[0]
        path = folder / f"{identifier}@{operation}.h5"
        if path != kept:
            discard(path)
