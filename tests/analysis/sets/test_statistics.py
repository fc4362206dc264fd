from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.sets.statistics import Moments


def reference(values: NDArray[Any], groups: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Two passes in float64, each group by itself; NaN where it is empty."""
    found = np.full((4, count, values.shape[1]), np.nan)
    for group in range(count):
        if (rows := values[groups == group].astype(np.float64)).size:
            found[:, group] = rows.mean(0), rows.var(0), rows.min(0), rows.max(0)
    return found


def in_blocks(values: NDArray[Any], groups: NDArray[Any], count: int, cuts: Sequence[int] = ()) -> Moments:
    moments = Moments(count, values.shape[1])
    edges = sorted({0, len(values), *(cut % (len(values) + 1) for cut in cuts)})
    for left, right in pairwise(edges):
        moments.add(values[left:right], groups[left:right])
    return moments


@given(st.data())
def test_blocks_give_what_two_passes_give(data):
    rows, width, count = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 4)), data.draw(st.integers(0, 5))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = draw.standard_normal((rows, width), np.float32) + np.float32(data.draw(st.sampled_from([0, 3, -1e4])))
    groups = draw.integers(-1, count, rows)
    moments = in_blocks(values, groups, count, data.draw(st.lists(st.integers(0, 60))))
    np.testing.assert_allclose(moments.values(), reference(values, groups, count), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(moments.count, [(groups == group).sum() for group in range(count)])


@pytest.mark.parametrize("offset", [1e4, -1e6])
def test_variance_survives_a_large_mean(offset):
    values = (np.random.default_rng(0).standard_normal((5000, 2)) + offset).astype(np.float32)
    found = in_blocks(values, np.zeros(5000, int), 1, range(0, 5000, 77)).statistics()
    np.testing.assert_allclose(found.variance, values.astype(np.float64).var(0), rtol=1e-6)


def test_groups_far_apart_keep_their_variances():
    draw = np.random.default_rng(0)
    groups = draw.integers(0, 2, 3000)
    values = np.where(groups == 0, 1e6, -1e-3)[:, None].astype(np.float32) * draw.uniform(0.999, 1, (3000, 1))
    values = values.astype(np.float32)
    found = in_blocks(values, groups, 2, range(0, 3000, 100)).values()
    np.testing.assert_allclose(found, reference(values, groups, 2), rtol=1e-6)


def test_a_constant_has_no_variance():
    found = in_blocks(np.full((1000, 3), 0.1, np.float32), np.zeros(1000, int), 1, range(0, 1000, 7)).statistics()
    assert found.count == 1000
    assert (found.variance == 0).all()
    assert (found.mean == np.float32(0.1)).all()


def test_a_variance_beyond_float32_is_infinite():
    found = in_blocks(np.array([[3e38], [-3e38]], np.float32), np.zeros(2, int), 1).statistics()
    assert (found.mean[0], found.variance[0], found.maximum[0]) == (0, np.inf, np.float32(3e38))


def test_the_input_stays_as_it_is():
    values, groups = np.random.default_rng(0).random((9, 2), np.float32), np.array([2, 0, 1, -1, 2, 0, 1, 1, 0])
    before = values.copy(), groups.copy()
    Moments(3, 2).add(values, groups)
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(groups, before[1])
