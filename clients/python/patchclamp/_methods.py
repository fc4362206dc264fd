"""The methods that rank neurons, as the server describes them."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import json_format

from patchclamp.v1 import analysis_pb2

__all__ = ["Method", "MethodParameter"]


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
    """A method that ranks neurons.

    Attributes:
        name: As in `client.analysis.rank(method=…)`: "probeless".
        summary: One line on what it does.
        description: Formula, what it misses, how it differs from its paper.
        supervised: Whether it needs labels.
        reference: The paper.
        complexity: Time, in N rows, D neurons, C classes.
        parameters: Its hyper-parameters.
    """

    name: str
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
            summary=message.summary,
            description=message.description,
            supervised=message.supervised,
            reference=message.reference,
            complexity=message.complexity,
            parameters=tuple(map(MethodParameter.from_proto, message.parameters)),
        )
