"""Which neurons an analysis looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from patchclamp.v1 import common_pb2
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Neurons

from patchclamp_service.activations.set_labels import nearest
from patchclamp_service.engine.errors import InvalidRequest

__all__ = ["Choice", "check_neurons"]

Indices = Mapping[str, NDArray[np.int64] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Neurons by site; None: all of it."""

    indices: Indices

    @classmethod
    def of_sites(cls, sites: Sequence[str]) -> Choice:
        """All neurons of some sites."""
        return cls(dict.fromkeys(sites))

    @classmethod
    def listed(cls, messages: Sequence[common_pb2.Neurons]) -> Choice:
        """What a request lists: all that is named anywhere in it."""
        found: dict[str, NDArray[np.int64] | None] = {}
        for message in messages:
            earlier = found.get(message.site, np.zeros(0, np.int64))
            if earlier is None or not message.indices:
                found[message.site] = None
            else:
                found[message.site] = np.union1d(earlier, np.array(message.indices, np.int64))
        return cls(found)

    @classmethod
    def among(cls, neurons: Neurons) -> Choice:
        """Those that are among these."""
        numbers, indices = neurons.site_numbers, neurons.indices
        return cls({neurons.sites[number].name: indices[numbers == number] for number in np.unique(numbers)})

    @property
    def sites(self) -> tuple[str, ...]:
        """Those that some of the neurons are of."""
        return tuple(self.indices)

    def count(self, widths: Mapping[str, int]) -> int:
        """How many they are."""
        return sum(widths[site] if places is None else len(places) for site, places in self.indices.items())

    def of(self, data: Data) -> Data:
        """The data with these neurons only; it has all of their sites and no other neurons left out."""
        if all(indices is None for indices in self.indices.values()):
            return data
        parts = []
        for number, site in enumerate(data.neurons.sites):
            indices = self.indices[site.name]
            parts.append(data.neurons.of_site(number).start + (np.arange(site.width) if indices is None else indices))
        return data.keep(np.concatenate(parts))


def check_neurons(messages: Sequence[common_pb2.Neurons], widths: Mapping[str, int], owner: str) -> None:
    """InvalidRequest for the first site that the owner has not, or index that a site has not."""
    for number, message in enumerate(messages):
        field = f"neurons[{number}]"
        if message.site not in widths:
            text = f"{field}.site: {owner} has no site {message.site!r}{nearest(message.site, widths)}"
            raise InvalidRequest(text, reason="UNKNOWN_SITE", field=f"{field}.site")
        width = widths[message.site]
        for place, index in enumerate(message.indices):
            if index >= width:
                text = f"index {index} is out of range: {message.site} has {width} neurons, 0 to {width - 1}"
                raise InvalidRequest(text, reason="INDEX_OUT_OF_RANGE", field=f"{field}.indices[{place}]")
