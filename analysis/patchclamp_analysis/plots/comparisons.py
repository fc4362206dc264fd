"""Plots of evaluations: accuracy against the number of neurons, their layers, and how far methods agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadData
from ..evaluation.reports import Comparison
from .figures import Plot, heat_map, legend, new_figure, plain, site_bars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["accuracy_plot", "comparison_plots", "layers_plot", "overlap_plot"]


def comparison_plots(comparison: Comparison, count: int | None = None) -> tuple[Plot, ...]:
    """ "accuracy", "layers" and, of two methods or more, "overlap". The last two are of the best `count` neurons (None:
    the largest number there is); BadData for a number that was not looked at.
    """
    chosen = comparison.counts[-1] if count is None else count
    plots = [
        Plot("accuracy", "Accuracy of a probe of the top neurons", accuracy_plot(comparison), _accuracies(comparison)),
        Plot(
            "layers", f"Layers of the top {chosen:,}", layers_plot(comparison, chosen), _of_layers(comparison, chosen)
        ),
    ]
    if len(comparison.methods) > 1:
        figure = overlap_plot(comparison, chosen)
        plots.append(Plot("overlap", f"Agreement on the top {chosen:,}", figure, _overlaps(comparison, chosen)))
    return tuple(plots)


def accuracy_plot(comparison: Comparison) -> Figure:
    """The accuracy of the top neurons against their number, a line per method; random ones, oracle and majority."""
    figure = new_figure(8.0, 4.2)
    axes = figure.add_subplot()
    first = comparison.evaluations[0]
    for evaluation in comparison.evaluations:
        scores = [evaluation.score("accuracy", "top", count) for count in comparison.counts]
        means, deviations = [score.mean for score in scores], [score.deviation for score in scores]
        (line,) = axes.plot(comparison.counts, means, label=plain(evaluation.method), marker="o", markersize=4)
        axes.errorbar(comparison.counts, means, deviations, fmt="none", ecolor=line.get_color(), capsize=3)
    random = [first.score("accuracy", "random", count).mean for count in comparison.counts]
    axes.plot(comparison.counts, random, label="random", color="grey", linestyle="--", marker=".")
    axes.axhline(first.oracle.mean, color="black", linewidth=1, label=f"all {first.neurons:,}")
    axes.axhline(first.majority, color="black", linewidth=1, linestyle=":", label="majority")
    axes.set_xscale("log")
    axes.set_xticks(comparison.counts, [f"{count:,}" for count in comparison.counts])
    axes.minorticks_off()
    axes.grid(axis="y", alpha=0.3)
    axes.set(xlabel="neurons", ylabel="accuracy", title=plain(f"a probe of the top neurons: {first.label}"))
    legend(axes)
    return figure


def layers_plot(comparison: Comparison, count: int) -> Figure:
    """How many of the best `count` neurons each site has, bars per method. BadData for a number not looked at."""
    _check(comparison, count)
    return site_bars({each.method: each.layers[count] for each in comparison.evaluations}, f"the top {count:,} neurons")


def overlap_plot(comparison: Comparison, count: int) -> Figure:
    """A heat map of how many of the best `count` neurons each two methods share. BadData for one method alone."""
    _check(comparison, count)
    if len(comparison.methods) < 2:
        raise BadData("one method has no others to agree with", where="overlap")
    shares = comparison.overlaps[comparison.counts.index(count)]
    return heat_map(shares, comparison.methods, f"overlap of the top {count:,}", "share of the neurons")


def _check(comparison: Comparison, count: int) -> None:
    if count not in comparison.counts:
        raise BadData(f"there are {', '.join(map(str, comparison.counts))}, not {count}", where="count")


def _accuracies(comparison: Comparison) -> pd.DataFrame:
    import pandas as pd

    frame = pd.concat([each.to_pandas() for each in comparison.evaluations], ignore_index=True)
    return frame[frame["measure"] == "accuracy"].drop(columns="measure").reset_index(drop=True)


def _of_layers(comparison: Comparison, count: int) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (each.method, count, site, number)
        for each in comparison.evaluations
        for site, number in each.layers[count].items()
    ]
    return pd.DataFrame(rows, columns=["method", "count", "site", "neurons"])


def _overlaps(comparison: Comparison, count: int) -> pd.DataFrame:
    frame = comparison.to_tables()["overlap"]
    return frame[frame["count"] == count].reset_index(drop=True)
