"""One edit operation alone: flat indices against whole rows, to see where the one becomes cheaper than the other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from patchclamp_service.engine import interventions
from patchclamp_service.engine.plan import Counts, Stage

from tests.bench.harness import console

__all__ = ["run"]

ROWS, WIDTH = 16, 1536


def _stage(neurons: int, seed: int, *, constant: bool) -> Stage:
    draw = np.random.default_rng(seed)
    ones = np.ones(neurons, dtype=np.float32)
    indices = np.sort(draw.choice(WIDTH, neurons, replace=False))
    if constant:
        return Stage((0,), indices, 0 * ones, 0 * ones, 0 * ones, 0 * ones)
    return Stage((0,), indices, 0.5 * ones, ones, -np.inf * ones, np.inf * ones)


def _microseconds(action: Callable[[], object], count: int = 300) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


@torch.inference_mode()
def run() -> None:
    """Prints microseconds of both for growing parts of the rows."""
    console.print(
        f"[bold]One operation over {ROWS} rows of {WIDTH} neurons, each row its own[/] (µs; whole rows from "
        f"{interventions.DENSE_FROM:.0%} on)"
    )
    values = torch.randn(ROWS, WIDTH)
    device = values.device
    for constant in (True, False):
        for neurons in (10, 50, 150, 300, 600, 1000):
            stages = [_stage(neurons, row, constant=constant) for row in range(ROWS)]
            tasks = [(stage, [row], Counts()) for row, stage in enumerate(stages)]
            times = []
            for threshold in (2.0, 0.0):
                kept, interventions.DENSE_FROM = interventions.DENSE_FROM, threshold
                operations = interventions.build_operations([tasks], WIDTH, device)
                interventions.DENSE_FROM = kept
                times.append(_microseconds(partial(_apply, operations, values)))
            kind = "constant" if constant else "affine  "
            # What is only written always goes by index.
            whole = "" if constant else f"   whole {times[1]:6.1f}"
            console.print(f"  {kind} {neurons:5} neurons a row   flat {times[0]:6.1f}{whole}")


def _apply(operations: Sequence[interventions.Operation], values: torch.Tensor) -> None:
    for operation in operations:
        operation(values, _no_gate)


def _no_gate(gate: object, rows: object) -> torch.Tensor:
    raise AssertionError("no gate here")
