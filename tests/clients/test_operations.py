"""Long-running work: waiting for it, what it ends with, and looking after it by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from patchclamp import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    OperationMetadata,
    ProtocolError,
    ResourceExhausted,
    StatusError,
    Unavailable,
    Unknown,
)
from patchclamp.v1 import activations_pb2, common_pb2

from tests.clients.halves import Half
from tests.clients.scripted import Failure, Script

NAME = "operations/x"
SET = activations_pb2.ActivationSet(name="activationSets/a", dtype=common_pb2.FLOAT32)
GONE = Failure(grpc.StatusCode.UNAVAILABLE, "starting")


def packed(message: Message) -> AnyMessage:
    any_message = AnyMessage()
    any_message.Pack(message)
    return any_message


def running(stage: str = "extracting", **fields: Any) -> operations_pb2.Operation:
    metadata = common_pb2.OperationMetadata(stage=stage, **fields)
    return operations_pb2.Operation(name=NAME, metadata=packed(metadata))


def failed(code: int, message: str = "no", *details: Message) -> operations_pb2.Operation:
    error = status_pb2.Status(code=code, message=message, details=map(packed, details))
    return operations_pb2.Operation(name=NAME, done=True, error=error)


DONE = operations_pb2.Operation(name=NAME, done=True, response=packed(SET))


async def test_the_result_is_waited_for(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    script.reply("WaitOperation", running())
    script.reply("WaitOperation", DONE)
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME, progress=[].append)
        assert not operation.done
        made = await half.wait(operation.result)
        assert (made.name, operation.done, operation.error) == ("activationSets/a", True, None)
        assert (await half.wait(operation.result)).name == "activationSets/a"
    _, *waits = script.requests
    assert [wait.name for wait in waits] == [NAME, NAME]
    assert {wait.timeout.ToMilliseconds() for wait in waits} == {1000}


async def test_the_server_waits_longer_when_nobody_looks(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    script.reply("WaitOperation", DONE)
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
        assert await half.wait(operation.wait)
    assert script.requests[1].timeout.ToMilliseconds() == 30_000


async def test_metadata_says_how_far_it_is(script: Script, half: Half) -> None:
    moment = Timestamp(seconds=1_700_000_000)
    fields: dict[str, Any] = {
        "method": "M",
        "target": "t",
        "done": 1200,
        "total": 2001,
        "rate": 7.5,
        "unit": "sentences",
    }
    script.reply("GetOperation", running(**fields, create_time=moment, update_time=moment, attempt=2))
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
    when = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert operation.metadata == OperationMetadata(
        "extracting", 1200, 2001, "sentences", 7.5, "M", "t", attempt=2, create_time=when, update_time=when
    )
    assert operation.state == "extracting 1,200 of 2,001 sentences"
    assert repr(operation) == f"<{type(operation).__name__} {NAME}: {operation.state}>"


async def test_progress_is_told_while_waiting(script: Script, half: Half) -> None:
    script.reply("GetOperation", running("waiting"))
    script.reply("WaitOperation", running(done=1))
    script.reply("WaitOperation", DONE)
    told: list[OperationMetadata] = []
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME, progress=told.append)
        await half.wait(operation.result)
    assert [(metadata.stage, metadata.done) for metadata in told] == [("waiting", 0), ("extracting", 1), ("", 0)]


@pytest.mark.parametrize(
    ("code", "error", "state"),
    [
        (3, InvalidArgument, "failed: INVALID_ARGUMENT (WHY) at sites[0]: no"),
        (1, Cancelled, "cancelled"),
        (8, ResourceExhausted, "failed: RESOURCE_EXHAUSTED (WHY) at sites[0]: no"),
        (99, Unknown, "failed: UNKNOWN (WHY) at sites[0]: no"),
    ],
)
async def test_a_failure_is_raised_as_a_call_would_raise_it(
    script: Script, half: Half, code: int, error: type[StatusError], state: str
) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="sites[0]")
    details = (error_details_pb2.ErrorInfo(reason="WHY"), error_details_pb2.BadRequest(field_violations=[violation]))
    script.reply("GetOperation", failed(code, "no", *details))
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
        for _ in range(2):
            with pytest.raises(error) as caught:
                await half.wait(operation.result)
            assert (caught.value.message, caught.value.reason, caught.value.field) == ("no", "WHY", "sites[0]")
    assert (operation.done, operation.state) == (True, state)
    assert len(script.requests) == 1


async def test_what_takes_too_long_goes_on(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    script.reply("GetOperation", running(done=3, total=9, unit="rows"))
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
        with pytest.raises(DeadlineExceeded, match="not done after 0 s, but extracting 3 of 9 rows; it goes on"):
            await half.wait(operation.result, 0)


async def test_waiting_ends_with_the_time_given(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    for _ in range(20):
        script.reply("WaitOperation", running())
    script.reply("GetOperation", running())
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
        assert await half.wait(operation.wait, 0.1) is False
    assert all(request.timeout.ToMilliseconds() <= 100 for request in script.requests[1:-1])


async def test_a_server_that_starts_again_is_waited_for(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    script.reply("WaitOperation", GONE)
    script.reply("WaitOperation", DONE)
    async with half.client(script.target, retries=0) as client:
        operation = await half.wait(client.operations.get, NAME)
        assert (await half.wait(operation.result)).name == "activationSets/a"


async def test_a_server_that_stays_away_is_given_up(
    script: Script, half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("_async", "_sync"):
        monkeypatch.setattr(f"patchclamp.{part}.operations.PATIENCE", 0.0)
    script.reply("GetOperation", running())
    script.reply("WaitOperation", GONE)
    async with half.client(script.target, retries=0) as client:
        operation = await half.wait(client.operations.get, NAME)
        with pytest.raises(Unavailable, match="starting"):
            await half.wait(operation.wait)


async def test_refresh_asks_again(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    script.reply("GetOperation", DONE)
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
        await half.wait(operation.refresh)
    assert operation.done


async def test_what_is_made_by_a_later_server_is_said(script: Script, half: Half) -> None:
    unknown = AnyMessage(type_url="type.googleapis.com/patchclamp.v9.Thing")
    metadata = packed(empty_pb2.Empty())
    script.reply("GetOperation", operations_pb2.Operation(name=NAME, done=True, response=unknown, metadata=metadata))
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.get, NAME)
        assert operation.metadata == OperationMetadata("")
        with pytest.raises(ProtocolError, match=r"patchclamp\.v9\.Thing"):
            await half.wait(operation.result)


@pytest.mark.parametrize(("done", "wanted"), [(None, ""), (True, "done=true"), (False, "done=false")])
async def test_list_reads_every_page(script: Script, half: Half, done: bool | None, wanted: str) -> None:
    pages = [([running()], "n"), ([DONE], "")]
    for operations, token in pages:
        page = operations_pb2.ListOperationsResponse(operations=operations, next_page_token=token)
        script.reply("ListOperations", page)
    async with half.client(script.target) as client:
        found = await half.wait(client.operations.list, done=done)
    assert [operation.done for operation in found] == [False, True]
    assert [(request.name, request.filter, request.page_token) for request in script.requests] == [
        ("operations", wanted, ""),
        ("operations", wanted, "n"),
    ]


async def test_wait_cancel_and_delete_by_name(script: Script, half: Half) -> None:
    script.reply("GetOperation", running())
    script.reply("WaitOperation", DONE)
    for method in ("CancelOperation", "DeleteOperation") * 2:
        script.reply(method, empty_pb2.Empty())
    async with half.client(script.target) as client:
        operation = await half.wait(client.operations.wait, NAME)
        assert operation.done
        await half.wait(client.operations.cancel, NAME)
        await half.wait(client.operations.delete, operation)
        await half.wait(operation.cancel)
        await half.wait(operation.delete)
    kinds = [type(request).__name__.removesuffix("OperationRequest") for request in script.requests]
    assert kinds == ["Get", "Wait", "Cancel", "Delete", "Cancel", "Delete"]
    assert {request.name for request in script.requests} == {NAME}
