"""Losses of a linear model and their gradients by its outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Loss", "cross_entropy", "squared_error"]

Loss = Callable[[NDArray[np.floating], NDArray[np.generic]], tuple[float, NDArray[np.float32]]]
"""Outputs [n, C] and classes or targets [n] → the sum of the rows' losses, and its gradient [n, C]."""


def cross_entropy(logits: NDArray[np.floating], y: NDArray[np.generic]) -> tuple[float, NDArray[np.float32]]:
    """−log softmax(logits)[y], in nats."""
    rows = np.arange(len(y))
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[rows, y]
    gradient = np.exp(shifted)
    sums = gradient.sum(axis=1)
    gradient /= sums[:, None]
    gradient[rows, y] -= 1.0
    return float(np.sum(np.log(sums) - chosen, dtype=np.float64)), gradient


def squared_error(outputs: NDArray[np.floating], targets: NDArray[np.generic]) -> tuple[float, NDArray[np.float32]]:
    """(output − target)²; outputs are [n, 1]."""
    error = outputs - targets.astype(outputs.dtype)[:, None]
    return float(np.sum(np.square(error), dtype=np.float64)), 2.0 * error
