"""Neurons that say the same, as the server finds them."""

from __future__ import annotations

from dataclasses import dataclass

from patchclamp._neurons import Neurons
from patchclamp.v1 import analysis_pb2

__all__ = ["Redundancy"]


@dataclass(frozen=True, slots=True)
class Redundancy:
    """Groups of neurons that rise and fall together.

    Attributes:
        activation_set: Name of the activation set.
        clusters: The groups of two neurons or more, largest first; each by site.
        independent: One neuron of each group and all that are alone, by site.
        neuron_count: Number of neurons that were looked at.
        redundant_share: Share of the neurons that can be left out.
    """

    activation_set: str
    clusters: tuple[tuple[Neurons, ...], ...]
    independent: tuple[Neurons, ...]
    neuron_count: int
    redundant_share: float

    @classmethod
    def from_proto(cls, message: analysis_pb2.Redundancy) -> Redundancy:
        """From the wire's form."""
        return cls(
            activation_set=message.activation_set,
            clusters=tuple(tuple(map(Neurons.from_proto, each.neurons)) for each in message.clusters),
            independent=tuple(map(Neurons.from_proto, message.independent)),
            neuron_count=message.neuron_count,
            redundant_share=message.redundant_share,
        )
