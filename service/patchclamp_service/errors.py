"""From exception to gRPC status: one table, and the details of google.rpc.

Every refusal carries ErrorInfo (domain "patchclamp", a reason that stays the same between releases) and, where they
say more, BadRequest with the field path, RetryInfo and QuotaFailure. All of it stays well below the 8 kB that peers
accept as metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_analysis.errors import Cancelled as AnalysisCancelled

from patchclamp_service.engine.errors import (
    AlreadyExists,
    BadModel,
    Busy,
    Cancelled,
    Crashed,
    DigestMismatch,
    Exhausted,
    InvalidRequest,
    NotFound,
    NotReady,
    PatchclampError,
    Unsupported,
)

__all__ = ["CODES", "DOMAIN", "Refusal", "foreseen", "refuse"]

DOMAIN = "patchclamp"

CODES: dict[type[BaseException], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Unsupported: grpc.StatusCode.FAILED_PRECONDITION,
    BadModel: grpc.StatusCode.FAILED_PRECONDITION,
    DigestMismatch: grpc.StatusCode.DATA_LOSS,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    Busy: grpc.StatusCode.UNAVAILABLE,
    Cancelled: grpc.StatusCode.CANCELLED,
    Crashed: grpc.StatusCode.INTERNAL,
    BadData: grpc.StatusCode.INVALID_ARGUMENT,
    AnalysisCancelled: grpc.StatusCode.CANCELLED,
}
"""What the caller learns of. Anything else, EngineFailure too, is INTERNAL with a generic text."""

# The text travels twice, in grpc-message (three bytes for each that is not ASCII) and in the details (base64).
_TEXT_BYTES = 800
_FIELD_BYTES = 300


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status as it goes to the caller."""

    code: grpc.StatusCode
    text: str
    reason: str
    details: tuple[Message, ...]

    def status(self) -> status_pb2.Status:
        """The same as a message, for what is not the answer of a call."""
        status = status_pb2.Status(code=self.code.value[0], message=self.text)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The details as the metadata entry that every gRPC library reads."""
        return (("grpc-status-details-bin", self.status().SerializeToString()),)


def foreseen(error: BaseException) -> bool:
    """Whether the table has the exception: whether its text is meant for the caller."""
    return any(kind in CODES for kind in type(error).__mro__)


def refuse(error: BaseException, error_id: str = "") -> Refusal:
    """The refusal for an exception; `error_id` names the log entry of an unforeseen one."""
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if isinstance(error, AnalysisError):
        error = PatchclampError(str(error), reason="BAD_DATA" if isinstance(error, BadData) else "CANCELLED")
    if code is None or not isinstance(error, PatchclampError):
        return _unforeseen(error_id)
    text, field = _cut(error.message, _TEXT_BYTES), _cut(error.field, _FIELD_BYTES)
    named = {"field": field, "limit": error.quota}
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata={key: value for key, value in named.items() if value}
    )
    return Refusal(code, text, error.reason, (info, *_more(code, error, text, field)))


def _unforeseen(error_id: str) -> Refusal:
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    text = f"internal error; the server's log has the details under error id {error_id}"
    return Refusal(grpc.StatusCode.INTERNAL, text, "INTERNAL", (info,))


def _more(code: grpc.StatusCode, error: PatchclampError, text: str, field: str) -> list[Message]:
    more: list[Message] = []
    if field and code is grpc.StatusCode.INVALID_ARGUMENT:
        more.append(_bad_request(field, _cut(text, _FIELD_BYTES)))
    retry_after = 1.0 if error.retry_after is None and code is grpc.StatusCode.UNAVAILABLE else error.retry_after
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(timedelta(seconds=retry_after))
        more.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.quota and code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        more.append(_quota_failure(error.quota, _cut(text, _FIELD_BYTES)))
    return more


def _bad_request(field: str, text: str) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
    details: Message = error_details_pb2.BadRequest(field_violations=[violation])
    return details


def _quota_failure(limit: str, text: str) -> Message:
    violation = error_details_pb2.QuotaFailure.Violation(subject=f"limit:{limit}", description=text)
    details: Message = error_details_pb2.QuotaFailure(violations=[violation])
    return details


def _cut(text: str, most: int) -> str:
    """At most `most` bytes of UTF-8, whole characters, without half surrogates."""
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"
