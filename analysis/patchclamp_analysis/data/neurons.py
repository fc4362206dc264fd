"""Sites, neurons, and which neurons the columns of a matrix are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Neuron", "Neurons", "Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a model and the number of its neurons."""

    name: str
    width: int


@dataclass(frozen=True, slots=True, order=True)
class Neuron:
    """A neuron: a site and an index."""

    site: str
    index: int

    def __str__(self) -> str:
        return f"{self.site}[{self.index}]"


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons that the columns of a matrix are: all of some sites side by side, or a choice of them.

    `columns` [D] are places in the full concatenation of the sites, in ascending order.
    """

    sites: tuple[Site, ...]
    columns: NDArray[np.int64]
    _bounds: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise BadData(f"a site stands there twice: {', '.join(names)}")
        bounds = np.cumsum([0, *(site.width for site in self.sites)])
        object.__setattr__(self, "_bounds", bounds)
        if len(self.columns) and not 0 <= self.columns.min() <= self.columns.max() < bounds[-1]:
            raise BadData(f"columns must lie between 0 and {bounds[-1] - 1}")

    @classmethod
    def all_of(cls, sites: Sequence[Site]) -> Neurons:
        """All neurons of some sites."""
        return cls(tuple(sites), np.arange(sum(site.width for site in sites)))

    def __repr__(self) -> str:
        return f"<Neurons: {len(self):,} of {len(self.sites):,} sites>"

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, place: int) -> Neuron:
        column = int(self.columns[place])
        site = int(np.searchsorted(self._bounds, column, side="right")) - 1
        return Neuron(self.sites[site].name, column - int(self._bounds[site]))

    def __iter__(self) -> Iterator[Neuron]:
        return (self[place] for place in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Neurons) and self.sites == other.sites and np.array_equal(self.columns, other.columns)

    __hash__ = None  # type: ignore[assignment]

    @property
    def site_numbers(self) -> NDArray[np.int64]:
        """[D] the number of each neuron's site in `sites`."""
        return np.searchsorted(self._bounds, self.columns, side="right") - 1

    @property
    def indices(self) -> NDArray[np.int64]:
        """[D] the index of each neuron in its site."""
        return self.columns - self._bounds[self.site_numbers]

    def to_pandas(self) -> pd.DataFrame:
        """A row per neuron: site and index."""
        import pandas as pd

        names = np.array([site.name for site in self.sites], dtype=object)
        return pd.DataFrame({"site": names[self.site_numbers], "index": self.indices})

    def of_site(self, number: int) -> slice:
        """The places of one site's neurons among these."""
        first, last = np.searchsorted(self.columns, self._bounds[number : number + 2])
        return slice(int(first), int(last))

    def keep(self, places: Sequence[int] | NDArray[np.integer]) -> Neurons:
        """Those at some places, or of a mask [D], each once, in the order they have here. BadData for a place that is
        out of range, and a mask of another length.
        """
        chosen = np.asarray(places)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise BadData(f"a mask of shape {chosen.shape} is not one of {len(self)} neurons", where="neurons")
            chosen = np.flatnonzero(chosen)
        chosen = np.unique(chosen.astype(np.int64))
        if wrong := [int(place) for place in chosen if not 0 <= place < len(self)]:
            text = f"place {wrong[0]} is out of range: there are {len(self)} neurons, 0 to {len(self) - 1}"
            raise BadData(text, where="neurons")
        return Neurons(self.sites, self.columns[chosen])
