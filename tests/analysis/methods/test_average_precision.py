from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from patchclamp_analysis.data import Data
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.average_precision import AveragePrecision
from sklearn.metrics import average_precision_score

# Few values, so that there are ties; many, so that there are none; both zeros.
numbers = st.one_of(st.sampled_from([-2.0, -0.0, 0.0, 1.0]), st.floats(-(2.0**99), 2.0**99, width=32))


@st.composite
def rows(draw):
    count = draw(st.integers(2, 30))
    x = draw(arrays.arrays(np.float32, (count, 3), elements=numbers))
    y = draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    y[0], y[1] = "a", "b"
    return x, np.array(y)


@given(rows())
def test_is_that_of_scikit_learn_on_the_better_side(given_rows):
    x, y = given_rows
    ranking = AveragePrecision().rank(Data.from_arrays(x, y))
    for number, name in enumerate(ranking.classes):
        for neuron in range(3):
            sides = [average_precision_score(y == name, sign * x[:, neuron]) for sign in (1, -1)]
            assert ranking.class_scores[number, neuron] == pytest.approx(max(sides), abs=1e-12)
            if abs(sides[0] - sides[1]) > 1e-9:
                assert ranking.details["sign"][number, neuron] == (1 if sides[0] > sides[1] else -1)


@given(rows())
def test_one_side_only(given_rows):
    x, y = given_rows
    ranking = AveragePrecision(sign="positive").rank(Data.from_arrays(x, y))
    expected = average_precision_score(y == "a", x[:, 0])
    assert ranking.scores_of("a")[0] == pytest.approx(expected, abs=1e-12)


@given(rows(), st.integers(1, 5))
def test_sentences_by_their_largest_word(given_rows, length):
    x, _ = given_rows
    sentences = np.arange(len(x)) // length
    labels = np.where(sentences % 2, "odd", "even")
    if sentences[-1] == 0:
        return
    ranking = AveragePrecision(unit="sentence", sign="positive").rank(Data.from_arrays(x, labels, sentences=sentences))
    pooled = np.stack([x[sentences == number].max(axis=0) for number in range(sentences[-1] + 1)])
    expected = average_precision_score(np.arange(len(pooled)) % 2 == 1, pooled[:, 1])
    assert ranking.scores_of("odd")[1] == pytest.approx(expected, abs=1e-12)


def test_sentences_that_are_not_in_a_row_are_put_together():
    x = np.array([[3.0], [0.0], [1.0], [2.0]], np.float32)
    data = Data.from_arrays(x, ["a", "b", "a", "b"], sentences=[7, 2, 7, 2])
    ranking = AveragePrecision(unit="sentence").rank(data)
    assert ranking.scores_of("a")[0] == 1.0


def test_a_sentence_of_two_classes_is_refused():
    data = Data.from_arrays(np.ones((4, 1)), ["a", "a", "b", "b"], sentences=[0, 0, 5, 0])
    with pytest.raises(BadData, match="sentence 0: has words of several classes"):
        AveragePrecision(unit="sentence").rank(data)


def test_sentences_need_to_be_known():
    with pytest.raises(BadData, match="which sentence"):
        AveragePrecision(unit="sentence").rank(Data.from_arrays(np.ones((2, 1)), ["a", "b"]))


def test_overall_is_above_chance():
    draw = np.random.default_rng(0)
    y = np.array(["common"] * 90 + ["rare"] * 10)
    x = draw.standard_normal((100, 2)).astype(np.float32)
    x[:, 1] = y == "rare"
    ranking = AveragePrecision().rank(Data.from_arrays(x, y))
    assert ranking.scores[1] == 1.0
    # Noise reaches an average precision of 0.9 for the common class, which is no merit.
    assert ranking.class_scores[0, 0] > 0.85
    assert ranking.scores[0] < 0.5
