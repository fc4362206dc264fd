from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.scaling import Scaling
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.linear_training import Problem, adam
from patchclamp_analysis.methods.losses import cross_entropy
from patchclamp_analysis.methods.weight_order import entering_mass, heaviest
from patchclamp_analysis.progress import QUIET
from sklearn.linear_model import LogisticRegression, Ridge

from tests.analysis.methods.planted import INFORMATIVE, TWINS, planted


def standardised(data: Data) -> np.ndarray:
    x = data.matrix()
    return np.asarray((x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0))


def targets(rows: int = 800) -> Data:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((rows, 10)).astype(np.float32)
    return Data.from_arrays(x, targets=2.0 * x[:, 3] - x[:, 7] + 0.1 * draw.standard_normal(rows))


def test_ridge_goes_to_the_optimum_of_scikit_learn():
    data = planted().keep([0, 1, 5, 9, 20, 21])
    probe = LinearProbe(solver="lbfgs", l1=0.0, l2=1e-2, dev_share=0.0).fit(data)
    # Its penalty is ‖W‖²/2C on the sum of losses.
    reference = LogisticRegression(C=1 / (2 * 1e-2 * len(data)), tol=1e-8, max_iter=1000)
    reference.fit(standardised(data), data.y)
    assert np.allclose(probe.weights, reference.coef_, atol=2e-3)


def test_lasso_has_exact_zeros_and_meets_the_optimality_conditions():
    data, l1 = planted(), 0.02
    probe = LinearProbe(solver="lbfgs", l1=l1, l2=0.0, dev_share=0.0).fit(data)
    z = standardised(data)
    _, errors = cross_entropy(z @ probe.weights.T + probe.bias, data.y)
    gradient = errors.T @ z / len(data)
    zero = probe.weights == 0
    assert zero.mean() > 0.5
    assert np.abs(gradient[zero]).max() <= l1 + 2e-3
    assert np.allclose(gradient[~zero], -l1 * np.sign(probe.weights[~zero]), atol=2e-3)


def test_adam_comes_near_the_optimum():
    data = planted()
    near = LinearProbe(dev_share=0.0).fit(data)
    exact = LinearProbe(solver="lbfgs", dev_share=0.0).fit(data)
    assert near.score(data).loss == pytest.approx(exact.score(data).loss, rel=0.02)


def test_held_out_accuracy():
    train, test = planted().split(0.3)
    assert LinearProbe().fit(train).score(test).accuracy > 0.97


