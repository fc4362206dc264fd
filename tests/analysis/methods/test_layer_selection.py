"""The layer selector: the lowest layer that does."""

from __future__ import annotations

import numpy as np
import pytest
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.layer_selector import LayerSelector, layers_of
from patchclamp_analysis.progress import Progress

SITES = ("embeddings", "layers.0.residual", "layers.1.residual", "layers.2.residual")

# Enough passes over the few rows for probes to come near to their optimum.
SELECTOR = LayerSelector(epochs=30)


def layered(strengths: tuple[float, ...] = (0.0, 1.0, 7.0, 7.0), rows: int = 1500, seed: int = 0) -> Data:
    """Layers of 6 neurons, the first three of which say the class as strongly as is given."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, rows)
    sites = {}
    for site, strength in zip(SITES, strengths, strict=True):
        x = draw.standard_normal((rows, 6)).astype(np.float32)
        x[:, :3] += strength * np.eye(3, dtype=np.float32)[y]
        sites[site] = x
    return Data.from_arrays(sites, np.array(["a", "b", "c"], dtype=object)[y])


def test_finds_the_lowest_layer():
    found = SELECTOR.select(layered())
    assert dict(found.chosen) == {0.01: 2, 0.02: 2, 0.03: 2}
    assert found.sites(0.01) == SITES[:3]
    accuracies = [trial.accuracy for trial in found.reached]
    assert len(accuracies) == 3
    assert accuracies[0] < 0.5 < accuracies[1] < 0.97 * found.oracle.accuracy
    assert accuracies[2] >= 0.99 * found.oracle.accuracy


def test_more_loss_is_a_lower_layer():
    found = LayerSelector(losses=(0.01, 0.5), epochs=30).select(layered())
    assert found.chosen[0.5] == 1 < found.chosen[0.01]


def test_all_layers_where_the_last_counts():
    found = LayerSelector(losses=(0.0,), epochs=30).select(layered((0.0, 0.0, 0.0, 3.0)))
    assert found.chosen[0.0] == 3
    assert found.reached[-1] is found.oracle


def test_judges_on_other_rows_if_given():
    data, test = layered(), layered(seed=1)
    misnamed = test.with_labels(["a"] * len(test))
    assert SELECTOR.select(data, misnamed).oracle.accuracy < 0.5 < SELECTOR.select(data).oracle.accuracy
    with pytest.raises(BadData, match="of other neurons"):
        SELECTOR.select(data, test.keep([1, 2, 3]))


def test_one_layer():
    found = SELECTOR.select(layered().of_site("layers.2.residual"))
    assert found.sites(0.01) == ("layers.2.residual",)


def test_layers_are_ordered_by_number():
    names = ("layers.10.mlp", "layers.2.mlp", "decoder.layers.2.attention", "embeddings", "layers.3.mlp")
    neurons = Neurons.all_of([Site(f"{name}.neurons" if "layers" in name else name, 2) for name in names])
    layers = layers_of(neurons.keep([0, 1, 2, 3, 4, 5, 6]))
    assert [[site.removesuffix(".neurons") for site in sites] for sites, _ in layers] == [
        ["embeddings"],
        ["layers.2.mlp", "decoder.layers.2.attention"],
        ["layers.10.mlp"],
    ]
    assert [places.tolist() for _, places in layers] == [[6], [2, 3, 4, 5], [0, 1]]


def test_the_table():
    frame = SELECTOR.select(layered()).to_pandas()
    assert frame.columns.tolist() == ["up to", "accuracy", "of_oracle"]
    assert frame["up to"].tolist() == list(SITES[:3])


def test_progress_and_cancel():
    seen: list[float] = []
    SELECTOR.select(layered(), progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    left = iter(range(30))
    with pytest.raises(Cancelled):
        SELECTOR.select(layered(), progress=Progress(cancelled=lambda: next(left, None) is None))


def test_needs_a_loss():
    with pytest.raises(BadData, match=r"layer_selector\.losses: needs at least one"):
        LayerSelector(losses=())
