"""What works of every kind share: a reader, what they want of the passes, and what came out being numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .errors import EngineFailure, InvalidRequest
from .programs import Demand
from .scheduler import Segment, Work
from .scheduler import Sequence as TokenSequence
from .stream import Stream

__all__ = ["EngineWork"]


@dataclass(slots=True, eq=False)
class EngineWork(Work):
    """A request in the engine: its reader, what it wants of the passes, and when it came."""

    stream: Stream = field(kw_only=True)
    demand: Demand = field(kw_only=True)
    arrived: float = field(default_factory=time.perf_counter, kw_only=True)
    started: bool = field(default=False, kw_only=True)
    finished: bool = field(default=False, kw_only=True)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """Offsets of the tokens of a segment whose logits it needs."""
        return ()

    def held(self) -> Iterable[TokenSequence]:
        """Sequences of which the runner may have kept something."""
        return ()

    def check(self, *, finite: bool) -> None:
        """Logits must be numbers; edits can drive a model out of range."""
        if finite:
            return
        if self.demand.plan:
            raise InvalidRequest(
                "with these interventions the model's logits are no finite numbers; smaller values would keep them so",
                reason="NOT_FINITE",
                field="interventions",
            )
        raise EngineFailure("the model gave logits that are no finite numbers")
