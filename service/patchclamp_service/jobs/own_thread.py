"""A thread of one's own for work that blocks, such as writing a file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

from patchclamp_analysis.errors import Cancelled

__all__ = ["OwnThread"]

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """Runs one function after another. Async context manager.

    A task that is cancelled waits for the function it runs: what that holds is nobody's until it has let go. The
    function is told at its next `check`.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._cancelled = threading.Event()

    async def run(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Runs the function after those before it, and returns what it gives."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **options))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._cancelled.set()
            await asyncio.wait((future,))
            if not future.cancelled():
                future.exception()  # seen: that it was cancelled is all the caller hears
            self._cancelled.clear()
            raise

    def check(self) -> None:
        """For functions in the thread: raises Cancelled when nobody waits for them any more."""
        if self._cancelled.is_set():
            raise Cancelled("cancelled by the caller")

    def wait(self, seconds: float) -> None:
        """For functions in the thread: waits so long. Raises Cancelled at once when nobody waits for them any more."""
        self._cancelled.wait(seconds)
        self.check()

    async def __aenter__(self) -> OwnThread:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=False)