def test_compat_trains_as_torch_does():
    data = Data.from_arrays(planted(300).matrix()[:, :6], planted(300).y)
    draw = np.random.default_rng(1)
    start = draw.uniform(-0.4, 0.4, (3, 7)).astype(np.float32)
    scaling = Scaling.of(data, standardise=False)
    problem = Problem(data, scaling, cross_entropy, l1=1e-3, l2=1e-2, unsquared=True)
    ours = adam(
        problem, start, epochs=3, batch=32, rate=1e-3, seed=None, decay=False, progress=QUIET, judge=lambda _: True
    )

    linear = torch.nn.Linear(6, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(start[:, :-1]))
        linear.bias.copy_(torch.from_numpy(start[:, -1]))
    optimizer = torch.optim.Adam(linear.parameters(), lr=1e-3)
    x, y = torch.from_numpy(data.matrix().copy()), torch.from_numpy(data.y.astype(np.int64))
    for _ in range(3):
        for at in range(0, len(x), 32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(linear(x[at : at + 32]), y[at : at + 32])
            (loss + 1e-3 * linear.weight.abs().sum() + 1e-2 * linear.weight.square().sum().sqrt()).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    assert np.allclose(ours[:, :-1], linear.weight.detach().numpy(), atol=2e-5)
    assert np.allclose(ours[:, -1], linear.bias.detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_regression(solver):
    data = targets()
    probe = LinearProbe(solver=solver, l1=0.0, l2=1e-4).fit(data)
    scores = probe.score(data)
    assert scores.pearson > 0.99
    assert scores.spearman > 0.99
    assert scores.loss < 0.02
    reference = Ridge(alpha=1e-4 * len(data)).fit(standardised(data), data.targets)
    assert np.allclose(probe.weights[0], reference.coef_, atol=0.05)


def test_regression_ranks_without_classes():
    ranking = LinearProbe().rank(targets())
    assert [neuron.index for neuron in ranking.top(2)] == [3, 7]
    assert ranking.classes == ()
    assert ranking.class_scores.shape == (0, 10)


def test_scores_by_mass_select_the_heaviest():
    data = planted().keep([0, 1, 2, *range(12, 40)])
    probe = LinearProbe().fit(data)
    ranking = LinearProbe().rank_by(probe, data)
    for mass in (0.1, 0.5, 0.9):
        for number, selected in enumerate(heaviest(probe.weights.astype(np.float64), mass)):
            assert set(np.flatnonzero(ranking.class_scores[number] > 1 - mass)) == set(selected.tolist())


def test_the_heaviest_of_each_class_come_by_their_mean_weight():
    data = planted().keep([20, 0, 21, 1, 2])
    probe = LinearProbe().fit(data)
    weights = np.array([[0.1, 3.0, 0, 0, 0], [0.1, 0, 0.2, 2.0, 0], [0, 0, 0.1, 2.0, 4.0]], np.float32)
    ranking = LinearProbe().rank_by(replace(probe, weights=weights), data)
    # Places 1, 3 and 4 have all the weight of a class before them: none.
    assert ranking.order()[:3].tolist() == [3, 4, 1]
    assert ranking.scores[[3, 4, 1]] == pytest.approx(1 + np.array([4.0, 4.0, 3.0]) / 11.5)
    assert (ranking.scores[[0, 2]] < 1).all()
    assert ranking.class_scores.max(axis=1).tolist() == [1.0, 1.0, 1.0]


def test_scores_by_weight():
    data = planted()
    probe = LinearProbe().fit(data)
    ranking = LinearProbe(score="weight").rank_by(probe, data)
    assert np.allclose(ranking.scores, np.abs(probe.weights).mean(axis=0))


def test_neurons_without_weight_have_a_score_too():
    assert entering_mass(np.array([[0.0, 2.0, -1.0, 0.0]])).tolist() == [[1.0, 0.0, pytest.approx(2 / 3), 1.0]]
    assert entering_mass(np.zeros((1, 3))).tolist() == [[1.0, 1.0, 1.0]]


def test_the_grid_takes_what_is_best_on_rows_kept_aside():
    data = planted(200, 100)
    searched = LinearProbe(grid=(0.0, 1e-2, 10.0)).fit(data)
    alone = [LinearProbe(l1=l1, l2=l2).fit(data) for l1 in (0.0, 1e-2, 10.0) for l2 in (0.0, 1e-2, 10.0)]
    dev = data.split(0.1)[1]
    losses = [probe.score(dev).loss for probe in alone]
    assert searched.score(dev).loss == pytest.approx(min(losses), rel=1e-6)


def test_the_grid_needs_rows_kept_aside():
    with pytest.raises(BadData, match=r"linear_probe\.grid: needs rows"):
        LinearProbe(grid=(0.1,), dev_share=0.0).fit(planted())


def test_given_rows_to_stop_by():
    train, dev = planted().split(0.3)
    dev = Data.from_arrays(dev.matrix(), [dev.classes[number] if number else "unheard of" for number in dev.y])
    probe = LinearProbe(epochs=50, rate=1.0).fit(train, dev)
    assert probe.score(train).accuracy > 0.9


def test_rows_to_stop_by_are_of_the_same_neurons():
    with pytest.raises(BadData, match="other neurons"):
        LinearProbe().fit(planted(), planted().keep([0]))


def test_classes_do_not_stop_a_regression():
    data = targets()
    with pytest.raises(BadData, match="one has targets, one classes"):
        LinearProbe().fit(data, data.with_labels(np.arange(len(data)) % 2))


def test_lasso_takes_one_of_two_twins_or_both_but_no_other():
    ranking = LinearProbe(solver="lbfgs", l1=0.05, l2=0.0).rank(planted())
    weighty = np.flatnonzero(np.abs(ranking.details["weights"]).max(axis=0) > 0.1)
    assert set(weighty.tolist()) <= {*INFORMATIVE, *TWINS, 3, 4, 5}


def test_the_seed_decides():
    one, same, other = (LinearProbe(seed=seed).fit(planted()).weights for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
