"""Training of a softmax probe over random subsets of neurons, and of the distribution that they are drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .adam import Adam, falling
from .losses import cross_entropy

__all__ = ["SubsetModel"]

# Adam's for w, at the start.
_INCLUSION_RATE = 0.03
# Keeps roots and divisions away from 0.
_TINY = 1e-12

Narrow = NDArray[np.float32]


class SubsetModel:
    """`weights` W [C, D] and `bias` b [C] of the probe, `inclusion` w [D] of the distribution: π = σ(w)."""

    def __init__(self, classes: int, neurons: int, *, conditional: bool, entropy: float, l2: float, steps: int) -> None:
        self.weights = np.zeros((classes, neurons), np.float32)
        self.bias = np.zeros(classes, np.float32)
        self.inclusion = np.zeros(neurons, np.float32)
        self.conditional, self.entropy, self.l2, self.steps = conditional, entropy, l2, steps
        self._moved = Adam(self.weights.shape), Adam(self.bias.shape), Adam(self.inclusion.shape)

    def step(self, x: Narrow, y: NDArray[np.integer], rate: float, draw: np.random.Generator) -> None:
        """One step on some rows [n, D]."""
        shifted = self.inclusion + np.float32(self._tilt(draw) if self.conditional else 0.0)
        chance = 1.0 / (1.0 + np.exp(-shifted))
        noise = draw.standard_normal((len(x), len(self.weights)), np.float32)
        _, by_weight, by_bias, by_chance = self.gradients(x, y, chance, noise)
        by_weight += (2.0 * self.l2) * self.weights
        # The gradient of −H by π. That of subsets of one size differs by a constant, which cancels out.
        by_chance += self.entropy * shifted
        spread = chance * (1.0 - chance)
        if self.conditional:
            by_chance -= (spread @ by_chance) / max(float(spread.sum()), _TINY)
        part = falling(1.0, self._moved[0].steps, self.steps)
        self._moved[0].step(self.weights, by_weight, part * rate)
        self._moved[1].step(self.bias, by_bias, part * rate)
        self._moved[2].step(self.inclusion, by_chance * spread, part * _INCLUSION_RATE)

    def logits_of(self, x: Narrow, chance: Narrow) -> tuple[Narrow, Narrow]:
        """[n, C] mean and standard deviation of the logits of rows [n, D]: Σ πWx + b, and the root of Σ v(Wx)² with
        v = π(1 − π); for subsets of one size less (Σ vWx)²/Σv.
        """
        mean, variance, _ = self._moments(x, chance)
        return mean, np.sqrt(variance)

    def gradients(
        self, x: Narrow, y: NDArray[np.integer], chance: Narrow, noise: Narrow
    ) -> tuple[float, Narrow, Narrow, Narrow]:
        """The mean loss of logits drawn as mean + deviation·noise, and its gradients by W, b and π."""
        spread, weights = chance * (1.0 - chance), self.weights
        mean, variance, common = self._moments(x, chance)
        deviation = np.sqrt(variance)
        loss, by_mean = cross_entropy(mean + deviation * noise, y)
        by_mean /= len(x)
        by_variance: Narrow = np.divide(by_mean * noise, deviation + deviation)
        through_mean: Narrow = by_mean.T @ x
        through_variance: Narrow = by_variance.T @ np.square(x)
        by_weight = through_mean * chance
        by_weight += 2.0 * spread * weights * through_variance
        by_spread = np.sum(np.square(weights) * through_variance, axis=0)
        if self.conditional:
            total = max(float(spread.sum()), _TINY)
            through_common = (by_variance * common * (-2.0 / total)).T @ x
            by_weight += through_common * spread
            by_spread += np.sum(weights * through_common, axis=0)
            by_spread += float(np.sum(by_variance * np.square(common))) / total**2
        by_chance: Narrow = np.sum(weights * through_mean, axis=0) + (1.0 - 2.0 * chance) * by_spread
        by_bias: Narrow = by_mean.sum(axis=0)
        return loss / len(x), by_weight, by_bias, by_chance

    def _moments(self, x: Narrow, chance: Narrow) -> tuple[Narrow, Narrow, Narrow]:
        """[n, C] mean and variance of the logits, and Σ vWx."""
        spread, weights = chance * (1.0 - chance), self.weights
        mean = x @ (weights * chance).T + self.bias
        variance = np.square(x) @ (np.square(weights) * spread).T
        common = np.zeros_like(variance)
        if self.conditional:
            common = x @ (weights * spread).T
            variance -= np.square(common) / max(float(spread.sum()), _TINY)
        return mean, np.maximum(variance, _TINY), common

    def _tilt(self, draw: np.random.Generator) -> float:
        """λ such that σ(w + λ) sums to a size drawn from 1 to D."""
        neurons = len(self.inclusion)
        size = min(float(draw.integers(1, neurons + 1)), neurons - 0.5)
        low, high = -40.0 - float(self.inclusion.max()), 40.0 - float(self.inclusion.min())
        for _ in range(40):
            middle = (low + high) / 2.0
            if np.sum(1.0 / (1.0 + np.exp(-(self.inclusion + np.float32(middle))))) < size:
                low = middle
            else:
                high = middle
        return (low + high) / 2.0
