"""Which neurons are looked at: the top, the bottom, or random ones of a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData

__all__ = ["Places", "Selection", "neuron_counts", "random_places", "select"]

Places = NDArray[np.int64]
Selection = Literal["all", "top", "random", "bottom", "majority"]


def neuron_counts(wanted: Sequence[float], neurons: int) -> tuple[int, ...]:
    """Numbers of neurons, ascending and each once: those from 1 on as they are, those below 1 as parts of all (at
    least one neuron). More than there are fall out; BadData if nothing is left.
    """
    if wrong := [count for count in wanted if count <= 0 or (count >= 1 and count != int(count))]:
        raise BadData(f"must be a number of neurons or a part of them above 0, not {wrong[0]:g}", where="counts")
    if not wanted:
        raise BadData("give a number of neurons", where="counts")
    counts = sorted({int(count) if count >= 1 else max(1, round(count * neurons)) for count in wanted})
    if counts[0] > neurons:
        raise BadData(f"{counts[0]:,} of {neurons:,} neurons: there are not as many", where="counts")
    return tuple(count for count in counts if count <= neurons)


def select(order: Places, which: Literal["top", "bottom"], count: int) -> Places:
    """Places of the best, or of the worst neurons."""
    return order[:count] if which == "top" else order[len(order) - count :]


def random_places(neurons: int, count: int, seed: int) -> Places:
    """The same places for a seed; those of a smaller count are among them."""
    return np.random.default_rng(seed).permutation(neurons)[:count]
