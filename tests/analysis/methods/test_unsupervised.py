"""Variance, distance from the mean, saturation, dead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike, NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.dead import Dead
from patchclamp_analysis.methods.distance_from_mean import DistanceFromMean
from patchclamp_analysis.methods.method import RankingMethod
from patchclamp_analysis.methods.saturation import Saturation
from patchclamp_analysis.methods.variance import Variance

from tests.analysis.methods.planted import NEURONS, TWINS, planted

matrices = arrays(np.float32, (7, 3), elements=st.floats(-100, 100, width=16))


def scores(method: RankingMethod, x: ArrayLike) -> NDArray[np.float64]:
    return method.rank(Data.from_arrays(np.asarray(x, np.float32))).scores


@given(matrices)
def test_variance(x):
    assert np.allclose(scores(Variance(), x), x.astype(np.float64).var(axis=0), rtol=1e-4, atol=1e-4)


@given(matrices)
def test_distance_from_mean(x):
    x64 = x.astype(np.float64)
    assert np.allclose(scores(DistanceFromMean(), x), np.abs(x64 - x64.mean(axis=0)).mean(axis=0), rtol=1e-4, atol=1e-4)


def test_scaled_distance_sees_shape_alone():
    switch = np.tile([-1.0, 1.0], 50)
    seldom = np.where(np.arange(100) == 0, 1.0, 0.0)
    found = scores(DistanceFromMean(scale=True), np.stack([switch, 1000 * switch, seldom], axis=1))
    assert found == pytest.approx([1.0, 1.0, 2 * 0.01 * 0.99 / np.sqrt(0.01 * 0.99)], rel=1e-5)


def test_a_large_mean_does_not_drown_variance():
    x = np.column_stack([10_000 + np.tile([-0.5, 0.5], 500), np.tile([-0.25, 0.25], 500)])
    assert scores(Variance(), x) == pytest.approx([0.25, 0.0625])


@pytest.mark.parametrize("method", [Variance(), DistanceFromMean()])
def test_scale_comes_first_and_twins_tie(method):
    ranking = method.rank(planted())
    assert ranking.order()[0] == NEURONS["noise of large scale"]
    assert ranking.scores[TWINS[0]] == ranking.scores[0]


def test_saturation_of_gates():
    gates = [[0.05, 0.5, 0.95], [0.02, 0.5, 0.05], [0.99, 0.89, 0.5], [0.5, 0.11, 0.5]]
    ranking = Saturation(of="value").rank(Data.from_arrays(np.array(gates, np.float32)))
    assert ranking.details["left"].tolist() == [0.5, 0.0, 0.25]
    assert ranking.details["right"].tolist() == [0.25, 0.0, 0.25]
    assert ranking.scores.tolist() == [0.75, 0.0, 0.5]


def test_saturation_by_range_does_not_depend_on_scale():
    x = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    x[:, 1] = 64 * x[:, 0] - 8
    switch = np.where(np.arange(200) % 2, 5.0, -3.0)[:, None]
    found = scores(Saturation(), np.hstack([x, switch, np.full((200, 1), 7)]))
    assert found[0] == found[1]
    assert found[2:].tolist() == [1.0, 0.0]


def test_saturation_needs_its_bounds_in_order():
    with pytest.raises(BadData, match=r"saturation.low: 0.9 is above high = 0.1"):
        Saturation(low=0.9, high=0.1)


def test_dead_neurons_come_first():
    x = np.array([[0, 1, 0, 1e-4], [0, 2, 3, 0], [0, 0, 0, -1e-4], [0, -1, 0, 0]], np.float32)
    ranking = Dead().rank(Data.from_arrays(x))
    assert ranking.scores.tolist() == [1.0, 0.25, 0.75, 0.5]
    assert ranking.details["largest"] == pytest.approx([0, 2, 3, 1e-4])
    assert Dead(threshold=1e-3).rank(Data.from_arrays(x)).scores.tolist() == [1.0, 0.25, 0.75, 1.0]


def test_dead_is_not_constant():
    ranking = Dead().rank(planted())
    assert ranking.order()[0] == NEURONS["dead"]
    assert ranking.scores[NEURONS["constant"]] == 0


@pytest.mark.parametrize("method", [Variance(), DistanceFromMean(), DistanceFromMean(scale=True), Saturation()])
def test_a_mean_that_float32_barely_holds_changes_nothing(method):
    sixteenths = np.random.default_rng(0).integers(-30, 32, (700, 3)) / 16
    assert scores(method, 1e6 + sixteenths) == pytest.approx(scores(method, sixteenths), rel=1e-5)
