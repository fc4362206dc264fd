from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.probe import Probe
from safetensors.numpy import save_file
from scipy.stats import pearsonr, spearmanr


def probe(classes: tuple[str, ...] = ("a", "b")) -> Probe:
    """Says b where the first neuron is above 3."""
    return Probe(
        Neurons.all_of([Site("s", 2)]),
        classes,
        np.array([[0.0, 0.0], [2.0, 0.0]], np.float32),
        np.array([0.0, -1.0], np.float32),
        np.array([2.0, 1.0], np.float32),
        np.array([2.0, 1.0], np.float32),
        "letter",
    )


def data(values: list[float], labels: list[str]) -> Data:
    return Data.from_arrays({"s": np.column_stack((values, np.ones(len(values))))}, labels)


def test_logits_and_predictions():
    rows = data([3.0, 5.0, 1.0], ["a", "b", "b"])
    assert probe().logits(rows).tolist() == [[0.0, 0.0], [0.0, 2.0], [0.0, -2.0]]
    assert probe().predict(rows).tolist() == [0, 1, 0]


def test_scores():
    scores = probe().score(data([0.0, 5.0, 1.0, 9.0], ["a", "b", "b", "b"]))
    assert scores.accuracy == 0.75
    assert dict(scores.per_class) == pytest.approx({"a": 1.0, "b": 2 / 3})
    assert scores.majority == 0.75
    logits = np.array([0.0 - 3.0, 2.0, -2.0, 6.0]) * [-1, 1, 1, 1]
    assert scores.loss == pytest.approx(np.mean(np.log1p(np.exp(-logits))), rel=1e-5)


def test_rows_of_unknown_classes_are_wrong():
    scores = probe().score(data([0.0, 5.0, 5.0], ["a", "b", "c"]))
    assert scores.rows == 3
    assert scores.accuracy == pytest.approx(2 / 3)


def test_other_neurons_are_refused():
    with pytest.raises(BadData, match="other neurons"):
        probe().score(Data.from_arrays({"t": np.zeros((2, 2))}, ["a", "b"]))


def test_targets_need_a_regression():
    with pytest.raises(BadData, match="labels, one of numbers targets"):
        probe().score(Data.from_arrays({"s": np.zeros((2, 2))}, targets=[0.0, 1.0]))


def test_scores_of_a_regression():
    draw = np.random.default_rng(0)
    targets = draw.standard_normal(50)
    rows = Data.from_arrays({"s": draw.standard_normal((50, 2))}, targets=targets)
    made = replace(probe(()), weights=np.array([[1.0, 2.0]], np.float32), bias=np.zeros(1, np.float32))
    scores, predicted = made.score(rows), made.logits(rows)[:, 0].astype(np.float64)
    assert scores.pearson == pytest.approx(pearsonr(predicted, targets).statistic)
    assert scores.spearman == pytest.approx(spearmanr(predicted, targets).statistic)
    assert scores.loss == pytest.approx(np.mean((predicted - targets) ** 2), rel=1e-5)


def test_a_constant_target_correlates_with_nothing():
    rows = Data.from_arrays({"s": np.arange(6.0).reshape(3, 2)}, targets=[1.0, 1.0, 1.0])
    assert LinearProbe().fit(rows).score(rows).pearson == 0.0


@pytest.mark.parametrize("value", ["zero", "mean"])
def test_ablated_is_as_other_data(value):
    rows = data([0.0, 5.0, 3.5], ["a", "b", "b"])
    made = replace(probe(), weights=np.array([[0.5, -1.0], [2.0, 3.0]], np.float32))
    changed = rows.matrix().copy()
    changed[:, 0] = 0.0 if value == "zero" else made.mean[0]
    expected = made.logits(Data.from_arrays({"s": changed}))
    assert np.allclose(made.ablated([1], value).logits(rows), expected, atol=1e-6)
    assert made.weights[0, 0] == 0.5


def test_saved_and_loaded(tmp_path):
    probe().save(tmp_path / "probe.safetensors")
    loaded = Probe.load(tmp_path / "probe.safetensors")
    assert (loaded.neurons, loaded.classes, loaded.label) == (probe().neurons, ("a", "b"), "letter")
    for name in ("weights", "bias", "mean", "scale"):
        assert np.array_equal(getattr(loaded, name), getattr(probe(), name))
    assert [file.name for file in tmp_path.iterdir()] == ["probe.safetensors"]


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00[]"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "probe").write_bytes(content)
    with pytest.raises(BadData, match="this is no probe: it is not safetensors, as `save` writes it"):
        Probe.load(tmp_path / "probe")


def test_other_tensors_are_refused(tmp_path):
    save_file({"weights": np.zeros(3)}, tmp_path / "probe")
    with pytest.raises(BadData, match="this is no probe: there is no 'probe' in it"):
        Probe.load(tmp_path / "probe")


def test_shows_itself_in_a_line():
    assert repr(probe()) == "<Probe of letter: 2 neurons, 2 classes>"
    assert repr(probe(())) == "<Probe of letter: 2 neurons, a regression>"
