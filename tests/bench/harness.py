"""What every measurement shares: the real server, the plain model, and rounds that take turns.

The machines are noisy and shared, so nothing is a time: each figure is the median over rounds of a ratio between two
ways that ran one after the other in the same round.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from patchclamp_service.engine.model import LoadedModel

__all__ = [
    "CACHE",
    "console",
    "in_turn",
    "median_ratio",
    "model",
    "one_core",
    "processor_seconds",
    "ratio",
    "rounds",
    "server",
    "table",
]

CACHE = Path(__file__).parents[2] / ".cache"
console = Console(highlight=False, width=110)


@cache
def model(name: str) -> LoadedModel:
    """A plain model to compare with."""
    # Only where a model is wanted: it takes seconds, and the processes that measure memory are many.
    from patchclamp_service.engine.model import ModelSpec, load_model

    torch.set_num_threads(os.cpu_count() or 1)
    return load_model(ModelSpec.parse(name), cache=CACHE)


@contextmanager
def server(*names: str, flags: tuple[str, ...] = ()) -> Iterator[str]:
    """A server of its own process; yields its address."""
    models = [part for name in names for part in ("--model", name)]
    command = [sys.executable, "-m", "patchclamp_service", *models, "--listen", "127.0.0.1:0", "--cache", str(CACHE)]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    with (
        TemporaryDirectory() as data,
        subprocess.Popen(
            [*command, "--data-dir", data, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"patchclamp listening on (\S+)", line):
                    yield found[1]
                    return
            raise RuntimeError("the server did not start")
        finally:
            process.terminate()


async def rounds(ways: Mapping[str, Callable[[], Awaitable[int]]], count: int) -> dict[str, list[float]]:
    """Runs the ways in turn, `count` times; each returns the units it did. Units per second, by way and round.
    Every second round goes the other way about, so that a machine that slows down is fair to all."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(count):
        order = list(ways.items())
        for name, way in order if number % 2 == 0 else reversed(order):
            began = time.perf_counter()
            units = await way()
            rates[name].append(units / (time.perf_counter() - began))
    return rates


def processor_seconds() -> float:
    """What this process and those it has started have used of the processors: others on the machine do not show."""
    own = psutil.Process()
    spent = [process.cpu_times() for process in (own, *own.children())]
    return float(sum(each.user + each.system for each in spent))


def median_ratio(rates: Mapping[str, list[float]], one: str, other: str) -> float:
    """Median over rounds of how many times as fast `one` was as `other`."""
    return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))


def in_turn(ways: Mapping[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """`rounds` for what does the same work each time: seconds of processor time, by way and round. What others on the
    machine do counts little then, but the ways must compute in this process.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(count):
        order = list(ways.items())
        for name, way in order if number % 2 == 0 else reversed(order):
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Median over rounds of how many times as long `one` took as `other`."""
    return float(statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True)))


@contextmanager
def one_core() -> Iterator[None]:
    """One thread for numpy, scipy, scikit-learn and torch, so that two ways have the same means."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; the first column is left-aligned, as is one without a title."""
    found = Table(box=None, padding=(0, 2, 0, 2))
    for number, column in enumerate(columns):
        found.add_column(column, justify="right" if number and column else "left")
    for row in rows:
        found.add_row(*row)
    console.print(found)
