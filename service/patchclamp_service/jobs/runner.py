"""Runs operations: as tasks, a few at a time, each under a lease that is renewed while it lasts.

What a dead server held is taken over and run again, at most three times.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import structlog
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from sqlalchemy import Connection

from patchclamp_service.engine.errors import Busy, Cancelled, Crashed, Exhausted, NotReady, Unsupported
from patchclamp_service.errors import foreseen, refuse
from patchclamp_service.jobs import records
from patchclamp_service.jobs.progress import JobContext
from patchclamp_service.jobs.records import Holder, Record, State
from patchclamp_service.store.database import Database

__all__ = ["Discard", "Kind", "Led", "Runner", "Stop", "pause"]

T = TypeVar("T")

Discard = Callable[[str], Awaitable[None]]
"""Removes what attempts at a target have left, when there will be none further."""

_PUBLISH_SECONDS = 0.5
_CRASHES = 3
_SWEEP_SECONDS = 3600.0
_CLOSE_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """How operations of a method are run."""

    request: type[Message]
    run: Callable[[Any, JobContext], Awaitable[Message]]
    discard: Discard | None


class Stop(Enum):
    """Why work is stopped before its end."""

    CANCELLED = "a caller cancelled it"
    CLOSING = "the server stops"
    LOST = "its lease ran out"


class Led:
    """An operation on its way to its end, by this server."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.context: JobContext | None = None
        self.stop: Stop | None = None
        self.published = b""
        self.ended = asyncio.Event()
        self.work: asyncio.Task[Message | None]
        self.lead: asyncio.Task[None]

    def halt(self, why: Stop) -> None:
        """Stops the work, once: what it does to let go is not stopped again."""
        if self.stop is None:
            self.stop = why
            self.work.cancel()

    def progress(self) -> bytes:
        """How far it is, or b"" before it began."""
        return self.context.measured().SerializeToString() if self.context else b""


