"""What can go wrong.

PatchclampError
├── StatusError: the server, or the way to it, answered with a status; one class a gRPC code
│   ├── Cancelled              the call was cancelled
│   ├── Unknown                the server failed without saying how
│   ├── InvalidArgument        the request is wrong whatever the state of the server; `field` says where
│   ├── DeadlineExceeded       the timeout passed
│   ├── NotFound               no model, set or other resource of that name
│   ├── AlreadyExists          the name is taken
│   ├── PermissionDenied       these credentials may not do that
│   ├── Unauthenticated        no valid credentials
│   ├── ResourceExhausted      queue full, quota, too large; `retry_after` says when to try again
│   ├── FailedPrecondition     the model cannot do that
│   ├── Aborted                a concurrent change got in the way
│   ├── OutOfRange             past the end
│   ├── Unimplemented          the server is older than this client
│   ├── Internal               a fault of the server; quote `error_id` when reporting it
│   ├── Unavailable            no server there, loading or draining; retried before it is raised
│   └── DataLoss               weights or stored data are damaged
├── ProtocolError: the server's reply breaks the contract
├── IncompleteTable: rows of a table are on the server only, where all are wanted
└── NotationError (a ValueError too): text that is no neuron string, edit or list of edits
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import grpc

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "IncompleteTable",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "NotationError",
    "OutOfRange",
    "PatchclampError",
    "PermissionDenied",
    "ProtocolError",
    "ResourceExhausted",
    "StatusError",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
]

LONGEST_QUOTE = 120


class PatchclampError(Exception):
    """Base of everything this package raises on its own account.

    Attributes:
        code: The gRPC status code: of the reply, or the one that fits an error found on this side.
        message: What was wrong, in words.
        reason: Machine-readable reason in UPPER_SNAKE ("INDEX_OUT_OF_RANGE"); empty where none was given.
        field: Path of the request's first offending field ("interventions[0].neurons.indices"); empty where none.
        retry_after: Seconds after which another try may succeed; None where the server did not say.
        error_id: Number of the entry in the server's log; empty where there is none.
        metadata: Further key-value pairs that came with the reason.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.retry_after = retry_after
        self.metadata = dict(metadata or {})
        self.error_id = self.metadata.get("error_id", "")

    def __str__(self) -> str:
        """The whole story on one line."""
        reason = f" ({self.reason})" if self.reason else ""
        said = self.message.startswith(f"{self.field}:")
        field = f" at {self.field}" if self.field and not said else ""
        retry = f"; try again in {self.retry_after:g} s" if self.retry_after is not None else ""
        error_id = f" [error id {self.error_id}]" if self.error_id else ""
        return f"{self.code.name}{reason}{field}: {self.message}{retry}{error_id}"


class StatusError(PatchclampError):
    """The server, or the way to it, answered with a status other than OK."""


class ProtocolError(PatchclampError):
    """The server's reply breaks the contract; nothing in it should be used."""

    code = grpc.StatusCode.INTERNAL


class IncompleteTable(PatchclampError):
    """Rows of a table are on the server only, where all of them are wanted."""

    code = grpc.StatusCode.OUT_OF_RANGE


class NotationError(PatchclampError, ValueError):
    """Text that is not what it should be.

    Attributes:
        text: The text.
        column: Where in it the trouble starts, from 1.
    """

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(message)
        self.args = (message, text, column)  # what pickle hands to the constructor
        self.text = text
        self.column = column

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= LONGEST_QUOTE else f"{self.text[: LONGEST_QUOTE - 1]}…"
        return f"{shown!r}, column {self.column}: {self.message}"


class Cancelled(StatusError):
    """The call was cancelled, here or by the server."""

    code = grpc.StatusCode.CANCELLED


class Unknown(StatusError):
    """The server failed without saying how."""

    code = grpc.StatusCode.UNKNOWN


class InvalidArgument(StatusError):
    """The request is wrong, whatever the state of the server; `field` says where."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class DeadlineExceeded(StatusError):
    """The timeout passed before the call was done."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class NotFound(StatusError):
    """No model, set or other resource has that name."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(StatusError):
    """The name is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PermissionDenied(StatusError):
    """These credentials may not do that."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(StatusError):
    """The call came without valid credentials."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(StatusError):
    """The queue is full, a quota is used up or a message is too large; `retry_after` says when to try again."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class FailedPrecondition(StatusError):
    """The model cannot do that, or its state does not allow it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(StatusError):
    """A concurrent change got in the way."""

    code = grpc.StatusCode.ABORTED


class OutOfRange(StatusError):
    """The request reaches past the end of something."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(StatusError):
    """The server does not know this call; it may be older than this client."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(StatusError):
    """A fault of the server; quote `error_id` when reporting it."""

    code = grpc.StatusCode.INTERNAL


class Unavailable(StatusError):
    """There is no server, or it is loading or draining; raised after the client's retries."""

    code = grpc.StatusCode.UNAVAILABLE


class DataLoss(StatusError):
    """Weights or stored data are damaged."""

    code = grpc.StatusCode.DATA_LOSS
