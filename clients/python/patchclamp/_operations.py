"""Long-running operations as the server describes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from patchclamp._activation_sets import ActivationSet
from patchclamp._analyses import Analysis
from patchclamp._exceptions import ProtocolError, StatusError
from patchclamp._probes import Probe, ProbeEvaluation
from patchclamp._progress import Progress
from patchclamp._rankings import Ranking
from patchclamp._redundancy import Redundancy
from patchclamp._resources import time_of
from patchclamp._status import error_of_status
from patchclamp.v1 import activations_pb2, analysis_pb2, common_pb2

__all__ = ["OperationMetadata", "OperationResult", "error_of", "metadata_of", "result_of", "result_reader"]

# What an operation can make.
OperationResult: TypeAlias = ActivationSet | Ranking | Probe | ProbeEvaluation | Redundancy | Analysis

ResultT = TypeVar("ResultT", bound=OperationResult)

MESSAGES: dict[type[Message], Callable[[Any], OperationResult]] = {
    activations_pb2.ActivationSet: ActivationSet.from_proto,
    analysis_pb2.Ranking: Ranking.from_proto,
    analysis_pb2.Probe: Probe.from_proto,
    analysis_pb2.ProbeEvaluation: ProbeEvaluation.from_proto,
    analysis_pb2.Redundancy: Redundancy.from_proto,
    analysis_pb2.Analysis: Analysis.from_proto,
}


@dataclass(frozen=True, slots=True)
class OperationMetadata(Progress):
    """How far an operation is: a `Progress`, and where it comes from.

    Attributes:
        method: The method that started it: "CreateActivationSet".
        target: Name of what it makes: "activationSets/dev-minilm".
        attempt: How often it was started; above 1 after a restart of the server.
        create_time: When it was asked for, in UTC.
        update_time: When this was last true.
    """

    method: str = ""
    target: str = ""
    attempt: int = 0
    create_time: datetime | None = None
    update_time: datetime | None = None

    @classmethod
    def from_proto(cls, message: common_pb2.OperationMetadata) -> OperationMetadata:
        """From the wire's form."""
        return cls(
            stage=message.stage,
            done=message.done,
            total=message.total,
            unit=message.unit,
            rate=message.rate,
            method=message.method,
            target=message.target,
            attempt=message.attempt,
            create_time=time_of(message.create_time) if message.HasField("create_time") else None,
            update_time=time_of(message.update_time) if message.HasField("update_time") else None,
        )


def metadata_of(operation: operations_pb2.Operation) -> OperationMetadata:
    """What the server says of it; empty where that is of a kind this version does not know."""
    metadata = common_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    return OperationMetadata.from_proto(metadata)


def error_of(operation: operations_pb2.Operation) -> StatusError | None:
    """Why it failed, as the exception that a call would have raised; None: it did not."""
    return error_of_status(operation.error) if operation.HasField("error") else None


def result_of(response: AnyMessage) -> OperationResult:
    """What the operation has made.

    Raises:
        ProtocolError: It is of a kind this version does not know.
    """
    for kind, read in MESSAGES.items():
        message = kind()
        if response.Unpack(message):
            return read(message)
    raise ProtocolError(f"the operation made a {response.type_url!r}, which this version of patchclamp does not know")


def result_reader(kind: type[ResultT]) -> Callable[[AnyMessage], ResultT]:
    """`result_of`, for an operation that makes nothing but one kind of thing."""

    def read(response: AnyMessage) -> ResultT:
        result = result_of(response)
        if not isinstance(result, kind):
            raise ProtocolError(f"the operation made a {type(result).__name__} where a {kind.__name__} was wanted")
        return result

    return read
