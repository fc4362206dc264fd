"""How much background work may slow the rest. One object for all engines of a process, since they share its cores."""

from __future__ import annotations

import math
import threading

__all__ = ["Pace"]

# Credit is kept within bounds: neither a burst after a long wait, nor an endless wait after one slow pass.
_MOST, _LEAST = 0.05, -2.0


class Pace:
    """A budget of time: passes of foreground work earn a share of what they take, background passes spend it.

    While no engine has foreground work, background work runs freely. Any thread may call.

    Args:
        share: Seconds of background passes per second of foreground passes. 0: none while others run.
    """

    def __init__(self, share: float = 0.25) -> None:
        self._share = share
        self._lock = threading.Lock()
        self._present = 0
        self._credit = 0.0

    def arrive(self) -> None:
        """Some engine has taken foreground work in."""
        with self._lock:
            self._present += 1

    def leave(self) -> None:
        """That work is gone."""
        with self._lock:
            self._present -= 1

    @property
    def free(self) -> bool:
        """Whether nobody is there who could be slowed."""
        return not self._present

    @property
    def allows(self) -> bool:
        """Whether a background pass may run now."""
        return self.free or self._credit > 0

    def earn(self, seconds: float) -> None:
        """A foreground pass took so long."""
        with self._lock:
            self._credit = min(_MOST, self._credit + self._share * seconds)

    def spend(self, seconds: float) -> None:
        """A background pass took so long. It costs nothing while nobody is there."""
        with self._lock:
            if self._present:
                self._credit = max(_LEAST, self._credit - seconds)

    def rest(self, seconds: float) -> float:
        """Background work of another thread took so long, beside the passes: how many seconds it is to rest now.

        Foreground passes have the rest to themselves, long enough to be slowed by the share and no more. It is over
        when `free`, and without a share not before.
        """
        if self.free:
            return 0.0
        self.spend(seconds)  # background passes have the less
        return min(seconds, -_LEAST) / self._share if self._share else math.inf
