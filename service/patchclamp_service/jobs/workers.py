"""CPU-bound work in processes of its own: it cannot stall the server, may be killed, and has a bound on its memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import psutil
from patchclamp_analysis.errors import AnalysisError

from patchclamp_service.engine.errors import Exhausted, PatchclampError
from patchclamp_service.jobs.progress import JobContext
from patchclamp_service.jobs.worker_process import Failed, OutOfMemory, Reported, Returned, Work, framed

__all__ = ["WorkerFailed", "Workers"]

T = TypeVar("T")

_START = "from patchclamp_service.jobs.worker_process import main; main()"
_NICENESS = 10
_LOOK_SECONDS = 0.1
_RESERVED_BYTES = 1 << 30  # what libraries reserve without ever using it; the kernel counts it as data


class WorkerFailed(Exception):
    """What nobody foresaw in a worker, with its trace: for the log."""


class Workers:
    """Runs functions, each in a fresh process; a few at a time."""

    def __init__(self, count: int, memory_bytes: int, scratch: Path | None = None) -> None:
        """`scratch` is a folder for what they spill to disk; None: that of the system, which may be memory."""
        self._slots = asyncio.Semaphore(count)
        self._scratch = scratch
        self.memory_bytes = memory_bytes
        """What a process may have, libraries included."""
        self._threads = max(1, (os.cpu_count() or 1) // 2 // count)

    async def run(self, function: Callable[..., T], *args: object, context: JobContext) -> T:
        """What `function(report, *args)` returns. It and its arguments are pickled, so the function is one of a module;
        its process is killed when the caller is cancelled. It starts no processes of its own.

        Raises:
            Exhausted: it needs more memory than there is for it, or more room on the disk.
            AnalysisError, PatchclampError: what it raised.
            WorkerFailed: it raised anything else, or died.
        """
        call = pickle.dumps((function, args))
        if self._slots.locked():
            context.report("waiting for a worker")
        async with self._slots:
            context.report("starting")
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-c",
                _START,
                stdin=PIPE,
                stdout=PIPE,
                env=self._environment(),
                start_new_session=True,
            )
            watch = asyncio.create_task(self._watch(process))
            try:
                outcome = await self._converse(process, call, context)
                if outcome is None:
                    raise await self._death(process, watch)
                return cast("T", self._value(outcome))
            finally:
                watch.cancel()
                await _end(process)

    def _environment(self) -> dict[str, str]:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self._threads))
        path = os.pathsep.join(entry or "." for entry in sys.path)
        scratch = {"TMPDIR": str(self._scratch)} if self._scratch else {}
        return os.environ | threads | scratch | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}

    async def _converse(self, process: Process, call: bytes, context: JobContext) -> object | None:
        """The outcome; None if the process died without one."""
        assert process.stdin and process.stdout
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            process.stdin.write(framed(Work(call, self.memory_bytes + _RESERVED_BYTES, _NICENESS)))
            await process.stdin.drain()
            while True:
                (length,) = struct.unpack("<Q", await process.stdout.readexactly(8))
                message = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301 - from our own process
                if not isinstance(message, Reported):
                    return cast("object", message)
                context.report(message.stage, message.done, message.total, message.unit)
        return None

    def _value(self, outcome: object) -> object:
        match outcome:
            case Returned():
                return outcome.value
            case OutOfMemory():
                raise self._too_large()
            case Failed(error=AnalysisError() | PatchclampError() as error):
                raise error
            case Failed():
                raise WorkerFailed(outcome.trace)
        raise WorkerFailed(f"a {type(outcome).__name__} from a worker")

    async def _watch(self, process: Process) -> bool:
        """Kills the process when it has more memory of its own than it may; whether it did."""
        with contextlib.suppress(psutil.NoSuchProcess):
            watched = psutil.Process(process.pid)
            while True:
                memory = watched.memory_info()
                if memory.rss - getattr(memory, "shared", 0) > self.memory_bytes:  # mapped files can be let go
                    _kill(process)
                    return True
                await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def _death(self, process: Process, watch: asyncio.Task[bool]) -> Exception:
        code = await process.wait()
        if watch.done() and watch.result():
            return self._too_large()
        if code == -signal.SIGKILL:
            return self._too_large("was killed, as the system does when memory runs out")
        return WorkerFailed(f"a worker ended with {code} and no word")

    def _too_large(self, what: str = "needs more memory than it may have") -> Exhausted:
        return Exhausted(
            f"the analysis {what}; the limit worker_memory_bytes is {self.memory_bytes}",
            reason="WORKER_MEMORY",
            quota="worker_memory_bytes",
        )


def _kill(process: Process) -> None:
    if process.returncode is None:  # else its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):  # it has just ended, and the loop has not heard of it yet
            os.killpg(process.pid, signal.SIGKILL)


async def _end(process: Process) -> None:
    _kill(process)
    assert process.stdin
    process.stdin.close()
    await process.wait()
