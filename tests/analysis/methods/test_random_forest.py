from __future__ import annotations

import numpy as np
import pytest
from patchclamp_analysis.methods.random_forest import RandomForest
from sklearn.ensemble import RandomForestClassifier

from tests.analysis.methods.planted import planted


def test_importances_sum_to_one():
    ranking = RandomForest(trees=5).rank(planted())
    assert ranking.scores.sum() == pytest.approx(1.0)
    assert np.allclose(ranking.class_scores.sum(axis=0), ranking.scores)


def test_importances_are_as_those_of_scikit_learn():
    data = planted()
    ranking = RandomForest(trees=200).rank(data)
    reference = RandomForestClassifier(200, random_state=0).fit(data.matrix(), data.y)
    assert np.allclose(ranking.scores, reference.feature_importances_, atol=0.03)


@pytest.mark.parametrize("limit", [{"depth": 1}, {"leaf": 1000}])
def test_limits(limit):
    ranking = RandomForest(trees=3, **limit).rank(planted())
    assert np.count_nonzero(ranking.scores) <= (3 if "depth" in limit else 0)
