"""Rankings of neurons as the server describes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from google.protobuf import json_format

from patchclamp._neurons import ScoredNeuron
from patchclamp._resources import time_of
from patchclamp._tensors import to_array
from patchclamp.v1 import analysis_pb2

__all__ = ["Ranking", "RankingComparison"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Which neurons have most to do with a concept.

    Attributes:
        name: "rankings/upos-probeless".
        create_time: When it was complete, in UTC.
        method: The method, as `client.analysis.methods` lists it.
        parameters: All its hyper-parameters.
        label: The layer of labels; empty: it needed none.
        neurons: The best neurons, best first.
        classes: The best neurons of each class, best first.
        distribution: How many of `neurons` each site has.
        neuron_count: Number of neurons that were scored; `client.analysis.rankings.get` gives more of them, and
            `export` all.
        row_count: Number of rows that it is based on.
        activation_set: Name of the activation set.
        activation_set_sha256: Checksum of its file.
        model: Name of the model.
        model_digest: Digest of the model, as in `Model.digest`.
        notes: What was odd about the data.
    """

    name: str
    create_time: datetime
    method: str
    parameters: dict[str, object]
    label: str
    neurons: tuple[ScoredNeuron, ...]
    classes: dict[str, tuple[ScoredNeuron, ...]]
    distribution: dict[str, int]
    neuron_count: int
    row_count: int
    activation_set: str
    activation_set_sha256: str
    model: str
    model_digest: str
    notes: tuple[str, ...]

    def top(self, count: int, label: str = "") -> tuple[ScoredNeuron, ...]:
        """The best neurons, overall or for a class, to be edited at once: `ablate(ranking.top(10))`.

        Raises:
            ValueError: There is no such class, or this holds fewer neurons; says how to get more.
        """
        if label and label not in self.classes:
            raise ValueError(f"there is no class {label!r}; there are {', '.join(self.classes) or 'none'}")
        held = self.classes[label] if label else self.neurons
        if not 0 <= count <= len(held):
            more = f"; rankings.get({self.name!r}, top={count}) gives more" if 0 < count <= self.neuron_count else ""
            raise ValueError(
                f"{count} neurons are wanted, and this holds the best {len(held)} of {self.neuron_count:,}{more}"
            )
        return held[:count]

    @classmethod
    def from_proto(cls, message: analysis_pb2.Ranking) -> Ranking:
        """From the wire's form."""
        return cls(
            name=message.name,
            create_time=time_of(message.create_time),
            method=message.method,
            parameters=json_format.MessageToDict(message.parameters),
            label=message.label,
            neurons=_neurons(message.neurons),
            classes={each.label: _neurons(each.neurons) for each in message.classes},
            distribution={each.site: each.count for each in message.distribution},
            neuron_count=message.neuron_count,
            row_count=message.row_count,
            activation_set=message.activation_set,
            activation_set_sha256=message.activation_set_sha256,
            model=message.model,
            model_digest=message.model_digest,
            notes=tuple(message.notes),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RankingComparison:
    """How far rankings agree in their best neurons.

    Attributes:
        rankings: Names of the rankings.
        top: How many of the best neurons of each were compared.
        overlap: Share of their best neurons that two rankings have in common, float32 of shape [rankings, rankings].
        average_overlap: Mean overlap of each with the others.
        neuron_vote: Overlap of each with the vote of the others.
    """

    rankings: tuple[str, ...]
    top: int
    overlap: npt.NDArray[np.float32]
    average_overlap: tuple[float, ...]
    neuron_vote: tuple[float, ...]

    @classmethod
    def from_proto(cls, message: analysis_pb2.RankingComparison) -> RankingComparison:
        """From the wire's form."""
        return cls(
            rankings=tuple(message.rankings),
            top=message.top,
            overlap=to_array(message.overlap).astype(np.float32, copy=False),
            average_overlap=tuple(message.average_overlap),
            neuron_vote=tuple(message.neuron_vote),
        )


def _neurons(messages: Iterable[analysis_pb2.ScoredNeuron]) -> tuple[ScoredNeuron, ...]:
    return tuple(ScoredNeuron(each.site, each.index, each.score) for each in messages)
