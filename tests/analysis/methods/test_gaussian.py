from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.class_gaussians import ClassGaussians
from patchclamp_analysis.methods.gaussian import Gaussian
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from tests.analysis.methods.planted import NEURONS, planted


def correlated(rows: int = 400, width: int = 8, seed: int = 0) -> Data:
    """Neurons that go together, so that Schur complements matter; one class is rare."""
    draw = np.random.default_rng(seed)
    y = draw.choice(3, rows, p=(0.1, 0.3, 0.6))
    x = draw.standard_normal((rows, width)) @ draw.standard_normal((width, width))
    x += draw.standard_normal((3, width))[y]
    return Data.from_arrays((x * 10.0 ** draw.integers(-2, 3, width)).astype(np.float32), y)


def log_joint(train: Data, data: Data) -> np.ndarray:
    """By scipy, from the covariance written out."""
    found = []
    for number in range(len(train.classes)):
        rows = train.matrix()[train.y == number].astype(np.float64)
        covariance = np.cov(rows, rowvar=False).reshape(rows.shape[1], -1)
        scatter = covariance * (len(rows) - 1) + np.diag(np.diag(covariance))
        density = multivariate_normal(rows.mean(axis=0), scatter / (len(rows) + 1))
        found.append(density.logpdf(data.matrix()) + np.log(len(rows) / len(train)))
    return np.stack(found, axis=1)


def bits(train: Data, data: Data) -> float:
    joint = log_joint(train, data)
    shares = data.counts / len(data)
    posterior = joint[np.arange(len(data)), data.y] - logsumexp(joint, axis=1)
    return float(-np.sum(shares * np.log2(shares)) + posterior.mean() / np.log(2))


def test_densities_are_those_of_scipy():
    data = correlated().keep([0, 2, 5])
    fitted = ClassGaussians.fit(data)
    assert np.allclose(fitted.log_joint(data), log_joint(data, data), atol=1e-3)


def test_mutual_information_and_accuracy():
    data = correlated()
    train, test = data.take(np.arange(300)), data.take(np.arange(300, 400))
    scores = ClassGaussians.fit(train).score(test, doubt=0.0)
    assert scores.mi == pytest.approx(bits(train, test), abs=1e-4)
    assert scores.accuracy == np.mean(log_joint(train, test).argmax(axis=1) == test.y)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_each_step_takes_the_best_of_all(share):
    data = correlated()
    ranking = Gaussian(count=4, dev_share=share).rank(data)
    train, judged = data.split(share) if share else (data, data)
    chosen: list[int] = []
    for step in range(4):
        candidates = {
            neuron: bits(train.keep([*chosen, neuron]), judged.keep([*chosen, neuron]))
            for neuron in range(8)
            if neuron not in chosen
        }
        best = max(candidates, key=lambda neuron: candidates[neuron])
        assert ranking.details["chosen"][step] == best
        assert ranking.details["mi"][step] == pytest.approx(candidates[best], abs=1e-4)
        chosen.append(best)


def test_chosen_neurons_come_first_in_their_order():
    ranking = Gaussian(count=5).rank(correlated())
    assert ranking.order()[:5].tolist() == ranking.details["chosen"].tolist()
    assert ranking.scores[ranking.order()[5]] <= 1.0


def test_more_than_there_are():
    data = planted().keep([0, 1, NEURONS["dead"]])
    ranking = Gaussian(count=50).rank(data)
    assert sorted(ranking.details["chosen"].tolist()) == [0, 1]
    assert ranking.scores[2] == 0.0


def test_class_scores_add_up_to_what_a_neuron_shows():
    ranking = Gaussian(count=1).rank(planted())
    uncertain = ranking.class_scores.sum(axis=0) > 0.05
    single = ranking.details["single_mi"][uncertain]
    ratio = single / ranking.class_scores.sum(axis=0)[uncertain]
    assert np.allclose(ratio, ratio[0], rtol=1e-3)


def test_a_class_that_is_constant_somewhere():
    data = correlated()
    x = data.matrix().copy()
    x[data.y == 1, 3] = 4.0
    ranking = Gaussian(count=3).rank(Data.from_arrays(x, data.y))
    assert 3 in ranking.details["chosen"]


def test_of_many_rows_a_part_is_judged_that_fits_into_memory():
    data = replace(planted(60_000), memory_bytes=LEAST_MEMORY)
    few, all_rows = (Gaussian(count=count).rank(data).details["mi"][0] for count in (40, 1))
    assert few != all_rows
    assert few == pytest.approx(all_rows, abs=0.05)


def test_constant_neurons_are_refused_by_name():
    with pytest.raises(BadData, match=r"neurons\[10\]: is constant"):
        ClassGaussians.fit(planted())


def test_a_class_that_training_has_not_counts_as_wrong():
    data = correlated()
    seen = data.take(data.y != 0)
    fitted = ClassGaussians.fit(Data.from_arrays(seen.matrix(), [data.classes[number] for number in seen.y]))
    scores = fitted.score(data.take(data.y == 0))
    assert scores.accuracy == 0.0
    assert scores.mi < 0.0


def test_a_mean_that_float32_barely_holds_changes_nothing():
    y = np.random.default_rng(1).integers(0, 3, 600)
    sixteenths = np.random.default_rng(0).integers(-3, 4, (600, 4)) / 16
    sixteenths[:, 1] += y / 16
    plain, raised = (Gaussian(count=3).rank(Data.from_arrays(x, y)).details for x in (sixteenths, 1e6 + sixteenths))
    assert np.array_equal(plain["chosen"], raised["chosen"])
    assert raised["single_mi"] == pytest.approx(plain["single_mi"], abs=1e-4)
