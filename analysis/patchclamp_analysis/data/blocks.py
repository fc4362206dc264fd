"""Passes over data in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "steps"]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A pass over data: iterates over (places, values), and knows how many blocks there are.

    By rows `values` is [n, D] in C order and `places` are rows; by columns it is [N, d] in Fortran order and `places`
    are neurons. Values are float32 and must not be written to.
    """

    places: tuple[slice, ...]
    read: Callable[[slice], NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, place: object) -> bool:
        return place in self.places

    def __iter__(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        return ((place, self.read(place)) for place in self.places)


def steps(start: int, stop: int, size: int) -> tuple[slice, ...]:
    """Consecutive slices from `start` to `stop` of `size` (at least 1); the last may be shorter."""
    size = max(1, size)
    return tuple(slice(at, min(at + size, stop)) for at in range(start, stop, size))
