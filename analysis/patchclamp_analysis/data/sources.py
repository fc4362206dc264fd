"""Where activations lie: arrays in memory or on disk, one a site, read in blocks as float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import BadData
from ..sets.element_types import widened
from .neurons import Neurons, Site

__all__ = ["Arrays", "arrays_of", "not_finite"]


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """Activations of some sites: for each an array [rows, width] of any real type, in memory or memory-mapped.

    With `bfloat16` they are the upper halves of float32, as uint16.
    """

    sites: tuple[Site, ...]
    arrays: tuple[NDArray[Any], ...]
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if not self.arrays:
            raise BadData("there are no activations: give at least one site")
        for site, array in zip(self.sites, self.arrays, strict=True):
            if array.ndim != 2:
                raise BadData(f"activations must be rows × neurons, not of shape {array.shape}", where=site.name)
            if array.dtype.kind not in "fiu":
                raise BadData(f"activations must be numbers, not {array.dtype}", where=site.name)
            if array.shape != (self.rows, site.width):
                raise BadData(
                    f"has {array.shape[0]} rows of {array.shape[1]}, not {self.rows} rows of {site.width}",
                    where=site.name,
                )

    @property
    def rows(self) -> int:
        """Rows, the same number at every site."""
        return len(self.arrays[0])

    def read(self, site: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, d]: some rows of some neurons of a site; maybe a view."""
        array = self.arrays[site]
        some, chosen = _slice(rows), _slice(columns)
        if some is None and chosen is None:
            part = array[rows[:, None], columns]
        else:
            part = array[rows if some is None else some, columns if chosen is None else chosen]
        return _widened(part, self.bfloat16)

    def read_all(self, neurons: Neurons, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, D]: some rows of the neurons, sites side by side; read-only where it is a view."""
        if len(self.sites) == 1:
            block = np.ascontiguousarray(self.read(0, rows, neurons.indices))
            if np.may_share_memory(block, self.arrays[0]):
                block = block.view()
                block.flags.writeable = False
            return block
        block = np.empty((len(rows), len(neurons)), np.float32)
        for number, places, indices in self.parts(neurons):
            block[:, places] = self.read(number, rows, indices)
        return block

    def parts(self, neurons: Neurons) -> list[tuple[int, slice, NDArray[np.int64]]]:
        """Of each site with neurons among these: its number, their places and their indices."""
        indices = neurons.indices
        places = [neurons.of_site(number) for number in range(len(self.sites))]
        return [(number, place, indices[place]) for number, place in enumerate(places) if place.stop > place.start]


def arrays_of(x: ArrayLike | Mapping[str, ArrayLike], sites: Sequence[Site] | None) -> Arrays:
    """Arrays by site, or one array, whole or cut into sites."""
    if isinstance(x, Mapping):
        named = {name: np.asanyarray(values) for name, values in x.items()}
        widths = [array.shape[-1] if array.ndim else 0 for array in named.values()]
        return Arrays(tuple(map(Site, named, widths)), tuple(named.values()))
    array = np.asanyarray(x)
    if sites is None:
        return Arrays((Site("neurons", array.shape[-1] if array.ndim else 0),), (array,))
    ends = np.cumsum([site.width for site in sites])
    if array.ndim != 2 or array.shape[1] != ends[-1]:
        raise BadData(f"sites of {ends[-1]} neurons in all do not cut an array of shape {array.shape}")
    return Arrays(tuple(sites), tuple(np.split(array, ends[:-1], axis=1)))


def not_finite(block: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and column of the first value that is NaN or infinite."""
    flat = block.ravel(order="K")
    # The sum of squares is finite only if all are, and costs a tenth of looking at each value.
    with np.errstate(all="ignore"):
        if np.isfinite(np.dot(flat, flat)):
            return None
    wrong = np.argwhere(~np.isfinite(block))
    return (int(wrong[0, 0]), int(wrong[0, 1])) if len(wrong) else None


def _slice(places: NDArray[np.int64]) -> slice | None:
    """The slice that consecutive places are."""
    if not len(places):
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    if last - first != len(places) - 1 or not np.all(places[1:] > places[:-1]):
        return None
    return slice(first, last + 1)


def _widened(values: NDArray[Any], bfloat16: bool) -> NDArray[np.float32]:
    if values.dtype == np.float16:
        return _from_half(values)
    # What float32 cannot hold becomes infinite, and is refused as such.
    with np.errstate(over="ignore"):
        return widened(values, "bfloat16" if bfloat16 else "float32")


def _from_half(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """float16 as float32, by moving bits: numpy's own way goes value by value, several times as slow."""
    bits = values.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(-0x70002000)
    wide = bits.view(np.float32)
    # The exponents' zeros are 112 apart. What is infinite or NaN comes out as finite, but larger than any float16.
    wide *= np.float32(2.0**112)
    if wide.size and max(wide.max(), -wide.min()) > np.finfo(np.float16).max:
        return values.astype(np.float32)
    return wide
