from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.evaluation.compatibility import (
    average_overlap,
    borda,
    distributedness,
    neuron_vote,
    overlaps,
    top_places,
)
from patchclamp_analysis.results import Ranking

TOPS = np.array([[0, 1, 2, 3], [1, 0, 2, 9], [5, 6, 7, 0]])


def ranking(
    scores: NDArray[np.float64],
    classes: tuple[str, ...] = (),
    class_scores: NDArray[np.float64] | None = None,
    details: Mapping[str, NDArray[np.float64]] | None = None,
) -> Ranking:
    neurons = Neurons.all_of([Site("site", len(scores))])
    class_scores = np.zeros((len(classes), len(scores))) if class_scores is None else class_scores
    return Ranking("m", neurons, scores, classes, class_scores, details=details or {})


def test_overlaps_by_hand():
    assert np.allclose(overlaps(TOPS), [[1, 0.75, 0.25], [0.75, 1, 0.25], [0.25, 0.25, 1]])
    assert np.allclose(overlaps(TOPS, "jaccard"), [[1, 3 / 5, 1 / 7], [3 / 5, 1, 1 / 7], [1 / 7, 1 / 7, 1]])


def test_average_overlap_by_hand():
    assert np.allclose(average_overlap(TOPS), [0.5, 0.5, 0.25])


def test_borda_by_hand():
    # 0: 4 + 3 + 1 = 8 points; 1: 3 + 4 = 7; 2: 2 + 2 = 4; 5: 4; 6: 3; 7: 2; 3 and 9: 1.
    assert borda(TOPS).tolist() == [0, 1, 2, 5, 6, 7, 3, 9]


def test_neuron_vote_by_hand():
    # Against the first, 1 and 2 elect 1 and 0 (4 points each), 5, 6: two in common. Against the second 0 (5), 5, 1, 6;
    # against the third 0 and 1 (7 each), 2 (4), and 3 before 9 (1 each).
    assert np.allclose(neuron_vote(TOPS), [0.5, 0.5, 0.25])


@given(st.integers(2, 5), st.integers(1, 30), st.data())
def test_lists_agree_with_sets(methods, width, data):
    count = data.draw(st.integers(1, width))
    scores = [data.draw(arrays(np.float64, width, elements=st.integers(0, 5))) for _ in range(methods)]
    rankings = [ranking(values) for values in scores]
    tops = top_places(rankings, count)
    sets = [{neuron.index for neuron in each.top(count)} for each in rankings]
    expected = [[len(a & b) / count for b in sets] for a in sets]
    assert np.allclose(overlaps(tops), expected)
    assert np.allclose(overlaps(tops, "jaccard"), [[len(a & b) / len(a | b) for b in sets] for a in sets])
    assert ((average_overlap(tops) >= 0) & (average_overlap(tops) <= 1)).all()
    assert ((neuron_vote(tops) >= 0) & (neuron_vote(tops) <= 1)).all()


@given(st.integers(2, 4), st.integers(1, 8))
def test_equal_rankings_agree_wholly(methods, count):
    tops = top_places([ranking(np.arange(8.0))] * methods, count)
    assert average_overlap(tops).tolist() == neuron_vote(tops).tolist() == [1.0] * methods


@pytest.mark.parametrize("measure", [average_overlap, neuron_vote])
def test_one_ranking_has_no_others(measure):
    with pytest.raises(BadData, match="two or more"):
        measure(TOPS[:1])


def test_rankings_of_other_neurons():
    with pytest.raises(BadData, match="other neurons"):
        top_places([ranking(np.ones(3)), ranking(np.ones(4))], 2)


@pytest.mark.parametrize("count", [0, 4])
def test_count_out_of_range(count):
    with pytest.raises(BadData, match="out of range"):
        top_places([ranking(np.ones(3))], count)


def test_distributedness_of_scores():
    found = ranking(np.ones(4), classes=("a", "b", "c"), class_scores=np.array([[9, 1, 0, 0], [1, 1, 1, 1], [-1] * 4]))
    assert distributedness(found) == {"a": 1, "b": 2, "c": 0}
    assert distributedness(found, 0.95) == {"a": 2, "b": 4, "c": 0}


def test_distributedness_of_weights_comes_first():
    weights = np.array([[1.0, -1.0, 0.0, 0.0]])
    found = ranking(np.ones(4), classes=("a",), class_scores=np.array([[9.0, 0, 0, 0]]), details={"weights": weights})
    assert distributedness(found, 0.8) == {"a": 2}
