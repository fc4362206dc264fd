"""Plots of what methods answer with: for those whose tables say more as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadData
from ..tables import Tables
from .figures import Plot, heat_map, legend, new_figure, plain, site_bars, site_ticks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["table_plots"]

# Words, and names in a legend, that a plot has room for.
_MOST_ROWS = 80
_MOST_NAMES = 30


def table_plots(tables: Tables) -> tuple[Plot, ...]:
    """The plots of a method's tables; none for a method whose tables are best read. BadData for tables that are not
    as the method makes them.
    """
    try:
        return _PLOTS[tables.method](tables) if tables.method in _PLOTS else ()
    except KeyError as error:
        raise BadData(f"these are no tables of {tables.method}: there is no {error}") from error


def _sites(tables: Tables) -> tuple[Plot, ...]:
    """Accuracy per site, or the correlation of a regression."""
    frame = tables["sites"]
    measure = "accuracy" if "accuracy" in frame else "pearson"
    figure = new_figure(max(6.0, 0.35 * len(frame)), 4.0)
    axes = figure.add_subplot()
    axes.plot(np.arange(len(frame)), frame[measure], marker="o", label=measure)
    if measure == "accuracy":
        axes.plot(np.arange(len(frame)), frame["majority"], color="black", linestyle=":", label="majority")
    site_ticks(axes, frame["site"].tolist())
    axes.set(ylabel=measure, title=plain(f"a probe per site: {tables.label}"))
    axes.grid(axis="y", alpha=0.3)
    legend(axes)
    return (Plot("sites", f"{measure.capitalize()} of a probe per site", figure, frame),)


def _layers(tables: Tables) -> tuple[Plot, ...]:
    """Accuracy with the layers up to each, and where it is enough."""
    frame, chosen = tables["layers"], tables["chosen"]
    figure = new_figure(max(8.0, 0.35 * len(frame)), 4.0)
    axes = figure.add_subplot()
    axes.plot(np.arange(len(frame)), frame["accuracy"], marker="o", label="layers up to here")
    axes.axhline(_oracle(frame), color="black", linewidth=1, label="all layers")
    for number, layer in enumerate(sorted(set(chosen["layer"].tolist())), 1):
        losses = ", ".join(f"{100 * loss:g} %" for loss in chosen["loss"][chosen["layer"] == layer])
        axes.axvline(layer, color=f"C{number}", linestyle="--", label=f"enough for a loss of {losses}")
    site_ticks(axes, frame["up to"].tolist())
    axes.set(ylabel="accuracy", title=plain(f"a probe of the layers from below: {tables.label}"))
    axes.grid(axis="y", alpha=0.3)
    legend(axes)
    return (Plot("layers", "Accuracy with the layers up to each", figure, frame),)


def _oracle(frame: pd.DataFrame) -> float:
    return float(frame["accuracy"].iloc[0] / frame["of_oracle"].iloc[0]) if frame["of_oracle"].iloc[0] else 0.0


def _steps(tables: Tables) -> tuple[Plot, ...]:
    """What each step leaves of the neurons and of the accuracy."""
    frame = tables["steps"]
    figure = new_figure(8.0, 4.0)
    axes = figure.add_subplot()
    places = np.arange(len(frame))
    oracle = f"accuracy (all: {frame['accuracy'].iloc[0]:.3f})"
    for offset, column, name in ((-0.2, "of_neurons", "neurons"), (0.2, "of_oracle", oracle)):
        bars = axes.bar(places + offset, frame[column], 0.38, label=name)
        axes.bar_label(bars, [f"{share:.1%}" for share in frame[column]], fontsize="small", padding=2)
    names = [f"{step}\n{count:,} neurons" for step, count in zip(frame["step"], frame["neurons"], strict=True)]
    axes.set_xticks(places, names)
    axes.set_ylim(0, 1.1 * max(1.0, float(frame["of_oracle"].max())))
    axes.set(ylabel="part of the oracle's", title=plain(f"what is left after each step: {tables.label}"))
    legend(axes)
    return (Plot("steps", "Neurons and accuracy after each step", figure, frame),)


def _similarity(tables: Tables) -> tuple[Plot, ...]:
    frame = tables["similarity"]
    names = list(dict.fromkeys([*frame["one"], *frame["other"]]))
    places = {name: place for place, name in enumerate(names)}
    values = np.eye(len(names))
    for one, other, value in zip(frame["one"], frame["other"], frame["similarity"], strict=True):
        values[places[one], places[other]] = values[places[other], places[one]] = value
    figure = heat_map(values, names, "similarity", str(tables.parameters.get("measure", "")))
    return (Plot("similarity", "How much alike each two are", figure, frame),)


def _map(tables: Tables) -> tuple[Plot, ...]:
    """Where each neuron is, in the colour of its population."""
    import matplotlib

    frame = tables["neurons"]
    figure = new_figure(7.5, 5.5)
    axes = figure.add_subplot()
    groups = list(frame.groupby("population"))
    size = float(np.clip(8000 / len(frame), 4, 30))
    for number, (population, members) in enumerate(groups):
        label = f"{population} ({len(members):,})"
        colour = matplotlib.colormaps["tab10" if len(groups) <= 10 else "tab20"](number % 20)
        axes.scatter(members["x"], members["y"], s=size, linewidths=0, color=colour, label=label, rasterized=True)
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", title="a map of the neurons", xticks=[], yticks=[])
    if len(groups) <= _MOST_NAMES:
        legend(axes, "population (neurons)", marker_scale=float(np.sqrt(30.0 / size)))
    return (Plot("map", "A map of the neurons and their populations", figure, frame),)


def _factors(tables: Tables) -> tuple[Plot, ...]:
    """How active each factor is at each of the first rows."""
    frame = tables["activations"].head(_MOST_ROWS)
    factors = [column for column in frame.columns if column.startswith("factor ")]
    values = frame[factors].to_numpy(np.float64).T
    strongest = values.max(axis=1, keepdims=True)
    figure = new_figure(max(6.0, 0.2 * len(frame)), 1.8 + 0.25 * len(factors))
    axes = figure.add_subplot()
    shares = np.divide(values, strongest, out=np.zeros_like(values), where=strongest > 0)
    picture = axes.imshow(shares, aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0)
    axes.set_yticks(np.arange(len(factors)), factors, fontsize="small")
    words = [plain(str(word)) for word in frame["word" if "word" in frame else "row"]]
    axes.set_xticks(np.arange(len(frame)), words, rotation=90, fontsize="x-small")
    axes.set_title("activity of each factor")
    figure.colorbar(picture, label="part of its largest")
    return (Plot("factors", f"Activity of the factors at the first {len(frame)} rows", figure, frame),)


def _cluster_sizes(tables: Tables) -> tuple[Plot, ...]:
    """How many neurons of each site say what others say too, and how many are alone."""
    frame = tables["neurons"]
    sites = dict.fromkeys(frame["site"])
    together = frame["size"] > 1
    counts = {
        name: {site: int(np.sum(chosen & (frame["site"] == site))) for site in sites}
        for name, chosen in (("in a cluster", together), ("alone", ~together))
    }
    figure = site_bars(counts, f"clusters at 1 − |ρ| ≤ {tables.parameters.get('threshold', '')}")
    return (Plot("clusters", "Neurons in clusters and alone, by site", figure, frame),)


def _scores(tables: Tables) -> tuple[Plot, ...]:
    """The scores of each model's neurons, best first: how much of it others have too."""
    frame = tables["neurons"]
    figure = new_figure(7.5, 4.0)
    axes = figure.add_subplot()
    for model, neurons in frame.groupby("model", sort=False):
        scores = np.sort(neurons["score"].to_numpy(np.float64))[::-1]
        axes.plot(np.arange(1, len(scores) + 1) / len(scores), scores, label=plain(f"{model} ({len(scores):,})"))
    axes.set(xlabel="part of the neurons, best first", ylabel=str(tables.parameters.get("measure", "score")))
    axes.set_ylim(0.0, 1.02)
    axes.grid(alpha=0.3)
    legend(axes, "model (neurons)")
    return (Plot("scores", "How much of each model's neurons others have too", figure, frame),)


_PLOTS: Mapping[str, Callable[[Tables], tuple[Plot, ...]]] = MappingProxyType(
    {
        "correlation_clusters": _cluster_sizes,
        "cross_model": _scores,
        "efficient_features": _steps,
        "layer_selector": _layers,
        "nmf": _factors,
        "representation_analysis": _sites,
        "representation_similarity": _similarity,
        "umap_kmeans": _map,
    }
)
