"""How the methods' time grows: with rows N, 2N, 4N and neurons D, 2D, 4D, beside what their docstrings say.

`make bench ARGS=growth` measures all; `python -m tests.bench.growth probeless` some. The exponent is the slope of a
line through the logarithms: 1 is linear. A fixed part makes it smaller.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from patchclamp_analysis.methods import METHODS

from tests.bench.harness import console, in_turn, one_core, table
from tests.bench.methods_cases import CASES, Case, ready

__all__ = ["run"]

PARTS = (4, 2, 1)
ROUNDS = 3


def run(*names: str) -> None:
    """Prints the exponents of all methods, or of those named."""
    console.print("[bold]Growth[/]: time ∝ N to the power of … and ∝ D to the power of … (one core)")
    rows = []
    for name in [name for name in names or METHODS if name in CASES]:
        case = CASES[name]
        with one_core():
            by_rows = _exponent(name, case, [(case.at[0] // part, case.at[1]) for part in PARTS])
            by_width = _exponent(name, case, [(case.at[0], case.at[1] // part) for part in PARTS])
        size = f"{case.at[0]:,} × {case.at[1]:,}"
        rows.append((name, size, f"{by_rows:.2f}", f"{by_width:.2f}", METHODS[name].complexity))
    table(("", "largest", "N", "D", ""), rows)


def _exponent(name: str, case: Case, shapes: list[tuple[int, int]]) -> float:
    """The slope of log time, by the fastest of some rounds."""
    way = case.fixed or case.ours
    samples = [ready(name, case.draw(rows, width)) for rows, width in shapes]
    way(samples[0])
    ways = {str(number): partial(way, sample) for number, sample in enumerate(samples)}
    fastest = [min(seconds) for seconds in in_turn(ways, ROUNDS).values()]
    return float(np.polyfit(np.log([1 / part for part in PARTS]), np.log(fastest), 1)[0])


if __name__ == "__main__":
    run(*sys.argv[1:])
