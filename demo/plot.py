"""The demo's picture: where the held-out occupations lie, before and after."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.data import HELD_OUT
from demo.evaluate import Evaluation

__all__ = ["save"]

BEFORE, AFTER, CONTROL = "#b8b8c4", "#d1495b", "#edae49"


def save(path: Path, evaluation: Evaluation) -> None:
    """Draws the gap of each occupation on the left, the spreads on the right."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
    draw_occupations(left, evaluation)
    draw_spreads(right, evaluation)
    figure.suptitle(f"{len(evaluation.clamps)} of {evaluation.neurons:,} neurons clamped", fontsize=15, weight="bold")
    figure.savefig(path, dpi=150)


def draw_occupations(axes: Axes, evaluation: Evaluation) -> None:
    """A line an occupation, from its gap before to its gap after."""
    before, after = evaluation.before.gaps.mean(axis=1), evaluation.after.gaps.mean(axis=1)
    order = np.argsort(before)
    rows = np.arange(len(order))
    axes.hlines(rows, before[order], after[order], color=BEFORE, linewidth=2, zorder=1)
    axes.scatter(before[order], rows, s=60, color=BEFORE, label="as it is", zorder=2)
    axes.scatter(after[order], rows, s=60, color=AFTER, label="clamped", zorder=3)
    axes.axvline(0, color="black", linewidth=0.8, zorder=0)
    axes.set_yticks(rows, [HELD_OUT.occupations[place] for place in order])
    axes.set_xlabel('← "he"      log p(" she") − log p(" he"), mean over held-out templates      "she" →')
    axes.legend(loc="lower right", frameon=False)
    tidy(axes)


def draw_spreads(axes: Axes, evaluation: Evaluation) -> None:
    """A bar a condition; a dot a random draw."""
    random = [outcome.spread for outcome in evaluation.random]
    heights = [evaluation.before.spread, evaluation.after.spread, evaluation.random_spread]
    labels = ["as it is", "clamped", f"{len(evaluation.clamps)} random\nneurons"]
    bars = axes.bar(labels, heights, color=[BEFORE, AFTER, CONTROL], width=0.7)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.scatter([2] * len(random), random, color="black", s=12, zorder=3)
    axes.set_ylabel("spread of the gap over held-out occupations")
    tidy(axes)


def tidy(axes: Axes) -> None:
    """Takes the box away."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
