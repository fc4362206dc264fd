"""Long-running work with a record that outlives the server.

An operation is a row. The server that started it holds it by a lease, runs it as a task, and writes down how it ended;
what a dead server held is taken over and run again. So a run may be repeated: it must find what an earlier attempt
has left, and end as the first would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from typing import TypeVar

from google.longrunning import operations_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection

from patchclamp_service.engine.errors import InvalidRequest, NotReady
from patchclamp_service.jobs import records
from patchclamp_service.jobs.progress import JobContext
from patchclamp_service.jobs.records import NewOperation, Record
from patchclamp_service.jobs.runner import Discard, Kind, Runner, pause
from patchclamp_service.store.database import Database
from patchclamp_service.store.pages import last_seen
from patchclamp_service.store.resources import checked_name, checked_request_id

__all__ = ["Check", "Discard", "JobContext", "Jobs", "Run"]

RequestT = TypeVar("RequestT", bound=Message)

Run = Callable[[RequestT, JobContext], Awaitable[Message]]
"""Does the work of a request and returns the response. It is cancelled when a caller cancels the operation, and when
the server stops: it must let go of what it holds then, and leave what a later attempt can go on with."""

Check = Callable[[RequestT], Awaitable[tuple[str, Sequence[str]]]]
"""Checks a request, fills in what it leaves open, and returns what will be made and the names of what will be read."""

_FILTERS = {"": None, "done=true": True, "done=false": False}
_POLL_SECONDS = 0.5
_NO_LIMIT = 1e9


class Jobs:
    """Starts operations, runs a few at a time, and leads what is there to its end. Every method may raise NotReady."""

    def __init__(
        self, database: Database, *, running: int = 2, kept_days: float = 7.0, lease_seconds: float = 15.0
    ) -> None:
        self._database = database
        self._kinds: dict[str, Kind] = {}
        self._runner = Runner(database, self._kinds, running=running, lease=lease_seconds, kept=kept_days * 86_400)

    def register(
        self, method: str, request: type[RequestT], run: Run[RequestT], discard: Discard | None = None
    ) -> None:
        """Says how operations of a method are run, before `resume`. `discard` is called with the target of one that
        was cancelled or has failed, to remove what its attempts have left."""
        self._kinds[method] = Kind(request, run, discard)

    async def once(
        self, method: str, request: RequestT, request_id: str, check: Check[RequestT]
    ) -> operations_pb2.Operation:
        """Starts an operation with what `check` makes of a copy of the request. The same request_id with an equal
        request is the same operation, whatever became of it and of what it read: it is not checked again. Raises what
        `check` and `start` raise."""
        if earlier := await self._earlier(method, request, request_id):
            return earlier
        checked = type(request)()
        checked.CopyFrom(request)
        target, reads = await check(checked)
        return await self.start(method, checked, target=target, reads=reads, request_id=request_id, asked=request)

    async def start(
        self,
        method: str,
        request: Message,
        *,
        target: str,
        reads: Sequence[str] = (),
        request_id: str = "",
        asked: Message | None = None,
    ) -> operations_pb2.Operation:
        """An operation that makes `target` and reads other resources, once it is on record. The same request_id with
        an equal request is the same operation, whatever became of it. `asked` is what the caller sent, where `request`
        is more than that.

        Raises:
            AlreadyExists: the target is there or is being made; or the request_id was given with another request.
            NotFound: what it reads is not there.
            Exhausted: too many operations have not ended.
        """
        if not self._runner.open:
            raise NotReady("the server is starting or stopping: no operation can begin", retry_after=1.0)
        data = request.SerializeToString(deterministic=True)
        digest = _digest(request if asked is None else asked)
        new = NewOperation(method, target, data, digest, checked_request_id(request_id), reads)
        record = await self._database.run(partial(records.insert, new=new, holder=self._runner.holder))
        if record.live and record.owner == self._runner.holder.name:
            self._runner.lead(record)
        return record.message()

    async def get(self, name: str, field: str = "name") -> operations_pb2.Operation:
        """The operation of that name. Raises InvalidRequest or NotFound."""
        return (await self._read(_identifier(name, field), field)).message()

    async def list(
        self, condition: str, page_size: int, page_token: str
    ) -> tuple[Sequence[operations_pb2.Operation], str]:
        """A page of operations, the newest first, and the token of the next one; fewer than asked for where they are
        large. The condition is "", "done=true" or "done=false". Raises InvalidRequest for another, and for a token of
        another list."""
        compact = condition.replace(" ", "")
        if compact not in _FILTERS:
            text = f"filter: {condition!r} is not supported; 'done=true' and 'done=false' are"
            raise InvalidRequest(text, reason="INVALID_FILTER", field="filter")
        if page_size < 0:
            raise InvalidRequest(f"page_size: {page_size} is negative", field="page_size")
        scope = f"operations?{compact}"
        after = last_seen(scope, page_token)

        def page(connection: Connection) -> tuple[list[operations_pb2.Operation], str]:
            found, following = records.page(connection, scope, _FILTERS[compact], page_size, after)
            return [record.message() for record in found], following

        return await self._database.run(page)

    async def cancel(self, name: str, field: str = "name") -> None:
        """Has the operation stopped, by whichever server runs it. One that has ended stays as it is."""
        identifier = _identifier(name, field)
        await self._database.run(partial(records.ask_to_cancel, identifier=identifier, field=field))
        self._runner.cancel(identifier)

    async def delete(self, name: str, field: str = "name") -> None:
        """Forgets an operation that has ended; what it made stays. Raises Unsupported for one that has not."""
        await self._database.run(partial(records.forget, identifier=_identifier(name, field), field=field))

    async def wait(self, name: str, seconds: float | None, field: str = "name") -> operations_pb2.Operation:
        """The operation once it has ended, or as it is after so many seconds or when the server stops."""
        identifier, end = _identifier(name, field), monotonic() + (_NO_LIMIT if seconds is None else seconds)
        while True:
            led = self._runner.led.get(identifier)
            record = await self._read(identifier, field)
            left = end - monotonic()
            if not record.live or left <= 0 or self._runner.closing.is_set():
                return record.message()
            if led:
                await pause(led.ended, left)
            else:  # another server runs it
                await pause(self._runner.closing, min(left, _POLL_SECONDS))

    async def resume(self) -> None:
        """Takes on what dead servers have left, and from now on new operations."""
        self._runner.resume()

    async def close(self) -> None:
        """Stops what runs. Its records stay for the next server; who waits is told how far it is."""
        await self._runner.close()

    async def _earlier(self, method: str, request: Message, request_id: str) -> operations_pb2.Operation | None:
        """The operation that the same request_id has started, whatever became of it and of what it read. Raises
        AlreadyExists if it was given with another request."""
        found = partial(
            records.made_by, method=method, request_id=checked_request_id(request_id), digest=_digest(request)
        )
        record = await self._database.run(found) if request_id else None
        return record.message() if record else None

    async def _read(self, identifier: str, field: str) -> Record:
        return await self._database.run(partial(records.read, identifier=identifier, field=field))


def _digest(request: Message) -> str:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def _identifier(name: str, field: str) -> str:
    return checked_name(name, "operations", field).partition("/")[2]
