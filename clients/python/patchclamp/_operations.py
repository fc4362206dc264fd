"""Long-running operations as the server describes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from patchclamp._activation_sets import ActivationSet
from patchclamp._exceptions import ProtocolError, StatusError
from patchclamp._progress import Progress
from patchclamp._resources import time_of
from patchclamp._status import error_of_status
from patchclamp.v1 import activations_pb2, common_pb2

__all__ = ["OperationMetadata", "OperationResult", "error_of", "metadata_of", "result_of"]

# What an operation can make.
OperationResult: TypeAlias = ActivationSet


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
    activation_set = activations_pb2.ActivationSet()
    if response.Unpack(activation_set):
        return ActivationSet.from_proto(activation_set)
    raise ProtocolError(f"the operation made a {response.type_url!r}, which this version of patchclamp does not know")
