"""How far the occupations lie apart, and what moves with them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "centred", "correlation", "spread"]

Floats = npt.NDArray[np.floating]


def centred(values: Floats, templates: Sequence[int]) -> Floats:
    """Deviations from the mean over the prompts of the same template; `values` has prompts first."""
    result = np.array(values, np.float64)
    for template in set(templates):
        rows = np.equal(templates, template)
        result[rows] -= result[rows].mean(axis=0)
    return result


def spread(gaps: Floats, templates: Sequence[int]) -> float:
    """Standard deviation of the gap over occupations, within templates: what the occupation does to the pronoun."""
    return float(np.sqrt(np.square(centred(gaps, templates)).mean()))


def correlation(values: Floats, gaps: Floats, templates: Sequence[int]) -> Floats:
    """Pearson's correlation with the gap, within templates; `values` of shape [prompts, neurons]."""
    moved, gap = centred(values, templates), centred(gaps, templates)
    norms = np.linalg.norm(moved, axis=0) * np.linalg.norm(gap)
    return np.asarray(gap @ moved / np.maximum(norms, 1e-6))
