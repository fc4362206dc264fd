"""Work in other processes: results, errors, progress, memory, cancelling, and a server that dies."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_service.engine.errors import Exhausted, InvalidRequest
from patchclamp_service.jobs.progress import JobContext
from patchclamp_service.jobs.worker_process import Report
from patchclamp_service.jobs.workers import WorkerFailed, Workers, _end

from tests.service.work import soon

MEGABYTE = 1 << 20
MEMORY = 256 * MEGABYTE


@pytest.fixture
def workers() -> Workers:
    return Workers(1, MEMORY)


@pytest.fixture
def context() -> JobContext:
    return JobContext("operations/a", "things/a", 1)


# What the workers do


def add(report: Report, first: int, second: int) -> int:
    report("adding", 1, 2, "numbers")
    print("on stdout, between the messages")
    report("adding", 2, 2, "numbers")
    return first + second


def surroundings(report: Report) -> tuple[int, int, str, float]:
    return os.getpid(), os.nice(0), os.environ["OMP_NUM_THREADS"], os.getpgid(0)


def spilling(report: Report) -> str:
    return tempfile.gettempdir()


def double(report: Report, values: np.ndarray) -> np.ndarray:
    return 2 * values


def fail(report: Report, error: Exception) -> None:
    raise error


class Unpicklable(AnalysisError):
    """Cannot be made again from what pickle keeps."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def fail_unpicklable(report: Report) -> None:
    raise Unpicklable("a", "b")


def grow(report: Report, step: int) -> int:
    """Touches ever more memory."""
    kept = []
    while True:
        kept.append(np.ones(step, np.uint8))
        time.sleep(0)


def ask_for(report: Report, size: int) -> int:
    return len(bytearray(size))


def map_file(report: Report, path: str) -> int:
    """Reads a file of twice the bound through its map."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        total = int(np.frombuffer(mapped, np.uint8)[::4096].sum())
        held = psutil.Process().memory_info()
        assert held.rss > 2 * MEMORY
        time.sleep(0.5)
        return total


def spin(report: Report) -> None:
    report("spinning", os.getpid())
    while True:
        pass


def leave(report: Report, code: int) -> None:
    os._exit(code)


def kill_itself(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# What comes of it


async def spinning(context: JobContext) -> int:
    """The id of the process that spins by now."""
    async with asyncio.timeout(60):
        while context.measured().stage != "spinning":
            await asyncio.sleep(0)
    return int(context.measured().done)


async def test_what_it_returns(workers: Workers, context: JobContext) -> None:
    assert await workers.run(add, 2, 3, context=context) == 5
    assert (context.measured().stage, context.measured().done, context.measured().unit) == ("adding", 2, "numbers")


async def test_arrays_go_and_come(workers: Workers, context: JobContext) -> None:
    values = np.arange(2_000_000, dtype=np.float32)
    np.testing.assert_array_equal(await workers.run(double, values, context=context), 2 * values)


async def test_its_surroundings(workers: Workers, context: JobContext) -> None:
    process, niceness, threads, group = await workers.run(surroundings, context=context)
    assert process != os.getpid()
    assert niceness >= 10
    assert int(threads) <= max(1, (os.cpu_count() or 1) // 2)
    assert group == process


@pytest.mark.parametrize(
    "error",
    [BadData("no such label", where="dev, line 3"), InvalidRequest("no", reason="WHY", field="a.b", quota="q")],
    ids=lambda error: type(error).__name__,
)
async def test_errors_come_back_as_they_are(workers: Workers, context: JobContext, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await workers.run(fail, error, context=context)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (fail, (ValueError("hushhush"),), "hushhush"),
        (fail_unpicklable, (), "Unpicklable"),
        (add, (1,), "TypeError"),
        (leave, (3,), "ended with 3"),
    ],
)
async def test_what_nobody_foresaw(
    workers: Workers, context: JobContext, function: Callable[..., None], arguments: tuple[object, ...], words: str
) -> None:
    with pytest.raises(WorkerFailed, match=words):
        await workers.run(function, *arguments, context=context)


@pytest.mark.parametrize(
    ("function", "size"),
    [(grow, MEGABYTE), (grow, 64 * MEGABYTE), (ask_for, 1 << 40), (ask_for, 4 << 30)],
    ids=["slowly", "in leaps", "far too much", "too much"],
)
async def test_a_bound_on_memory(
    workers: Workers, context: JobContext, function: Callable[..., int], size: int
) -> None:
    with pytest.raises(Exhausted, match=f"worker_memory_bytes is {MEMORY}") as caught:
        await soon(workers.run(function, size, context=context))
    assert (caught.value.reason, caught.value.quota) == ("WORKER_MEMORY", "worker_memory_bytes")
    assert await workers.run(add, 1, 1, context=context) == 2


async def test_mapped_files_do_not_count(workers: Workers, context: JobContext, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as opened:
        for _ in range(2 * MEMORY // (64 * MEGABYTE) + 1):
            opened.write(b"\1" * 64 * MEGABYTE)
    assert await workers.run(map_file, str(file), context=context) > 0


async def test_killed_by_the_system(workers: Workers, context: JobContext) -> None:
    with pytest.raises(Exhausted, match="was killed"):
        await workers.run(kill_itself, context=context)


def reap(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # asyncio's own thread was first
        os.waitpid(pid, 0)


async def test_one_that_has_ended_before_the_loop_hears_of_it() -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, start_new_session=True)
    reap(process.pid)
    assert process.returncode is None
    await _end(process)
    assert process.returncode is not None


async def test_cancelling_kills_it(workers: Workers, context: JobContext) -> None:
    running = asyncio.create_task(workers.run(spin, context=context))
    process = psutil.Process(await spinning(context))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not process.is_running()
    assert await workers.run(add, 1, 1, context=context) == 2


async def test_what_does_not_fit_into_memory_goes_to_the_folder_that_is_for_it(
    context: JobContext, tmp_path: Path
) -> None:
    assert await Workers(1, MEMORY, tmp_path).run(spilling, context=context) == str(tmp_path)


async def test_a_full_disk(workers: Workers, context: JobContext) -> None:
    with pytest.raises(Exhausted, match="data directory is full") as caught:
        await workers.run(fail, OSError(errno.ENOSPC, "No space left on device"), context=context)
    assert (caught.value.reason, caught.value.quota) == ("DISK_FULL", "data_dir")


async def test_so_many_at_a_time(context: JobContext) -> None:
    workers = Workers(2, MEMORY)
    contexts = [JobContext("operations/a", "things/a", 1) for _ in range(3)]
    running = [asyncio.create_task(workers.run(spin, context=each)) for each in contexts]
    for each in contexts[:2]:
        await spinning(each)
    assert contexts[2].measured().stage == "waiting for a worker"
    running[0].cancel()
    await spinning(contexts[2])
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


SERVER = """
import asyncio, sys
from patchclamp_service.jobs.progress import JobContext
from patchclamp_service.jobs.workers import Workers
from tests.service.jobs import test_workers

async def main():
    context = JobContext("operations/a", "things/a", 1)
    running = asyncio.create_task(Workers(1, 1 << 28).run(test_workers.spin, context=context))
    print(await test_workers.spinning(context), flush=True)
    await running

asyncio.run(main())
"""


def test_it_dies_with_its_server() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        worker = psutil.Process(int(server.stdout.readline()))
        assert worker.is_running()
        server.kill()
    psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
