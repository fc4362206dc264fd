"""Activations of every feed-forward neuron on some texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demo.spread import Floats

__all__ = ["Recording"]


@dataclass(frozen=True, eq=False)
class Recording:
    """The neurons of all sites side by side.

    Attributes:
        widths: From site to its number of neurons.
        texts: For each text its activations; shape [tokens, neurons].
    """

    widths: Mapping[str, int]
    texts: Sequence[Floats]

    def mean(self) -> Floats:
        """Mean over all tokens; shape [neurons]."""
        return np.asarray(np.concatenate(self.texts).mean(axis=0, dtype=np.float32))

    def deviation(self) -> Floats:
        """Standard deviation over all tokens; shape [neurons]."""
        return np.asarray(np.concatenate(self.texts).std(axis=0, dtype=np.float32))

    def peaks(self, reference: Floats | float = 0.0) -> Floats:
        """For each text the value farthest from the reference, less the reference; shape [texts, neurons]."""
        return np.stack([farthest(np.asarray(values, np.float32) - reference) for values in self.texts])

    def place(self, neuron: int) -> tuple[str, int]:
        """The site of a neuron and its index there."""
        for site, width in self.widths.items():
            if neuron < width:
                return site, neuron
            neuron -= width
        raise IndexError(f"there are {sum(self.widths.values())} neurons")

    def neuron(self, site: str, index: int) -> int:
        """The inverse of `place`."""
        sites = list(self.widths)
        return sum(self.widths[before] for before in sites[: sites.index(site)]) + index


def farthest(values: Floats) -> Floats:
    """Of each column the value of the largest magnitude."""
    rows = np.abs(values).argmax(axis=0)
    return np.asarray(np.take_along_axis(values, rows[None], axis=0)[0])
