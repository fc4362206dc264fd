"""Where a neuron fires."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sign", "own_thresholds", "signed"]

Sign = Literal["positive", "negative", "absolute"]


def signed(block: NDArray[np.float32], sign: Sign) -> NDArray[np.float32]:
    """What is compared with a threshold."""
    if sign == "positive":
        return block
    return -block if sign == "negative" else np.abs(block)


def own_thresholds(values: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """[d] of [N, d]: what at most a share of the rows lie above, the 1 − share quantile of each neuron."""
    place = len(values) - 1 - int(share * len(values))
    if place < 0:
        return np.full(values.shape[1], -np.inf, np.float32)
    found: NDArray[np.float32] = np.partition(values, place, axis=0)[place]
    return found
