"""How far a long computation is, and whether its caller still wants it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from .errors import Cancelled

__all__ = ["QUIET", "Progress"]

T = TypeVar("T")


def _ignore(done: float) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Progress:
    """A stretch of a computation's way from 0 to 1. `report` gets how much of the whole is done, never less than
    before and 1.0 at the end; `cancelled` is asked at each report, and when it says yes, Cancelled is raised.
    """

    report: Callable[[float], None] = _ignore
    cancelled: Callable[[], bool] = _never
    begin: float = 0.0
    end: float = 1.0

    def check(self) -> None:
        """Raises Cancelled if the caller wants no more."""
        if self.cancelled():
            raise Cancelled("cancelled by the caller")

    def at(self, done: float, total: float = 1.0) -> None:
        """`done` of `total` of this stretch is done."""
        self.check()
        # The last step reports the end itself, not a sum that rounding left just below it.
        self.report(self.end if done >= total else self.begin + (self.end - self.begin) * (done / total))

    def part(self, begin: float, end: float) -> Progress:
        """The stretch from `begin` to `end` (0 to 1) of this one."""
        width = self.end - self.begin
        last = self.end if end >= 1.0 else self.begin + end * width
        return Progress(self.report, self.cancelled, self.begin + begin * width, last)

    def each(self, items: Collection[T]) -> Iterator[T]:
        """Yields the items and reports after each; the stretch is done when they are."""
        self.check()
        for done, item in enumerate(items, 1):
            yield item
            self.at(done, len(items))
        if not items:
            self.at(1.0)


QUIET = Progress()
"""Reports nothing and is never cancelled."""
