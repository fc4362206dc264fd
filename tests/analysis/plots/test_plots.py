"""What plots of rankings and tables show, and that text from the data does them no harm."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.evaluation.compatibility import distributedness
from patchclamp_analysis.plots import Plot, image, ranking_plots, table_plots
from patchclamp_analysis.plots.figures import new_figure, ticks
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.tables import Tables

SITES = ["embeddings", "layers.0.residual", "layers.1.residual"]
HOSTILE = "$x^ <b>&\x1f 漢$"


def ranking(seed: int, classes: tuple[str, ...] = ("NOUN", "VERB"), method: str = "made up") -> Ranking:
    draw = np.random.default_rng(seed)
    neurons = Neurons.all_of([Site(site, 4) for site in SITES])
    return Ranking(method, neurons, draw.random(12), classes, draw.random((len(classes), 12)))


def steps() -> pd.DataFrame:
    columns = ["step", "layers", "neurons", "of_neurons", "accuracy", "of_oracle", "speed_up"]
    rows = [("oracle", 3, 12, 1.0, 0.9, 1.0, 1.0), ("layers", 2, 8, 2 / 3, 0.9, 1.0, 1.4)]
    return pd.DataFrame(rows, columns=columns)


def neurons(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"site": np.repeat(SITES, 4), "index": np.tile(np.arange(4), 3)}).assign(**columns)


def made(method: str) -> Tables:
    """Tables as the methods write them, with text of the worst kind where it comes from the data."""
    draw = np.random.default_rng(0)
    scores = pd.DataFrame({"site": SITES, "accuracy": [0.5, 0.9, 0.7], "majority": 0.3, "loss": 1.0})
    layers = pd.DataFrame({"up to": SITES, "accuracy": [0.5, 0.8, 0.9], "of_oracle": [0.5, 0.8, 0.9]})
    chosen = pd.DataFrame({"loss": [0.1, 0.2, 0.3], "layer": [2, 1, 1], "up to": [SITES[2], SITES[1], SITES[1]]})
    pairs = pd.DataFrame({"one": [HOSTILE, HOSTILE, "b"], "other": ["b", "c", "c"], "similarity": [0.2, 0.3, 0.4]})
    activations = pd.DataFrame(draw.random((100, 2)), columns=["factor 0", "factor 1"])
    found: dict[str, dict[str, pd.DataFrame]] = {
        "correlation_clusters": {"neurons": neurons(cluster=0, size=[1, 2] * 6)},
        "cross_model": {"neurons": neurons(model=[HOSTILE, "b"] * 6, score=draw.random(12))},
        "efficient_features": {"steps": steps()},
        "layer_selector": {"layers": layers, "chosen": chosen},
        "nmf": {"activations": activations.assign(row=np.arange(100), word=HOSTILE)},
        "representation_analysis": {"sites": scores},
        "representation_similarity": {"similarity": pairs},
        "umap_kmeans": {"neurons": neurons(population=[0, 1, 2] * 4, x=draw.random(12), y=draw.random(12))},
    }
    return Tables(method, found[method], HOSTILE)


DRAWN = [
    "correlation_clusters",
    "cross_model",
    "efficient_features",
    "layer_selector",
    "nmf",
    "representation_analysis",
    "representation_similarity",
    "umap_kmeans",
]


def only(method: str) -> Plot:
    (plot,) = table_plots(made(method))
    return plot


@pytest.mark.parametrize("method", DRAWN)
def test_tables_become_pictures(method):
    plot = only(method)
    assert image(plot.figure, "png").startswith(b"\x89PNG")
    assert ElementTree.fromstring(image(plot.figure, "svg")).tag.endswith("svg")
    assert len(plot.data)


def test_there_is_no_plot_of_words():
    assert table_plots(Tables("top_words", {"words": pd.DataFrame()})) == ()


def test_tables_that_are_not_the_methods_own():
    with pytest.raises(BadData, match="no tables of nmf: there is no 'activations'"):
        table_plots(Tables("nmf", {}))


def test_a_probe_per_site():
    (axes,) = only("representation_analysis").figure.axes
    accuracies, majority = axes.lines
    assert np.array_equal(accuracies.get_ydata(), [0.5, 0.9, 0.7])
    assert np.array_equal(majority.get_ydata(), [0.3] * 3)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["embeddings", "0", "1"]
    assert axes.get_xlabel() == "layers.*.residual"


def test_sites_of_two_kinds_have_their_whole_names():
    tables = made("representation_analysis")
    frame = tables["sites"].assign(site=["layers.0.mlp", "layers.0.residual", "layers.1.residual"])
    (plot,) = table_plots(Tables("representation_analysis", {"sites": frame}))
    (axes,) = plot.figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == frame["site"].tolist()


@pytest.mark.parametrize(
    ("names", "aslant"),
    [
        (["DET", "X"], []),
        (["embeddings", "0", "1"], ["embeddings"]),
        (["DET", "NOUN", "VERB"], ["DET", "NOUN", "VERB"]),
    ],
)
def test_long_names_stand_aslant_and_short_ones_beside_several_of_them(names, aslant):
    axes = new_figure().add_subplot()
    ticks(axes, names)
    assert [label.get_text() for label in axes.get_xticklabels() if label.get_rotation()] == aslant


def test_a_regression_is_shown_by_its_correlation():
    frame = pd.DataFrame({"site": SITES, "loss": 1.0, "pearson": [0.1, 0.2, 0.3], "spearman": 0.0})
    (plot,) = table_plots(Tables("representation_analysis", {"sites": frame}))
    (axes,) = plot.figure.axes
    assert [line.get_label() for line in axes.lines] == ["pearson"]


def test_losses_with_the_same_layer_share_a_line():
    (axes,) = only("layer_selector").figure.axes
    labels = [line.get_label() for line in axes.lines]
    assert labels[2:] == ["enough for a loss of 20 %, 30 %", "enough for a loss of 10 %"]
    assert [np.asarray(line.get_xdata())[0] for line in axes.lines[2:]] == [1, 2]


def test_similarities_are_symmetric():
    shown = only("representation_similarity").figure.axes[0].images[0].get_array()
    assert shown is not None
    assert np.array_equal(shown, [[1.0, 0.2, 0.3], [0.2, 1.0, 0.4], [0.3, 0.4, 1.0]])


def test_clusters_by_site():
    (axes,) = only("correlation_clusters").figure.axes
    assert [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)] == [2] * 6


def test_rankings_by_layer_and_class():
    rankings = {HOSTILE: ranking(0), "other": ranking(1)}
    layers, overlap, classes = ranking_plots(rankings, 5)
    assert [each.name for each in (layers, overlap, classes)] == ["layers", "overlap", "classes"]
    assert layers.data["neurons"].tolist() == [
        number for each in rankings.values() for number in each.distribution(5).values()
    ]
    spread = distributedness(rankings["other"])
    own = classes.data[classes.data["ranking"] == "other"].set_index("class")["neurons"]
    assert own.to_dict() == spread
    assert all(image(each.figure).startswith(b"\x89PNG") for each in (layers, overlap, classes))


def test_one_ranking_without_classes():
    assert [plot.name for plot in ranking_plots({"a": ranking(0, ())}, 5)] == ["layers"]


def test_rankings_of_other_neurons():
    other = Ranking("other", Neurons.all_of([Site("embeddings", 12)]), np.zeros(12), (), np.zeros((0, 12)))
    with pytest.raises(BadData, match="of other neurons than"):
        ranking_plots({"a": ranking(0), "b": other}, 5)
