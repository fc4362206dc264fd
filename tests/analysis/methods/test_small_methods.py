"""Methods of few lines against their definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.data import Data
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.iou import Iou
from patchclamp_analysis.methods.mean_select import MeanSelect
from patchclamp_analysis.methods.mutual_information import MutualInformation
from patchclamp_analysis.methods.probeless import Probeless
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score

seeds = st.integers(0, 1000)


def random_data(seed: int, rows: int = 60, width: int = 4, classes: int = 5) -> Data:
    draw = np.random.default_rng(seed)
    y = np.concatenate((np.arange(classes), draw.integers(0, classes, rows - classes)))
    x = draw.standard_normal((rows, width)) * draw.choice((0.1, 1.0, 100.0), width) + draw.normal(size=width)
    return Data.from_arrays(x.astype(np.float32), y)


def means(data: Data) -> np.ndarray:
    return np.stack([data.matrix()[data.y == number].mean(axis=0) for number in range(len(data.classes))])


@given(seeds, st.booleans())
def test_probeless_is_the_sum_over_pairs(seed, scale):
    data = random_data(seed)
    centres = means(data) / (data.matrix().std(axis=0) if scale else 1.0)
    pairs = np.abs(centres[:, None] - centres[None])
    ranking = Probeless(scale=scale).rank(data)
    assert np.allclose(ranking.class_scores, pairs.sum(axis=1), rtol=1e-4)
    assert np.allclose(ranking.scores, pairs.sum(axis=(0, 1)) / 2, rtol=1e-4)


@given(seeds, st.sampled_from(["range", "deviation"]))
def test_mean_select_is_the_difference_to_the_rest(seed, by):
    data = random_data(seed)
    x = data.matrix()
    spread = x.max(axis=0) - x.min(axis=0) if by == "range" else x.std(axis=0)
    ranking = MeanSelect(by=by).rank(data)
    for number in range(len(data.classes)):
        own, rest = x[data.y == number].mean(axis=0), x[data.y != number].mean(axis=0)
        assert np.allclose(ranking.details["signed"][number], (own - rest) / spread, atol=1e-5)
    assert np.array_equal(ranking.class_scores, np.abs(ranking.details["signed"]))


@given(seeds)
def test_mean_select_lets_the_classes_take_turns(seed):
    ranking = MeanSelect().rank(random_data(seed, width=12))
    best = np.argsort(-ranking.class_scores, axis=1)
    order: list[int] = []
    for turn in range(12):
        sizes = {int(row[turn]): 0.0 for row in best}
        for row, scores in zip(best, ranking.class_scores, strict=True):
            sizes[int(row[turn])] = max(sizes[int(row[turn])], scores[row[turn]])
        order += [neuron for neuron in sorted(sizes, key=lambda each: -sizes[each]) if neuron not in order]
    assert ranking.order().tolist() == order
    assert ranking.scores[order] == pytest.approx(1 / np.arange(1, 13))


def test_mean_select_leaves_no_class_out():
    y = np.repeat(np.arange(10), 50)
    classes, sizes = np.array([0] * 20 + list(range(1, 10))), np.array([5.0] * 20 + [0.3] * 9)
    noise = 0.1 * np.random.default_rng(0).standard_normal((500, 29))
    ranking = MeanSelect().rank(Data.from_arrays(noise + sizes * (y[:, None] == classes), y))
    assert set(ranking.order()[:10].tolist()) > set(range(20, 29))


def iou(fires: np.ndarray, belongs: np.ndarray) -> float:
    union = (fires | belongs).sum()
    return float((fires & belongs).sum() / union) if union else 0.0


@given(seeds, st.sampled_from(["positive", "negative", "absolute"]), st.floats(-1.0, 1.0))
def test_iou_by_threshold(seed, sign, threshold):
    data = random_data(seed)
    x = {"positive": data.matrix(), "negative": -data.matrix(), "absolute": np.abs(data.matrix())}[sign]
    ranking = Iou(sign=sign, threshold=threshold).rank(data)
    for number in range(len(data.classes)):
        for neuron in range(4):
            expected = iou(x[:, neuron] > np.float32(threshold), data.y == number)
            assert ranking.class_scores[number, neuron] == pytest.approx(expected, abs=1e-12)


@given(seeds, st.floats(0.01, 1.0))
def test_iou_by_share(seed, share):
    data = random_data(seed)
    ranking = Iou(share=share).rank(data)
    for neuron in range(4):
        column = data.matrix()[:, neuron]
        fires = column >= np.sort(column)[::-1][max(int(share * len(column)) - 1, 0)]
        if int(share * len(column)) == 0:
            fires[:] = False
        assert ranking.class_scores[2, neuron] == pytest.approx(iou(fires, data.y == 2), abs=1e-12)


def test_iou_above_chance():
    y = np.array([0] * 80 + [1] * 20)
    x = np.stack([np.ones(100), np.zeros(100), y, np.arange(100) % 2], axis=1)
    ranking = Iou(threshold=0.5).rank(Data.from_arrays(x, y))
    assert ranking.scores[:3] == pytest.approx([0.0, 0.0, 1.0], abs=1e-12)
    assert ranking.scores_of("0")[0] == 0.8
    assert ranking.scores[3] == pytest.approx(0.0, abs=0.01)


def test_iou_of_the_better_side():
    y = np.array([0] * 50 + [1] * 50)
    data = Data.from_arrays((y - 0.5)[:, None], y)
    ranking = Iou(sign="both").rank(data)
    assert ranking.class_scores[:, 0].tolist() == [1.0, 1.0]
    assert ranking.details["sign"][:, 0].tolist() == [-1, 1]


@given(seeds, st.integers(2, 12))
def test_mutual_information_is_that_of_the_bins_less_the_bias(seed, bins):
    data = random_data(seed, rows=200)
    ranking = MutualInformation(bins=bins).rank(data)
    for neuron in range(4):
        order = np.argsort(data.matrix()[:, neuron])
        edges = [number * len(data) // bins for number in range(1, bins)]
        binned = np.searchsorted(edges, np.arange(len(data)), side="right")[np.argsort(order)]
        overall = mutual_info_score(binned, data.y) / np.log(2) - (bins - 1) * 4 / (400 * np.log(2))
        assert ranking.details["bits"][neuron] == pytest.approx(max(overall, 0.0), abs=1e-9)
        one = mutual_info_score(binned, data.y == 3) / np.log(2) - (bins - 1) / (400 * np.log(2))
        uncertainty = mutual_info_score(data.y == 3, data.y == 3) / np.log(2)
        assert ranking.scores_of("3")[neuron] == pytest.approx(max(one, 0.0) / uncertainty, abs=1e-9)


def test_equal_values_stay_in_one_bin():
    y = np.arange(1000) % 2
    x = np.stack([y, np.zeros(1000), np.arange(1000) // 500], axis=1)
    ranking = MutualInformation(bins=10).rank(Data.from_arrays(x, y))
    assert ranking.scores[0] == pytest.approx(1.0, abs=0.01)
    assert ranking.scores[1:].tolist() == [0.0, 0.0]


def test_nearest_neighbours_are_scikit_learns():
    data = random_data(3)
    ranking = MutualInformation(estimator="knn", seed=5).rank(data)
    expected = [
        mutual_info_classif(data.matrix()[:, [neuron]], data.y, random_state=5)[0] / np.log(2) for neuron in range(4)
    ]
    assert ranking.details["bits"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("method", [Probeless(), MeanSelect(), Iou(), MutualInformation()])
def test_a_small_deviation_on_a_large_mean(method):
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 2000)
    small = (0.01 * draw.standard_normal((2000, 3)) + 0.02 * (y[:, None] * [0, 1, 0])).astype(np.float64)
    raised = Data.from_arrays((small + 100.0).astype(np.float32), y)
    if isinstance(method, Iou):
        method = Iou(share=0.5)
    assert method.rank(raised).order()[0] == 1
    assert np.allclose(method.rank(raised).scores, method.rank(Data.from_arrays(small, y)).scores, rtol=0.01, atol=0.01)


def test_targets_are_no_classes():
    with pytest.raises(BadData, match="needs a class"):
        Probeless().rank(Data.from_arrays(np.ones((3, 2)), targets=[0.1, 0.2, 0.3]))
