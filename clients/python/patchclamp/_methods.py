"""The methods of the analysis library, as the server describes them, and what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from patchclamp.v1 import analysis_pb2

__all__ = ["Method", "MethodAnswer", "MethodKind", "MethodParameter", "to_struct"]


class MethodKind(StrEnum):
    """What kind of question a method answers."""

    CONCEPT_TO_NEURONS = "concept_to_neurons"
    """Which neurons carry a concept."""
    UNSUPERVISED = "unsupervised"
    """What the model itself says about its neurons, without labels."""
    NEURON_TO_CONCEPTS = "neuron_to_concepts"
    """What a neuron stands for."""
    REDUNDANCY = "redundancy"
    """Which neurons can be left out."""
    UNKNOWN = "unknown"
    """A kind that this version of the package has no name for."""


class MethodAnswer(StrEnum):
    """What a method answers with, which says how to run it."""

    RANKING = "ranking"
    """Scores of neurons: `client.analysis.rank`."""
    TABLES = "tables"
    """Tables: `client.analysis.analyze`."""
    UNKNOWN = "unknown"
    """Something that this version of the package has no name for."""


KINDS = {
    analysis_pb2.METHOD_KIND_CONCEPT_TO_NEURONS: MethodKind.CONCEPT_TO_NEURONS,
    analysis_pb2.METHOD_KIND_UNSUPERVISED: MethodKind.UNSUPERVISED,
    analysis_pb2.METHOD_KIND_NEURON_TO_CONCEPTS: MethodKind.NEURON_TO_CONCEPTS,
    analysis_pb2.METHOD_KIND_REDUNDANCY: MethodKind.REDUNDANCY,
}
ANSWERS = {
    analysis_pb2.METHOD_ANSWER_RANKING: MethodAnswer.RANKING,
    analysis_pb2.METHOD_ANSWER_TABLES: MethodAnswer.TABLES,
}


@dataclass(frozen=True, slots=True)
class MethodParameter:
    """A hyper-parameter of a method.

    Attributes:
        name: Its name, as in `parameters=`.
        type: "bool", "int", "float", "choice" or "floats".
        default: The value it has when it is not given.
        description: One line on what it does.
        min: Smallest value; None: there is none.
        max: Largest value; None: there is none.
        choices: What a "choice" may be.
    """

    name: str
    type: str
    default: object
    description: str
    min: float | None
    max: float | None
    choices: tuple[str, ...]

    @classmethod
    def from_proto(cls, message: analysis_pb2.MethodParameter) -> MethodParameter:
        """From the wire's form."""
        return cls(
            name=message.name,
            type=message.type,
            default=json_format.MessageToDict(message.default),
            description=message.description,
            min=message.min if message.HasField("min") else None,
            max=message.max if message.HasField("max") else None,
            choices=tuple(message.choices),
        )


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the analysis library.

    Attributes:
        name: As in `client.analysis.rank(method=…)` or `analyze(method=…)`: "probeless".
        kind: What kind of question it answers.
        answer: What it answers with: a ranking, or tables.
        compares: Whether it compares several activation sets of the same words: `compare_with=…`.
        summary: One line on what it does.
        description: Formula, what it misses, how it differs from its paper.
        supervised: Whether it needs labels.
        reference: The paper.
        complexity: Time, in N rows, D neurons, C classes.
        parameters: Its hyper-parameters.
    """

    name: str
    kind: MethodKind
    answer: MethodAnswer
    compares: bool
    summary: str
    description: str
    supervised: bool
    reference: str
    complexity: str
    parameters: tuple[MethodParameter, ...]

    @classmethod
    def from_proto(cls, message: analysis_pb2.Method) -> Method:
        """From the wire's form."""
        return cls(
            name=message.name,
            kind=KINDS.get(message.kind, MethodKind.UNKNOWN),
            answer=ANSWERS.get(message.answer, MethodAnswer.UNKNOWN),
            compares=message.compares,
            summary=message.summary,
            description=message.description,
            supervised=message.supervised,
            reference=message.reference,
            complexity=message.complexity,
            parameters=tuple(map(MethodParameter.from_proto, message.parameters)),
        )


def to_struct(parameters: Mapping[str, object] | None) -> Struct:
    """The wire's form of hyper-parameters by name.

    Raises:
        TypeError: A value has none.
    """
    if not isinstance(parameters, Mapping | None):
        raise TypeError(f"parameters is a {type(parameters).__name__}; it takes values by name, as {{'l1': 0.001}}")
    message = Struct()
    for name, given in (parameters or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"parameters: a name is a string, not {name!r}")
        value = given.tolist() if isinstance(given, np.ndarray | np.generic) else given
        try:
            message.update({name: list(value) if isinstance(value, tuple) else value})  # type: ignore[dict-item]
        except (ValueError, TypeError):
            text = f"parameters[{name!r}] is a {type(value).__name__}; it takes a number, a string, a bool or a list"
            raise TypeError(text) from None
    return message
