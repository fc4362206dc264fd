"""Entropy, in bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["entropy"]


def entropy(counts: NDArray[np.integer]) -> float:
    """Of the distribution in which classes occur this often, in bits."""
    parts = counts[counts > 0] / counts.sum()
    return float(-np.sum(parts * np.log2(parts))) + 0.0
