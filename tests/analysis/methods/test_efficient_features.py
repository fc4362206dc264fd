"""Efficient features: few layers and neurons that do nearly as well as all."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from patchclamp_analysis.data import Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.efficient_features import EfficientFeatures, Reduction
from patchclamp_analysis.methods.probeless import Probeless
from patchclamp_analysis.progress import Progress


def redundant(rows: int = 2000, seed: int = 0) -> Data:
    """Four layers of 50 neurons: in the second five that say the class, each there ten times, once turned over; noise
    in the first; the others say what the second does.
    """
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 5, rows)
    signal = draw.standard_normal((rows, 5)) + 5 * np.eye(5)[y]
    copies = np.repeat(signal, 10, axis=1) * np.where(np.arange(50) % 10 == 9, -3, 1)
    layers = [draw.standard_normal((rows, 50)), copies, copies + 0.1 * draw.standard_normal((rows, 50)), copies]
    sites = {f"layers.{number}.residual": x.astype(np.float32) for number, x in enumerate(layers)}
    return Data.from_arrays(sites, np.array(list("abcde"), dtype=object)[y])


@cache
def reduced() -> Reduction:
    return EfficientFeatures().reduce(redundant(), redundant(seed=1))


def test_finds_what_is_enough():
    found = reduced()
    assert [stage.step for stage in found.stages] == ["oracle", "layers", "clusters", "ranking"]
    assert [stage.layers for stage in found.stages] == [4, 2, 2, 2]
    assert [len(stage.trial.neurons) for stage in found.stages] == [200, 100, 55, 8]
    oracle = found.stages[0].trial.accuracy
    assert found.stages[-1].trial.accuracy >= 0.99 * oracle
    signals = [neuron.index // 10 for neuron in found.neurons if neuron.site == "layers.1.residual"]
    assert sorted(signals) == [0, 1, 2, 3, 4]


def test_copies_are_clusters():
    clusters = reduced().clusters
    assert [len(group) for group in clusters.members()[:6]] == [10, 10, 10, 10, 10, 1]


def test_the_table():
    frame = reduced().to_pandas()
    assert frame["step"].tolist() == ["oracle", "layers", "clusters", "ranking"]
    assert frame["neurons"].tolist() == [len(stage.trial.neurons) for stage in reduced().stages]
    assert frame["of_neurons"].tolist() == [neurons / 200 for neurons in frame["neurons"]]
    assert frame["of_oracle"][0] == frame["speed_up"][0] == 1
    assert frame["of_oracle"].iloc[-1] >= 0.99
    assert frame["speed_up"].iloc[-1] == reduced().speed_up


def test_finds_the_same_again():
    again = EfficientFeatures().reduce(redundant(), redundant(seed=1))
    assert again.neurons == reduced().neurons
    assert again.to_pandas().drop(columns="speed_up").equals(reduced().to_pandas().drop(columns="speed_up"))


def test_with_another_ranking():
    found = EfficientFeatures().reduce(redundant(), ranking=Probeless())
    assert found.stages[-1].step == "ranking"
    assert {neuron.site for neuron in found.neurons} == {"layers.1.residual"}


def test_stays_with_the_clusters_where_no_percentage_is_enough():
    found = EfficientFeatures(percents=(0.5,)).reduce(redundant())
    assert [stage.step for stage in found.stages] == ["oracle", "layers", "clusters"]


def test_needs_classes():
    with pytest.raises(BadData, match="needs a class"):
        EfficientFeatures().reduce(Data.from_arrays(np.ones((9, 3))))


def test_progress_and_cancel():
    seen: list[float] = []
    EfficientFeatures().reduce(redundant(600), progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    left = iter(range(60))
    with pytest.raises(Cancelled):
        EfficientFeatures().reduce(redundant(600), progress=Progress(cancelled=lambda: next(left, None) is None))
