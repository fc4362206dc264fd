from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.moments import moments
from patchclamp_analysis.data.scaling import Scaling
from patchclamp_analysis.errors import BadData


@given(st.integers(0, 1000), st.sampled_from([1.0, 1e-3, 1e4]), st.floats(-50.0, 50.0))
def test_moments_are_those_of_numpy(seed, scale, shift):
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(2, 200))
    x = (scale * (draw.standard_normal((rows, 3)) + shift)).astype(np.float32)
    data = Data.from_arrays(x, draw.integers(0, 4, rows), classes=["0", "1", "2", "3", "none"])
    found, wide = moments(data), x.astype(np.float64)
    assert np.allclose(found.mean, wide.mean(axis=0), rtol=1e-5, atol=1e-5 * scale)
    assert np.allclose(found.variance, wide.var(axis=0), rtol=1e-4)
    assert np.array_equal(found.minimum, wide.min(axis=0))
    assert np.array_equal(found.maximum, wide.max(axis=0))
    for number in range(4):
        own = wide[data.y == number]
        assert found.counts[number] == len(own)
        if len(own):
            assert np.allclose(found.class_means[number], own.mean(axis=0), rtol=1e-5, atol=1e-5 * scale)
            assert np.allclose(found.class_variances[number], own.var(axis=0), rtol=1e-3, atol=1e-5 * scale**2)


def test_a_class_without_rows_has_the_overall_mean():
    found = moments(Data.from_arrays(np.array([[1.0], [3.0]]), ["a", "b"], classes=["a", "b", "c"]))
    assert found.class_means[:, 0].tolist() == [1.0, 3.0, 2.0]
    assert found.class_variances[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_rows_without_classes_count_overall():
    found = moments(Data.from_arrays(np.array([[1.0], [3.0]])))
    assert found.mean.tolist() == [2.0]
    assert found.variance.tolist() == [1.0]
    assert found.class_means.shape == (0, 1)


def test_a_small_deviation_of_many_rows_on_a_large_mean():
    draw = np.random.default_rng(0)
    x = (1000.0 + 0.5 * draw.standard_normal((50_000, 2))).astype(np.float32)
    found = moments(Data.from_arrays(x))
    assert found.variance == pytest.approx(x.astype(np.float64).var(axis=0), rel=1e-4)


def test_constant_neurons():
    x = np.array([[0.1, 1.0, 1e-30], [0.1, 2.0, 2e-30]], np.float32)
    found = moments(Data.from_arrays(x))
    assert found.constant.tolist() == [True, False, True]
    assert found.scale.tolist() == [1.0, 0.5, 1.0]


def test_scaling_adds_a_one():
    data = Data.from_arrays(np.array([[1.0, 5.0], [3.0, 5.0]]))
    ((_, block),) = Scaling.of(data).blocks(data)
    assert block.tolist() == [[-1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    ((_, block),) = Scaling.of(data, standardise=False).blocks(data)
    assert block.tolist() == [[1.0, 5.0, 1.0], [3.0, 5.0, 1.0]]


def test_what_is_not_scaled_must_not_be_too_large_either():
    data = Data.from_arrays(np.array([[1.0, 1e25], [2.0, 1e25]]))
    with pytest.raises(BadData, match=r"neurons\[1\]: activations up to 1e\+25 are too large to square"):
        Scaling.of(data, standardise=False)


def test_what_is_too_large_to_square_is_refused():
    with pytest.raises(BadData, match=r"neurons\[1\]: activations up to 2e\+30 are too large to square"):
        moments(Data.from_arrays(np.array([[1.0, -2e30], [2.0, 1e30]])))
