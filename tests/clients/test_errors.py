"""From the status of a call to an exception, and which calls are tried again."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import patchclamp
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from patchclamp import (
    DeadlineExceeded,
    InvalidArgument,
    NotationError,
    PatchclampError,
    ResourceExhausted,
    StatusError,
    Unavailable,
)
from patchclamp.v1 import inference_pb2, models_pb2

from tests.clients.halves import Half
from tests.clients.scripted import HOLD, Failure, Script

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
LOADING = Failure(grpc.StatusCode.UNAVAILABLE, "loading")
TOKEN = inference_pb2.GenerateResponse(token=inference_pb2.Token(id=1, text="a"))
COMPLETED = inference_pb2.GenerateResponse(completed=inference_pb2.Completed())


@pytest.mark.parametrize("code", CODES, ids=[code.name for code in CODES])
async def test_each_code_has_its_class(script: Script, half: Half, code: grpc.StatusCode) -> None:
    script.reply("GetModel", Failure(code, "no"))
    async with half.client(script.target, retries=0) as client:
        with pytest.raises(StatusError) as caught:
            await half.wait(client.model)
    assert type(caught.value).__name__ == code.name.title().replace("_", "")
    assert (caught.value.code, caught.value.message) == (code, "no")
    assert (caught.value.reason, caught.value.field, caught.value.retry_after) == ("", "", None)


async def test_details_are_read(script: Script, half: Half) -> None:
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="patchclamp", metadata={"error_id": "7f", "k": "v"})
    violation = error_details_pb2.BadRequest.FieldViolation(field="interventions[0].neurons", description="d")
    request = error_details_pb2.BadRequest(field_violations=[violation, violation])
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
    script.reply("Score", Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (retry, request, info)))
    async with half.client(script.target) as client:
        with pytest.raises(ResourceExhausted) as caught:
            await half.wait(client.score, [("a", " b")])
    error = caught.value
    assert (error.reason, error.field, error.retry_after) == ("QUEUE_FULL", "interventions[0].neurons", 2.5)
    assert (error.error_id, error.metadata) == ("7f", {"error_id": "7f", "k": "v"})
    assert str(error) == (
        "RESOURCE_EXHAUSTED (QUEUE_FULL) at interventions[0].neurons: full; try again in 2.5 s [error id 7f]"
    )


async def test_errors_other_than_wrong_arguments_name_their_field_beside_the_reason(script: Script, half: Half) -> None:
    info = error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND", metadata={"field": "model"})
    script.reply("GetModel", Failure(grpc.StatusCode.NOT_FOUND, "no such model", (info,)))
    async with half.client(script.target) as client:
        with pytest.raises(patchclamp.NotFound) as caught:
            await half.wait(client.model)
    assert (caught.value.reason, caught.value.field) == ("MODEL_NOT_FOUND", "model")


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"", b"\x1a\x04\x0a\x02xx"])
async def test_details_that_are_no_details_hide_nothing(script: Script, half: Half, raw: bytes) -> None:
    script.reply("GetModel", Failure(grpc.StatusCode.INTERNAL, "broken", raw_details=raw))
    async with half.client(script.target) as client:
        with pytest.raises(patchclamp.Internal, match="broken"):
            await half.wait(client.model)


async def test_a_stream_fails_with_the_same_classes_and_keeps_failing(script: Script, half: Half) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="prompt")
    details = (error_details_pb2.BadRequest(field_violations=[violation]),)
    script.reply("Generate", TOKEN, Failure(grpc.StatusCode.INVALID_ARGUMENT, "no", details))
    async with half.client(script.target) as client:
        stream = client.generate("x")
        assert (await half.next(stream)).text == "a"
        for function in (stream.result, stream.text):
            with pytest.raises(InvalidArgument) as caught:
                await half.wait(function)
            assert caught.value.field == "prompt"


@pytest.mark.parametrize("tries", [2, 3])
async def test_unavailable_is_tried_again(script: Script, half: Half, tries: int) -> None:
    for _ in range(tries - 1):
        script.reply("GetModel", LOADING)
        script.reply("Generate", LOADING)
    script.reply("GetModel", models_pb2.Model(name="models/a"))
    script.reply("Generate", COMPLETED)
    async with half.client(script.target) as client:
        assert (await half.wait(client.model)).name == "models/a"
        assert await half.wait(client.generate("x").text) == ""
    assert len(script.requests) == 2 * tries


async def test_retries_are_counted(script: Script, half: Half) -> None:
    for _ in range(9):
        script.reply("GetModel", LOADING)
    async with half.client(script.target, retries=1) as client:
        with pytest.raises(Unavailable, match="loading"):
            await half.wait(client.model)
    assert len(script.requests) == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL])
async def test_other_codes_are_not_tried_again(script: Script, half: Half, code: grpc.StatusCode) -> None:
    script.reply("GetModel", Failure(code))
    async with half.client(script.target) as client:
        with pytest.raises(StatusError):
            await half.wait(client.model)
    assert len(script.requests) == 1


async def test_what_has_begun_is_not_tried_again(script: Script, half: Half) -> None:
    script.reply("Generate", TOKEN, LOADING)
    async with half.client(script.target) as client:
        with pytest.raises(Unavailable):
            await half.wait(client.generate("x").result)
    assert len(script.requests) == 1


async def test_no_server_is_unavailable(half: Half) -> None:
    async with half.client("127.0.0.1:1", retries=0) as client:
        with pytest.raises(Unavailable):
            await half.wait(client.models)


@pytest.mark.parametrize("options", [{"timeout": 0.05}, {}], ids=["of the call", "of the client"])
async def test_the_timeout_ends_the_work_on_the_server(script: Script, half: Half, options: dict[str, Any]) -> None:
    script.reply("Generate", TOKEN, HOLD)
    async with half.client(script.target, timeout=60 if options else 0.05) as client:
        with pytest.raises(DeadlineExceeded):
            await half.wait(client.generate("x", **options).result)
    await script.cancelled.wait()


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": float("nan")}, {"keepalive": 0}, {"retries": 5}, {"retries": -1}]
)
def test_options_out_of_range_are_refused(half: Half, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        half.client_class(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("m", reason="R", field="f", retry_after=1.0, metadata={"error_id": "7"}),
        NotationError("m", "t", 2),
    ],
)
def test_errors_travel_between_processes(error: PatchclampError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy), str(copy)) == (type(error), vars(error), str(error))


def test_long_text_is_not_printed_whole() -> None:
    assert len(str(NotationError("m", "x" * 10_000, 1))) < 200
