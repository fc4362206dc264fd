"""From the status of a failed call to an exception."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from patchclamp._exceptions import StatusError, Unknown

__all__ = ["error_of_status", "status_error", "status_errors"]

DETAILS_KEY = "grpc-status-details-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}
ERRORS = {error.code: error for error in StatusError.__subclasses__()}

MessageT = TypeVar("MessageT", bound=Message)


@contextmanager
def status_errors() -> Iterator[None]:
    """Raises this package's exception where gRPC raises its own."""
    try:
        yield
    except grpc.RpcError as error:
        raise status_error(error) from error


def status_error(error: grpc.RpcError) -> StatusError:
    """The exception for a failed call, with what the server's `google.rpc.Status` says beyond code and message."""
    return _error(error.code(), error.details(), _details(error))


def error_of_status(status: status_pb2.Status) -> StatusError:
    """The exception for a status that came as a message, as an operation's error does."""
    return _error(CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, list(status.details))


def _error(code: grpc.StatusCode, message: str | None, details: Sequence[AnyMessage]) -> StatusError:
    info = _first(details, error_details_pb2.ErrorInfo())
    request = _first(details, error_details_pb2.BadRequest())
    retry = _first(details, error_details_pb2.RetryInfo())
    return ERRORS.get(code, Unknown)(
        message or "the server gave no message",
        reason=info.reason if info else "",
        field=_field(request, info),
        retry_after=retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry else None,
        metadata=info.metadata if info else None,
    )


def _field(request: error_details_pb2.BadRequest | None, info: error_details_pb2.ErrorInfo | None) -> str:
    """The first field that is wrong. BadRequest is for wrong arguments; other errors name theirs beside the reason."""
    if request and request.field_violations:
        return str(request.field_violations[0].field)
    return str(info.metadata.get("field", "")) if info else ""


def _details(error: grpc.RpcError) -> Sequence[AnyMessage]:
    status = status_pb2.Status()
    for key, value in cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ()):
        if key == DETAILS_KEY:
            try:
                status.ParseFromString(value)
            except DecodeError:
                # A proxy may cut long metadata; code and message are still worth raising.
                return []
    return list[AnyMessage](status.details)


def _first(details: Iterable[AnyMessage], empty: MessageT) -> MessageT | None:
    """The first detail of `empty`'s type, read into it."""
    try:
        return next((empty for detail in details if detail.Unpack(empty)), None)
    except DecodeError:
        return None
