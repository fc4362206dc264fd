"""Probes as the server describes them, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from google.protobuf import json_format

from patchclamp._resources import time_of
from patchclamp.v1 import analysis_pb2

__all__ = ["ClassEvaluation", "Probe", "ProbeEvaluation"]


@dataclass(frozen=True, slots=True)
class Probe:
    """A classifier of rows by their activations, trained on the server and kept there.

    Attributes:
        name: "probes/upos".
        create_time: When it was complete, in UTC.
        label: The layer of labels.
        classes: Its classes, in the order of its outputs.
        sites: How many neurons of each site it reads.
        neuron_count: Number of neurons that it reads.
        parameters: All its hyper-parameters.
        row_count: Number of rows that it was trained on.
        development_accuracy: Share of the rows kept aside that it got right; training was stopped by them.
        activation_set: Name of the activation set.
        activation_set_sha256: Checksum of its file.
        model_digest: Digest of the model, as in `Model.digest`.
        notes: What was odd about the data.
    """

    name: str
    create_time: datetime
    label: str
    classes: tuple[str, ...]
    sites: dict[str, int]
    neuron_count: int
    parameters: dict[str, object]
    row_count: int
    development_accuracy: float
    activation_set: str
    activation_set_sha256: str
    model_digest: str
    notes: tuple[str, ...]

    @classmethod
    def from_proto(cls, message: analysis_pb2.Probe) -> Probe:
        """From the wire's form."""
        return cls(
            name=message.name,
            create_time=time_of(message.create_time),
            label=message.label,
            classes=tuple(message.classes),
            sites={each.site: each.count for each in message.sites},
            neuron_count=message.neuron_count,
            parameters=json_format.MessageToDict(message.parameters),
            row_count=message.row_count,
            development_accuracy=message.development_accuracy,
            activation_set=message.activation_set,
            activation_set_sha256=message.activation_set_sha256,
            model_digest=message.model_digest,
            notes=tuple(message.notes),
        )


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """How good a probe is at one class.

    Attributes:
        precision: Share of the rows it gave this class that are of it.
        recall: Share of the rows of this class that it gave it.
        f1: Their harmonic mean.
        count: Number of rows of this class.
    """

    precision: float
    recall: float
    f1: float
    count: int


@dataclass(frozen=True, slots=True)
class ProbeEvaluation:
    """How good a probe is on an activation set.

    Attributes:
        probe: Name of the probe.
        activation_set: Name of the set.
        accuracy: Share of the rows that it got right.
        majority: Share of the most frequent class: what guessing gives.
        macro_f1: Mean of the F1 of the classes.
        row_count: Number of rows.
        classes: Each class that has rows.
    """

    probe: str
    activation_set: str
    accuracy: float
    majority: float
    macro_f1: float
    row_count: int
    classes: dict[str, ClassEvaluation]

    @classmethod
    def from_proto(cls, message: analysis_pb2.ProbeEvaluation) -> ProbeEvaluation:
        """From the wire's form."""
        classes = {
            each.label: ClassEvaluation(each.precision, each.recall, each.f1, each.count) for each in message.classes
        }
        return cls(
            probe=message.probe,
            activation_set=message.activation_set,
            accuracy=message.accuracy,
            majority=message.majority,
            macro_f1=message.macro_f1,
            row_count=message.row_count,
            classes=classes,
        )
