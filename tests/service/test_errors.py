"""The table from exception to status, and that a status always fits into metadata."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from patchclamp_analysis import errors as analysis
from patchclamp_service.engine import errors
from patchclamp_service.errors import CODES, Refusal, foreseen, refuse

TABLE = [
    (errors.InvalidRequest("x", field="a[0].b"), "INVALID_ARGUMENT", {"ErrorInfo", "BadRequest"}),
    (errors.InvalidRequest("x"), "INVALID_ARGUMENT", {"ErrorInfo"}),
    (errors.NotFound("x", field="model"), "NOT_FOUND", {"ErrorInfo"}),
    (errors.AlreadyExists("x"), "ALREADY_EXISTS", {"ErrorInfo"}),
    (errors.Unsupported("x"), "FAILED_PRECONDITION", {"ErrorInfo"}),
    (errors.BadModel("x"), "FAILED_PRECONDITION", {"ErrorInfo"}),
    (errors.DigestMismatch("x"), "DATA_LOSS", {"ErrorInfo"}),
    (
        errors.Exhausted("x", retry_after=2, quota="queue"),
        "RESOURCE_EXHAUSTED",
        {"ErrorInfo", "RetryInfo", "QuotaFailure"},
    ),
    (errors.Exhausted("x"), "RESOURCE_EXHAUSTED", {"ErrorInfo"}),
    (errors.NotReady("x"), "UNAVAILABLE", {"ErrorInfo", "RetryInfo"}),
    (errors.Busy("x"), "UNAVAILABLE", {"ErrorInfo", "RetryInfo"}),
    (errors.Cancelled("x"), "CANCELLED", {"ErrorInfo"}),
    (errors.Crashed("x"), "INTERNAL", {"ErrorInfo"}),
    (analysis.BadData("x", where="dev, line 3"), "INVALID_ARGUMENT", {"ErrorInfo"}),
    (analysis.Cancelled("x"), "CANCELLED", {"ErrorInfo"}),
    (analysis.AnalysisError("secret"), "INTERNAL", {"ErrorInfo"}),
    (errors.EngineFailure("secret"), "INTERNAL", {"ErrorInfo"}),
    (ValueError("secret"), "INTERNAL", {"ErrorInfo"}),
    (MemoryError(), "INTERNAL", {"ErrorInfo"}),
]


def details(refusal: Refusal) -> status_pb2.Status:
    ((key, value),) = refusal.trailing_metadata()
    assert key == "grpc-status-details-bin"
    return status_pb2.Status.FromString(value)


def detail(refusal: Refusal, kind: type[Message]) -> Any:
    (found,) = (each for each in refusal.details if isinstance(each, kind))
    return found


@pytest.mark.parametrize(("error", "code", "kinds"), TABLE, ids=lambda value: type(value).__name__)
def test_each_exception_has_its_code_and_details(error: Exception, code: str, kinds: set[str]) -> None:
    refusal = refuse(error, "e1")
    status = details(refusal)
    assert refusal.code is grpc.StatusCode[code]
    assert status.code == refusal.code.value[0]
    assert status.message == refusal.text
    assert {any_.type_url.rpartition(".")[2] for any_ in status.details} == kinds


def test_the_table_is_complete() -> None:
    kinds = {getattr(errors, name) for name in errors.__all__}
    assert kinds - set(CODES) == {errors.PatchclampError, errors.EngineFailure}


class BadColumn(analysis.BadData):
    """A kind of its own."""


def test_what_the_analysis_found_wrong_says_where() -> None:
    refusal = refuse(BadColumn("no label", where="dev.upos, line 3"))
    assert foreseen(BadColumn(""))
    assert (refusal.text, refusal.reason) == ("dev.upos, line 3: no label", "BAD_DATA")


@pytest.mark.parametrize(("error", "expected"), [(row[0], row[1] != "INTERNAL") for row in TABLE])
def test_what_is_foreseen_is_in_the_table(error: Exception, expected: bool) -> None:
    assert foreseen(error) == (expected or isinstance(error, errors.Crashed))
    assert ("error_id" in detail(refuse(error, "e1"), error_details_pb2.ErrorInfo).metadata) != foreseen(error)


def test_the_details_say_what_and_where() -> None:
    error = errors.InvalidRequest("no such neuron", reason="INDEX_OUT_OF_RANGE", field="interventions[0].neurons")
    refusal = refuse(error)
    info = detail(refusal, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("INDEX_OUT_OF_RANGE", "patchclamp")
    violation = detail(refusal, error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.description) == ("interventions[0].neurons", "no such neuron")


def test_when_to_retry_and_which_limit() -> None:
    refusal = refuse(errors.Exhausted("full", retry_after=1.5, quota="queued_tokens"))
    assert detail(refusal, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() == 1.5
    assert detail(refusal, error_details_pb2.QuotaFailure).violations[0].subject == "limit:queued_tokens"


@pytest.mark.parametrize("error", [ValueError("/secret/path"), errors.EngineFailure("/secret/path")])
def test_the_unforeseen_says_nothing_but_an_id(error: Exception) -> None:
    refusal = refuse(error, "c0ffee")
    assert "c0ffee" in refusal.text
    assert b"secret" not in refusal.trailing_metadata()[0][1] + refusal.text.encode()


@pytest.mark.parametrize("letter", ["x", "ä", "神", "\U0001f9e0", "\n", "\ud800"])
def test_a_status_fits_into_metadata(letter: str) -> None:
    refusal = refuse(errors.InvalidRequest(letter * 100_000, field=letter * 100_000, quota="q" * 10))
    sent = refusal.text.encode()
    percent_encoded = sum(1 if 0x20 <= byte <= 0x7E else 3 for byte in sent)
    base64 = len(refusal.trailing_metadata()[0][1]) * 4 / 3
    assert len(sent) < 1024
    assert percent_encoded + base64 < 8000
