"""Plots of evaluations: accuracy against the number of neurons, their layers, and how far methods agree.

Each is a matplotlib `Figure` that belongs to nobody: no window, no global state.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from .errors import BadData
from .evaluation.reports import Comparison
from .files.whole_files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["accuracy_plot", "image", "layers_plot", "overlap_plot", "save_plot"]

Format = Literal["png", "svg"]


def accuracy_plot(comparison: Comparison) -> Figure:
    """The accuracy of the top neurons against their number, a line per method; random ones, oracle and majority."""
    figure = _figure(7.0, 4.2)
    axes = figure.add_subplot()
    first = comparison.evaluations[0]
    for evaluation in comparison.evaluations:
        scores = [evaluation.score("accuracy", "top", count) for count in comparison.counts]
        axes.errorbar(
            comparison.counts,
            [score.mean for score in scores],
            [score.deviation for score in scores],
            label=evaluation.method,
            marker="o",
            capsize=2,
        )
    random = [first.score("accuracy", "random", count).mean for count in comparison.counts]
    axes.plot(comparison.counts, random, label="random", color="grey", linestyle="--", marker=".")
    axes.axhline(first.oracle.mean, color="black", linewidth=1, label=f"all {first.neurons:,}")
    axes.axhline(first.majority, color="black", linewidth=1, linestyle=":", label="majority")
    axes.set_xscale("log")
    axes.set_xticks(comparison.counts, [f"{count:,}" for count in comparison.counts])
    axes.minorticks_off()
    axes.set(xlabel="neurons", ylabel="accuracy", title=first.label)
    axes.legend(fontsize="small")
    return figure


def layers_plot(comparison: Comparison, count: int) -> Figure:
    """How many of the best `count` neurons each site has, bars per method. BadData for a number not looked at."""
    if count not in comparison.counts:
        raise BadData(f"there are {', '.join(map(str, comparison.counts))}, not {count}", where="count")
    sites = list(comparison.evaluations[0].layers[count])
    figure = _figure(max(6.0, 0.35 * len(sites)), 4.0)
    axes = figure.add_subplot()
    width = 0.8 / len(comparison.evaluations)
    for number, evaluation in enumerate(comparison.evaluations):
        at = np.arange(len(sites)) + (number + 0.5) * width - 0.4
        axes.bar(at, list(evaluation.layers[count].values()), width, label=evaluation.method)
    axes.set_xticks(np.arange(len(sites)), sites, rotation=45, ha="right", fontsize="small")
    axes.set(ylabel="neurons", title=f"layers of the top {count:,}")
    axes.legend(fontsize="small")
    return figure


def overlap_plot(comparison: Comparison, count: int) -> Figure:
    """A heat map of how many of the best `count` neurons each two methods share. BadData for one method alone."""
    if count not in comparison.counts:
        raise BadData(f"there are {', '.join(map(str, comparison.counts))}, not {count}", where="count")
    if len(comparison.methods) < 2:
        raise BadData("one method has no others to agree with", where="overlap")
    shares, places = comparison.overlaps[comparison.counts.index(count)], np.arange(len(comparison.methods))
    figure = _figure(2.5 + 0.7 * len(places), 2.0 + 0.6 * len(places))
    axes = figure.add_subplot()
    picture = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="viridis")
    axes.set_xticks(places, comparison.methods, rotation=45, ha="right", fontsize="small")
    axes.set_yticks(places, comparison.methods, fontsize="small")
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color="white" if share < 0.6 else "black")
    axes.set_title(f"overlap of the top {count:,}")
    figure.colorbar(picture)
    return figure


def image(figure: Figure, kind: Format = "png") -> bytes:
    """As PNG or SVG; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "patchclamp"}):
        figure.savefig(buffer, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def save_plot(figure: Figure, path: Path | str) -> None:
    """Writes a .png or .svg file, which appears whole or not at all. BadData for another suffix."""
    path = Path(path)
    kinds: dict[str, Format] = {".png": "png", ".svg": "svg"}
    if path.suffix not in kinds:
        raise BadData("a plot is a .png or .svg file", where=str(path))
    write_whole(path, image(figure, kinds[path.suffix]))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
