"""The methods: seconds and peak memory of each against the plain way with numpy, scikit-learn, pandas or torch.

`make bench ARGS=methods` measures all, `python -m tests.bench.methods probeless order` some; the parts beside the
methods are `order`, `accuracy` and `wide`. Times are of the processor, on one core, rounds take turns; memory is what
a process of its own grew by at most, beside the activations and after the imports.
"""

from __future__ import annotations

import sys
from functools import partial
from statistics import median

import numpy as np
from patchclamp_analysis.methods import METHODS
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.weight_order import entering_mass

from tests.bench import plain_methods as plain
from tests.bench.harness import console, in_turn, one_core, ratio, table
from tests.bench.harness_memory import apart, peak
from tests.bench.methods_cases import CASES, ready
from tests.bench.methods_sample import CLASSES, LAYERS, ROWS, WIDTH, Sample

__all__ = ["run"]

# As many neurons as 30 layers of 576.
WIDE = 17_280
# Those that take minutes there, or need more than the memory bound.
NOT_WIDE = frozenset({"cross_model", "efficient_features", "layer_selector", "nmf", "umap_kmeans"})
WARM_UP = 400, 24 * LAYERS

COLUMNS = ("", "seconds", "MiB", "plain", "MiB", "times as fast", "")


def run(*names: str) -> None:
    """Prints a table of all methods, or of those named, and the other parts."""
    parts = {"order": _order, "accuracy": _accuracy, "wide": _wide}
    if chosen := [name for name in names or METHODS if name not in parts]:
        console.print(f"[bold]Methods[/] ({ROWS:,} rows × {WIDTH:,} neurons, {CLASSES} classes; one core)")
        table(COLUMNS, [_row(name) for name in chosen])
    for name in [name for name in names or parts if name in parts]:
        parts[name]()


def _row(name: str) -> tuple[str, ...]:
    if (case := CASES.get(name)) is None:
        return name, "—", "—", "—", "—", "—", "no case in methods_cases.py"
    sample, plain_way = ready(name, case.draw(case.rows, case.width)), case.plain
    ways = {"ours": lambda: case.ours(sample)}
    if plain_way is not None:
        ways["plain"] = lambda: plain_way(sample)
    with one_core():
        case.ours(case.draw(*WARM_UP))
        seconds = in_turn(ways, case.rounds)
    note = case.note + (f"; {case.rows:,} rows" if case.rows != ROWS else "")
    peaks = [f"{memory:,.0f}" for _, memory in apart(_peaks, name, case.rows, case.width)]
    ours = name, f"{median(seconds['ours']):.2f}", peaks[0]
    if plain_way is None:
        return *ours, "—", "—", "—", note
    times = f"{ratio(seconds, 'plain', 'ours') / case.part:.1f}×"
    return *ours, f"{median(seconds['plain']) / case.part:,.2f}", peaks[1], times, note


def _peaks(name: str, rows: int, width: int) -> list[tuple[float, float]]:
    """Seconds and MiB of ours and, if there is one and the rows are not wide, of the plain way, in this process."""
    case = CASES[name]
    wide = width > WIDTH
    sample = ready(name, Sample.half(rows, width) if wide else case.draw(rows, width))
    small = case.draw(*WARM_UP)
    found = []
    for way in (case.ours, None if wide else case.plain):
        if way is not None:
            # Imports and compilers are not the method's.
            way(small)
            found.append(peak(partial(way, sample)))
    return found


def _order() -> None:
    """The order of a probe's neurons by its weights."""
    weights = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)

    def ours() -> None:
        for _ in range(20):
            np.argsort(entering_mass(weights).min(axis=0), kind="stable")

    with one_core():
        seconds = in_turn({"ours": ours, "plain": lambda: plain.sweep(weights)}, 5)
    console.print(f"  the order of a probe's neurons   {ratio(seconds, 'plain', 'ours') * 20:.0f}× as fast (goal 50×)")


def _accuracy() -> None:
    """What the linear probe's speed is worth: trained on four fifths of the rows, judged on the rest."""
    sample, cut = Sample.draw(), ROWS * 4 // 5
    train, test = sample.data.take(np.arange(cut)), sample.data.take(np.arange(cut, ROWS))
    ours = LinearProbe().fit(train).score(test).accuracy
    weights, bias = plain.linear_probe(sample.x[:cut], sample.y[:cut], 1e-5, 1e-5)
    theirs = float(np.mean((sample.x[cut:] @ weights.T + bias).argmax(axis=1) == sample.y[cut:]))
    console.print(f"  held-out accuracy of the linear probe   ours {ours:.4f}, as NeuroX trains {theirs:.4f}")


def _wide() -> None:
    """As many neurons as a larger model has, within the memory bound of 1 GiB."""
    console.print(f"[bold]Wide[/] ({ROWS:,} rows × {WIDE:,} neurons in float16; one core)")
    rows = []
    for name in [name for name in METHODS if name in CASES and name not in NOT_WIDE]:
        seconds, memory = apart(_peaks, name, ROWS, WIDE)[0]
        rows.append((name, f"{seconds:.1f}", f"{memory:,.0f}"))
    table(("", "seconds", "MiB"), rows)


if __name__ == "__main__":
    run(*sys.argv[1:])