class Runner:
    """Leads operations to their end, and keeps those that this server holds."""

    def __init__(
        self, database: Database, kinds: Mapping[str, Kind], *, running: int, lease: float, kept: float
    ) -> None:
        self.holder = Holder(secrets.token_hex(8), lease, database.now, alone=not database.shared)
        self.led: dict[str, Led] = {}
        self.closing = asyncio.Event()
        self._database = database
        self._kinds = kinds
        self._slots = asyncio.Semaphore(running)
        self._kept_seconds = kept
        self._keeper: asyncio.Task[None] | None = None
        self._renewed = monotonic()

    @property
    def open(self) -> bool:
        """Whether it takes operations on."""
        return self._keeper is not None and not self.closing.is_set()

    def resume(self) -> None:
        """Takes on what dead servers have left, now and from now on."""
        self._renewed = monotonic()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Stops what runs. Its records stay, for the next server to go on with."""
        if self.closing.is_set():
            return
        self.closing.set()
        for led in self.led.values():
            led.ended.set()
            led.halt(Stop.CLOSING)
        waited = [led.lead for led in self.led.values()] + ([self._keeper] if self._keeper else [])
        if waited:
            await asyncio.wait(waited, timeout=_CLOSE_SECONDS)
        try:  # what has not let go in time keeps its lease
            await self._database.run(partial(records.give_back, kept=list(self.led), holder=self.holder))
        except (NotReady, Exhausted) as error:
            _log.warning("operations not given back", error=error.message)

    def lead(self, record: Record) -> None:
        """Leads it to its end, unless that is under way."""
        if record.id in self.led or self.closing.is_set():
            return
        led = self.led[record.id] = Led(record)
        led.work = asyncio.create_task(self._attempt(led))
        led.lead = asyncio.create_task(self._conclude(led))

    def cancel(self, identifier: str) -> None:
        """Stops it if this server runs it."""
        if led := self.led.get(identifier):
            led.halt(Stop.CANCELLED)

    async def _attempt(self, led: Led) -> Message | None:
        """The response; None if the operation is not ours any more."""
        kind = self._kinds.get(led.record.method)
        if kind is None:
            raise Unsupported(f"this server knows no method {led.record.method!r}", reason="UNKNOWN_METHOD")
        if led.record.crashes >= _CRASHES:
            raise Crashed(f"the server stopped each of the {_CRASHES} times that it tried")
        async with self._slots:
            begun = await self._insist(partial(records.begin, identifier=led.record.id, holder=self.holder))
            if begun is None:
                return None
            attempt, request = begun
            led.context = JobContext(f"operations/{led.record.id}", led.record.target, attempt)
            return await kind.run(kind.request.FromString(request), led.context)

    async def _conclude(self, led: Led) -> None:
        """Waits for the work and writes down how it ended."""
        try:
            await asyncio.wait({led.work})
            await self._write_end(led)
        except (NotReady, Exhausted):
            _log.warning("operation not written down", operation=led.record.id)
        except Exception:
            _log.exception("operation not written down", operation=led.record.id)
        finally:
            del self.led[led.record.id]
            led.ended.set()

    async def _write_end(self, led: Led) -> None:
        identifier, method = led.record.id, led.record.method
        end = await self._end(led)
        if end is None:
            return
        state, outcome = end
        if state is not State.DONE:
            await self._discard(led)
        ended = partial(records.finish, state=state, outcome=outcome, progress=led.progress())
        if await self._insist(partial(ended, identifier=identifier, holder=self.holder)):
            _log.info("operation", operation=identifier, method=method, state=state.value)

    async def _end(self, led: Led) -> tuple[State, bytes] | None:
        """How it ended; None: it has not, and goes on later or elsewhere."""
        error = asyncio.CancelledError() if led.work.cancelled() else led.work.exception()
        if error is None:
            response = led.work.result()
            return None if response is None else (State.DONE, _packed(response))
        if led.stop is Stop.CANCELLED:
            return State.CANCELLED, refuse(Cancelled("the operation was cancelled")).status().SerializeToString()
        if led.stop is not None:
            return None
        if isinstance(error, NotReady):
            again = partial(records.put_back, identifier=led.record.id, holder=self.holder)
            tried = await self._insist(partial(again, counted=not isinstance(error, Busy)))
            if tried < _CRASHES:
                return None
        return State.FAILED, _status(error, led.record).SerializeToString()

    async def _discard(self, led: Led) -> None:
        """Removes what is left of the work, if it is still ours to remove."""
        kind = self._kinds.get(led.record.method)
        mine = await self._insist(partial(records.holds, identifier=led.record.id, holder=self.holder))
        if kind and kind.discard and mine:
            try:
                await kind.discard(led.record.target)
            except Exception:
                _log.exception("leftovers not removed", operation=led.record.id)

    async def _keep(self) -> None:
        """Publishes progress, renews leases, takes over, sweeps: until the server closes."""
        renewal = sweep = 0.0
        while not self.closing.is_set():
            now = monotonic()
            if now >= renewal:
                renewal = now + self.holder.lease / 4
                await self._guarded(self._renew())
            if now >= sweep:
                sweep = now + _SWEEP_SECONDS
                await self._guarded(self._sweep())
            await self._guarded(self._publish())
            await pause(self.closing, min(_PUBLISH_SECONDS, self.holder.lease / 4, self._bound()))

    async def _guarded(self, step: Awaitable[None]) -> None:
        """A step that may fail or hang: the next one may not, and no work goes on past its lease meanwhile."""
        self._stop_in_time()
        try:
            async with asyncio.timeout(self._bound()):
                await step
        except (NotReady, Exhausted, TimeoutError):
            pass  # the database has said why in the log
        except Exception:
            _log.exception("failed")
        self._stop_in_time()

    async def _renew(self) -> None:
        before, asked = set(self.led), monotonic()
        held = await self._database.run(partial(records.take, holder=self.holder))
        self._renewed = asked
        for identifier in before - {record.id for record in held}:
            if led := self.led.get(identifier):
                led.halt(Stop.LOST)
        for record in held:
            self.lead(record)
            if record.cancelled:
                self.cancel(record.id)

    def _stop_in_time(self) -> None:
        """Stops everything shortly before another server may take it over."""
        if self._database.shared and self._left() <= 0:
            for led in self.led.values():
                led.halt(Stop.LOST)

    def _left(self) -> float:
        """Seconds until work has to stop unless its lease is renewed."""
        return self._renewed + 0.75 * self.holder.lease - monotonic()

    def _bound(self) -> float:
        """Seconds that whatever keeps the operations may take."""
        most, left = self.holder.lease / 2, self._left()
        return min(most, left) if self._database.shared and left > 0 else most  # none left: nothing runs

    async def _publish(self) -> None:
        told = {led: led.progress() for led in self.led.values()}
        changed = {led.record.id: progress for led, progress in told.items() if progress != led.published}
        if changed:
            await self._database.run(partial(records.publish, progress=changed, holder=self.holder))
        for led, progress in told.items():
            led.published = progress

    async def _sweep(self) -> None:
        swept = await self._database.run(partial(records.sweep, seconds=self._kept_seconds, now=self._database.now))
        if swept:
            _log.info("operations forgotten", count=swept)

    async def _insist(self, work: Callable[[Connection], T]) -> T:
        """Tries until the database takes it, or the server closes."""
        delay = 0.1
        while True:
            try:
                return await self._database.run(work)
            except (NotReady, Exhausted):
                if self.closing.is_set():
                    raise
            await pause(self.closing, delay)
            delay = min(2 * delay, 5.0)


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after so many seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _packed(response: Message) -> bytes:
    packed = any_pb2.Any()
    packed.Pack(response)
    data: bytes = packed.SerializeToString()
    return data


def _status(error: BaseException, record: Record) -> status_pb2.Status:
    """The table's status. What nobody foresaw goes to the log, under an id."""
    error_id = "" if foreseen(error) else secrets.token_hex(6)
    if error_id:
        _log.error("unforeseen", error_id=error_id, operation=record.id, method=record.method, exc_info=error)
    return refuse(error, error_id).status()
