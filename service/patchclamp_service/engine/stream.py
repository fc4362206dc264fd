"""The events of one request, on their way from the engine's thread to the caller's event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from .requests import Completed, Event, SentenceActivations, Token

__all__ = ["Stream"]


def _size(event: Event) -> int:
    match event:
        case SentenceActivations(captured=captured) | Token(captured=captured) | Completed(captured_prompt=captured):
            return sum(array.nbytes for array in captured.values())
        case _:
            return 0


class Stream:
    """An async iterator over the events of a request. Leaving it early stops the work within one step.

    The engine writes from its threads; one event loop reads. Errors of the request are raised where it is read.
    """

    def __init__(self, cancel: Callable[[], None], resume: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._cancel = cancel
        self._resume = resume
        self._lock = threading.Lock()
        self._events: deque[Event | BaseException | None] = deque()
        self._arrived = asyncio.Event()
        self._signalled = False
        self._ended = False
        self.buffered_bytes = 0
        """Bytes of activations that wait for the reader."""

    def put(self, *events: Event | BaseException | None) -> None:
        """Hands over events; an exception or None is the last. Any thread."""
        with self._lock:
            self._events += events
            self.buffered_bytes += sum(_size(event) for event in events if not isinstance(event, BaseException | None))
            wake = not self._signalled
            self._signalled = True
        if wake and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        while True:
            with self._lock:
                event = self._events.popleft() if self._events else self
                if event is self:
                    self._signalled = False
                    self._arrived.clear()
            if event is not self:
                return self._read(event)
            if self._ended:
                raise StopAsyncIteration
            await self._arrived.wait()

    def _read(self, event: Event | BaseException | Stream | None) -> Event:
        assert not isinstance(event, Stream)
        if event is None or isinstance(event, BaseException):
            self._ended = True
            raise event or StopAsyncIteration
        with self._lock:
            self.buffered_bytes -= _size(event)
        if self.buffered_bytes == 0:
            self._resume()
        return event

    async def aclose(self) -> None:
        """The reader has gone."""
        if not self._ended:
            self._ended = True
            self._cancel()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
