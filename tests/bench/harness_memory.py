"""Peak memory of a computation, in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.bench.harness import one_core

__all__ = ["apart", "peak"]

T = TypeVar("T")


def apart(function: Callable[..., T], *arguments: object) -> T:
    """What a function of a module returns, called in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak(way: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, and by how many MiB the process was larger at its largest than before: everything
    counts, whoever allocated it, also pages of files that the way maps.
    """
    status = Path("/proc/self/status")
    # Sets the process's largest size back to what it has now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _kibibytes(status, "VmRSS")
    began = time.process_time()
    with one_core():
        way()
    seconds = time.process_time() - began
    return seconds, max(_kibibytes(status, "VmHWM") - before, 0) / 1024


def _kibibytes(status: Path, name: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
