"""Adam (Kingma & Ba 2015) on one array, without allocating in a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Adam", "falling"]

Narrow = NDArray[np.float32]


class Adam:
    """Running moments of the gradients of one array."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.first, self.second, self._work = np.zeros((3, *shape), np.float32)
        self.steps = 0

    def step(self, values: Narrow, gradient: Narrow, rate: float) -> Narrow:
        """Moves the values, in place, and uses up the gradient. Returns the size of a step per unit of gradient, an
        array that the next step overwrites.
        """
        self.steps += 1
        sizes: Narrow = self._work
        self.first *= 0.9
        self.first += np.multiply(gradient, 0.1, out=sizes)
        self.second *= 0.999
        gradient *= gradient
        gradient *= 0.001
        self.second += gradient
        np.sqrt(self.second, out=sizes)
        sizes *= 1.0 / np.sqrt(1.0 - 0.999**self.steps)
        sizes += 1e-8
        np.divide(rate, sizes, out=sizes)
        np.multiply(self.first, sizes, out=gradient)
        gradient *= 1.0 / (1.0 - 0.9**self.steps)
        values -= gradient
        return sizes


def falling(rate: float, step: int, steps: int) -> float:
    """The rate of a step, falling to 0 by a half cosine."""
    return rate * 0.5 * (1.0 + float(np.cos(np.pi * step / steps)))
