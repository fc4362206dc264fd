"""How far a long-running operation is: told by whoever does the work, from any thread; kept twice a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from patchclamp.v1 import common_pb2

__all__ = ["JobContext", "Progress"]

_WINDOW = 10.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Units of a stage that are done, of how many; a total of 0: not known."""

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""


class JobContext:
    """What a running operation knows of itself, and whom it tells how far it is."""

    def __init__(self, operation: str, target: str, attempt: int, clock: Callable[[], float] = monotonic) -> None:
        self.operation = operation
        """Its name: "operations/0196…"."""
        self.target = target
        """The name of what it makes."""
        self.attempt = attempt
        """How often it was started: above 1 after a restart."""
        self._clock = clock
        self._latest = Progress("starting")
        self._seen: deque[tuple[float, int]] = deque()
        self._stage = ""

    def report(self, stage: str, done: int = 0, total: int = 0, unit: str = "") -> None:
        """Says how far it is. Costs next to nothing, from any thread."""
        self._latest = Progress(stage, max(0, int(done)), max(0, int(total)), unit)

    def measured(self) -> common_pb2.OperationMetadata:
        """What was said last, with the rate of the last seconds. For one caller, who asks again and again."""
        latest, now = self._latest, self._clock()
        if latest.stage != self._stage or (self._seen and latest.done < self._seen[-1][1]):
            self._stage = latest.stage
            self._seen.clear()
        self._seen.append((now, latest.done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (latest.done - before) / (now - began) if now > began else 0.0
        return common_pb2.OperationMetadata(
            stage=latest.stage, done=latest.done, total=latest.total, unit=latest.unit, rate=rate
        )
