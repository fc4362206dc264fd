"""The ranking methods: seconds and memory against the plain ways; and that time grows linearly with the rows.

`python -m tests.bench.methods probeless order` measures some of them; the parts beside the methods are `order`,
`accuracy`, `scaling` and `wide`.
"""

from __future__ import annotations

import asyncio
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import RANKING_METHODS, build
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.weight_order import entering_mass

from tests.bench import plain_methods as plain
from tests.bench.harness import console, median_ratio, rounds

__all__ = ["run"]

ROWS, WIDTH, CLASSES = 20_000, 2304, 17
# Neuron by neuron the plain ways take minutes: they get some neurons, and the figure is per neuron.
SAMPLE = 8


@cache
def activations(rows: int = ROWS, width: int = WIDTH) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Classes of uneven size in neurons that go together, as in a model: class means and rows follow 200 factors."""
    draw = np.random.default_rng(0)
    sizes = 1.0 / np.arange(1, CLASSES + 1)
    y = draw.choice(CLASSES, rows, p=sizes / sizes.sum())
    factors = draw.standard_normal((200, width), np.float32) / np.float32(6)
    centres = draw.standard_normal((CLASSES, 200), np.float32)
    x = (centres[y] + draw.standard_normal((rows, 200), np.float32)) @ factors
    x += draw.standard_normal((rows, width), np.float32)
    return x, y


@dataclass(frozen=True)
class Comparison:
    """Two ways, and the units that each does: neurons, or neurons × steps."""

    ours: Callable[[Data], object]
    plain: Callable[[NDArray[np.float32], NDArray[np.int64]], object]
    units: float = WIDTH
    plain_units: float = WIDTH
    rounds: int = 3
    note: str = ""


def _rank(name: str, **parameters: object) -> Callable[[Data], object]:
    return lambda data: build(RANKING_METHODS[name], parameters).rank(data)


def _gaussian(x: NDArray[np.float32], y: NDArray[np.int64]) -> object:
    return plain.gaussian_candidates(x, y, range(3), range(5, 5 + SAMPLE))


COMPARISONS: Mapping[str, Comparison] = {
    "probeless": Comparison(_rank("probeless"), plain.probeless, rounds=7),
    "mean_select": Comparison(_rank("mean_select"), plain.mean_select, rounds=7),
    "iou": Comparison(_rank("iou"), plain.iou, rounds=7),
    "average_precision": Comparison(
        _rank("average_precision"),
        lambda x, y: plain.average_precision(x[:, :SAMPLE], y),
        plain_units=SAMPLE,
        note="ours both sides, scikit-learn one; goal 10×",
    ),
    "mutual_information": Comparison(
        _rank("mutual_information"), lambda x, y: plain.mutual_information(x[:, :SAMPLE], y), plain_units=SAMPLE
    ),
    "gaussian": Comparison(
        _rank("gaussian", count=4, compat="neurox"),
        _gaussian,
        units=4 * WIDTH,
        plain_units=SAMPLE,
        note="per candidate, with 3 chosen; goal 15×",
    ),
    "linear_probe": Comparison(
        _rank("linear_probe"), lambda x, y: plain.linear_probe(x, y, 1e-5, 1e-5), note="as NeuroX trains; goal 5×"
    ),
    "latent_variable": Comparison(
        _rank("latent_variable", epochs=1, scheme="poisson"),
        lambda x, y: plain.latent_steps(x, y, 10, 128),
        units=ROWS,
        plain_units=1280,
        note="per row and pass; the paper's ten masks a row",
    ),
    "random_forest": Comparison(_rank("random_forest", trees=3), lambda x, y: plain.random_forest(x, y, 3)),
}


def run(*names: str) -> None:
    """Prints for each method, or those named: seconds and memory of ours, and how much longer the plain way takes."""
    torch.set_num_threads(1)
    x, y = activations()
    parts = {"order": _order, "accuracy": _accuracy, "scaling": _scaling, "wide": _wide}
    console.print(f"[bold]Ranking methods[/] ({ROWS:,} rows × {WIDTH:,} neurons, {CLASSES} classes)")
    for name in names or (*COMPARISONS, *parts):
        if name in parts:
            parts[name]()
        else:
            _compare(name, COMPARISONS[name], x, y)


def _compare(name: str, comparison: Comparison, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    data = Data.from_arrays(x, y)

    async def ours() -> int:
        comparison.ours(data)
        return round(comparison.units)

    async def theirs() -> int:
        comparison.plain(x, y)
        return round(comparison.plain_units)

    rates = asyncio.run(rounds({"ours": ours, "plain": theirs}, comparison.rounds))
    seconds = median(comparison.units / rate for rate in rates["ours"])
    times = median_ratio(rates, "ours", "plain")
    note = f"   ({comparison.note})" if comparison.note else ""
    memory = f"{_peak(lambda: comparison.ours(data)):6.0f} MiB"
    if comparison.plain_units == WIDTH:
        memory += f" against {_peak(lambda: comparison.plain(x, y)):6.0f}"
    console.print(f"  {name:20} {seconds:7.2f} s   {times:7.1f}× the plain way   {memory}{note}")


def _peak(way: Callable[[], object]) -> float:
    """The most MiB that numpy held at a time, beside the activations. (What torch and scikit-learn's trees hold is not
    counted.)
    """
    tracemalloc.start()
    try:
        way()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _order() -> None:
    weights = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)

    async def ours() -> int:
        for _ in range(20):
            np.argsort(entering_mass(weights).min(axis=0), kind="stable")
        return 20

    async def theirs() -> int:
        plain.sweep(weights)
        return 1

    rates = asyncio.run(rounds({"ours": ours, "plain": theirs}, 5))
    console.print(f"  the order of a probe's neurons   {median_ratio(rates, 'ours', 'plain'):.0f}× (goal 50×)")


def _accuracy() -> None:
    x, y = activations()
    train, test = slice(0, ROWS * 4 // 5), slice(ROWS * 4 // 5, None)
    held_out = Data.from_arrays(x[test], y[test])
    ours = LinearProbe().fit(Data.from_arrays(x[train], y[train])).score(held_out).accuracy
    weights, bias = plain.linear_probe(x[train], y[train], 1e-5, 1e-5)
    theirs = float(np.mean((x[test] @ weights.T + bias).argmax(axis=1) == y[test]))
    console.print(f"  held-out accuracy of the linear probe   ours {ours:.4f}, as NeuroX trains {theirs:.4f}")


def _scaling() -> None:
    console.print("  seconds for a quarter, half and all of the rows, as parts of those for all (linear: 0.25, 0.50)")
    x, y = activations()
    for name, comparison in COMPARISONS.items():
        parts = [Data.from_arrays(x[: ROWS // part], y[: ROWS // part]) for part in (4, 2, 1)]
        # A fixed number of passes, where few rows get more of them.
        way = comparison.ours if name != "linear_probe" else _rank("linear_probe", epochs=3)
        seconds = np.array([[_seconds(way, data) for data in parts] for _ in range(3)])
        quarter, half = np.median(seconds[:, :2] / seconds[:, 2:], axis=0)
        console.print(f"    {name:20} {quarter:5.2f} {half:5.2f}")


def _wide() -> None:
    """As many neurons as 30 layers of 576."""
    width = 17_280
    console.print(f"  seconds and memory for {ROWS:,} rows × {width:,} neurons in float16")
    narrow, y = activations()
    x = np.empty((ROWS, width), np.float16)
    for at in range(0, width, WIDTH):
        x[:, at : at + WIDTH] = np.roll(narrow, at, axis=1)[:, : width - at]
    data = Data.from_arrays(x, y)
    for name in ("probeless", "iou", "mutual_information", "linear_probe"):
        way = _rank(name)
        console.print(f"    {name:20} {_seconds(way, data):7.2f} s   {_peak(partial(way, data)):6.0f} MiB")


def _seconds(way: Callable[[Data], object], data: Data) -> float:
    began = time.perf_counter()
    way(data)
    return time.perf_counter() - began


if __name__ == "__main__":
    run(*sys.argv[1:])
