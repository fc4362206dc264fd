from __future__ import annotations

import numpy as np
import pytest
from patchclamp_analysis.methods.latent_variable import LatentVariable
from patchclamp_analysis.methods.losses import cross_entropy
from patchclamp_analysis.methods.subset_training import SubsetModel

from tests.analysis.methods.planted import planted


def model(conditional: bool = False) -> tuple[SubsetModel, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    made = SubsetModel(3, 6, conditional=conditional, entropy=0.0, l2=0.0, steps=1)
    made.weights[:] = draw.standard_normal(made.weights.shape)
    made.bias[:] = draw.standard_normal(3)
    return made, draw.standard_normal((5, 6)).astype(np.float32), np.array([0, 1, 2, 1, 0])


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("part", ["weights", "bias", "chance"])
def test_gradients_are_those_of_the_loss(conditional, part):
    made, x, y = model(conditional)
    chance = np.linspace(0.2, 0.8, 6).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    values = {"weights": made.weights, "bias": made.bias, "chance": chance}[part]
    gradient = dict(zip(("weights", "bias", "chance"), made.gradients(x, y, chance, noise)[1:], strict=True))[part]
    for place in np.ndindex(values.shape):
        kept = values[place]
        values[place] = kept + 1e-2
        above = made.gradients(x, y, chance, noise)[0]
        values[place] = kept - 1e-2
        below = made.gradients(x, y, chance, noise)[0]
        values[place] = kept
        assert gradient[place] == pytest.approx((above - below) / 2e-2, abs=2e-3)


def test_drawn_logits_are_distributed_as_by_masks():
    made, x, _ = model()
    chance = np.linspace(0.2, 0.8, 6).astype(np.float32)
    draw = np.random.default_rng(2)
    masks = draw.random((100_000, 6)) < chance
    by_masks = (masks * x[0]) @ made.weights.T + made.bias
    mean, deviation = made.logits_of(x[:1], chance)
    assert np.allclose(mean[0], by_masks.mean(axis=0), atol=0.02)
    assert np.allclose(deviation[0], by_masks.std(axis=0), atol=0.02)


def test_drawn_logits_of_one_size():
    made, x, _ = model(conditional=True)
    # Of six neurons, equally likely, three: the approximation is good to a correction of 6/5 in the variance.
    masks = np.argsort(np.random.default_rng(2).random((100_000, 6)), axis=1) < 3
    by_masks = (masks * x[0]) @ made.weights.T + made.bias
    mean, deviation = made.logits_of(x[:1], np.full(6, 0.5, np.float32))
    assert np.allclose(mean[0], by_masks.mean(axis=0), atol=0.02)
    assert np.allclose(deviation[0] * np.sqrt(6 / 5), by_masks.std(axis=0), atol=0.02)


def test_without_data_the_entropy_pulls_to_a_half():
    made = SubsetModel(2, 4, conditional=False, entropy=1.0, l2=0.0, steps=400)
    made.inclusion[:] = [-3.0, -1.0, 1.0, 3.0]
    draw = np.random.default_rng(0)
    for _ in range(400):
        made.step(np.zeros((4, 4), np.float32), np.array([0, 1, 0, 1]), 1e-2, draw)
    assert np.abs(made.inclusion).max() < 0.5


def test_the_probe_learns():
    data = planted()
    ranking = LatentVariable().rank(data)
    x = (data.matrix() - data.matrix().mean(axis=0)) / np.maximum(data.matrix().std(axis=0), 1e-6)
    logits = (x * ranking.scores) @ ranking.details["weights"].T
    assert np.mean(logits.argmax(axis=1) == data.y) > 0.9
    assert cross_entropy(logits.astype(np.float32), data.y)[0] / len(data) < 0.5
