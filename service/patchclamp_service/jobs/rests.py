"""Lets a thread that works beside an engine rest, so that it slows others no more than background work may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from patchclamp_service.engine.pace import Pace

__all__ = ["Rests"]

# Python's lock goes from thread to thread every 5 ms at the earliest: shorter work is not worth a rest.
_WORTH = 0.005
# A rest ends so soon after the last of those whom it is for.
_LOOK = 0.05


class Rests:
    """Of one thread: measures how long it works, and pauses it between two steps.

    Args:
        pace: Says how long to rest.
        wait: Waits for some seconds; what it raises ends the work.
    """

    def __init__(self, pace: Pace, wait: Callable[[float], None]) -> None:
        self._pace = pace
        self._wait = wait
        self._since: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Until it is left, the thread works. Outside, it never rests."""
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._since = None

    def turn(self) -> None:
        """A very short step is done: rests if the steps since the last rest took long enough."""
        if self._since is not None and time.perf_counter() - self._since >= _WORTH:
            self.rest()

    def rest(self) -> None:
        """A step is done: rests as long as it took others' time."""
        if self._since is None:
            return
        now = time.perf_counter()
        until = now + self._pace.rest(now - self._since)
        while (left := until - time.perf_counter()) > 0 and not self._pace.free:
            self._wait(min(left, _LOOK))
        self._since = time.perf_counter()
