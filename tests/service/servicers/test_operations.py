"""google.longrunning.Operations over a real port, behind the interceptor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from patchclamp.v1.common_pb2 import Neurons
from patchclamp_service.interceptors import Front
from patchclamp_service.jobs.jobs import Jobs
from patchclamp_service.metrics import Metrics
from patchclamp_service.servicers.operations import OperationsServicer
from patchclamp_service.store.database import Database

from tests.service.work import METHOD, Work, response, soon


@dataclass(frozen=True)
class Served:
    """Operations behind a port, and the work that they do."""

    work: Work
    jobs: Jobs
    stub: Any

    async def start(self, target: str = "things/a") -> str:
        return str((await self.jobs.start(METHOD, Neurons(site="here"), target=target)).name)


@pytest_asyncio.fixture
async def served(database: Database) -> AsyncIterator[Served]:
    work = Work()
    jobs = work.jobs(database)
    await jobs.resume()
    server = grpc.aio.server(interceptors=[Front(Metrics(), 10_000)])
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(jobs), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(work, jobs, operations_pb2_grpc.OperationsStub(channel))
    await jobs.close()
    await server.stop(None)


async def refused(call: Any) -> tuple[str, str, str]:
    """Code, reason and field of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error: Any = caught.value
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return error.code().name, info.reason, info.metadata.get("field", "")


async def test_from_start_to_end(served: Served) -> None:
    name = await served.start()
    found = await served.stub.GetOperation(operations_pb2.GetOperationRequest(name=name))
    assert (found.name, found.done) == (name, False)
    waiting = served.stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name))
    served.work.go.set()
    ended = await soon(waiting)
    assert response(ended).site == "here"
    listed = await served.stub.ListOperations(
        operations_pb2.ListOperationsRequest(name="operations", filter="done=true")
    )
    assert list(listed.operations) == [ended]
    await served.stub.DeleteOperation(operations_pb2.DeleteOperationRequest(name=name))
    gone = served.stub.GetOperation(operations_pb2.GetOperationRequest(name=name))
    assert await refused(gone) == ("NOT_FOUND", "NOT_FOUND", "name")


async def test_cancel(served: Served) -> None:
    name = await served.start()
    await soon(served.work.begun.get())
    await served.stub.CancelOperation(operations_pb2.CancelOperationRequest(name=name))
    ended = await soon(served.stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name)))
    assert ended.error.code == code_pb2.CANCELLED


@pytest.mark.parametrize("lasting", [(0, 0), (0, 1_000_000), (-1, 0)])
async def test_waiting_for_a_time(served: Served, lasting: tuple[int, int]) -> None:
    duration = duration_pb2.Duration(seconds=lasting[0], nanos=lasting[1])
    request = operations_pb2.WaitOperationRequest(name=await served.start(), timeout=duration)
    assert not (await soon(served.stub.WaitOperation(request))).done


async def test_waiting_for_longer_than_there_is_time(served: Served) -> None:
    duration = duration_pb2.Duration(seconds=2**63 - 1)
    request = operations_pb2.WaitOperationRequest(name=await served.start(), timeout=duration)
    waiting = asyncio.ensure_future(served.stub.WaitOperation(request))
    await soon(served.work.begun.get())
    served.work.go.set()
    assert (await soon(waiting)).done


async def test_waiting_ends_when_the_server_drains(served: Served) -> None:
    request = operations_pb2.WaitOperationRequest(name=await served.start())
    waiting = asyncio.ensure_future(served.stub.WaitOperation(request))
    await soon(served.work.begun.get())
    await served.jobs.close()
    assert not (await soon(waiting)).done


async def test_a_waiter_who_leaves_changes_nothing(served: Served) -> None:
    name = await served.start()
    waiting = served.stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name))
    await soon(served.work.begun.get())
    waiting.cancel()
    served.work.go.set()
    assert (await soon(served.stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name)))).done


async def test_pages(served: Served) -> None:
    names = [await served.start(f"things/{i}") for i in range(3)]
    first = await served.stub.ListOperations(operations_pb2.ListOperationsRequest(page_size=2))
    rest = await served.stub.ListOperations(operations_pb2.ListOperationsRequest(page_token=first.next_page_token))
    assert [each.name for each in (*first.operations, *rest.operations)] == names[::-1]
    assert rest.next_page_token == ""


async def test_one_that_runs_is_not_deleted(served: Served) -> None:
    call = served.stub.DeleteOperation(operations_pb2.DeleteOperationRequest(name=await served.start()))
    assert await refused(call) == ("FAILED_PRECONDITION", "OPERATION_NOT_DONE", "name")


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (operations_pb2.ListOperationsRequest(name="corpora"), "INVALID_NAME", "name"),
        (operations_pb2.ListOperationsRequest(filter="name=x"), "INVALID_FILTER", "filter"),
        (operations_pb2.ListOperationsRequest(page_size=-1), "INVALID_REQUEST", "page_size"),
        (operations_pb2.ListOperationsRequest(page_token="x"), "INVALID_PAGE_TOKEN", "page_token"),
        (operations_pb2.GetOperationRequest(name="../x"), "INVALID_NAME", "name"),
        (operations_pb2.WaitOperationRequest(name="/x"), "INVALID_NAME", "name"),
        (operations_pb2.CancelOperationRequest(name="operations/ "), "INVALID_NAME", "name"),
        (operations_pb2.DeleteOperationRequest(), "INVALID_NAME", "name"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
async def test_bad_requests(served: Served, request_: Any, reason: str, field: str) -> None:
    call = getattr(served.stub, type(request_).__name__.removesuffix("Request"))(request_)
    assert await refused(call) == ("INVALID_ARGUMENT", reason, field)


@pytest.mark.parametrize("method", ["GetOperation", "WaitOperation", "CancelOperation", "DeleteOperation"])
async def test_what_is_not_there(served: Served, method: str) -> None:
    request = getattr(operations_pb2, f"{method}Request")(name="operations/absent")
    assert await refused(getattr(served.stub, method)(request)) == ("NOT_FOUND", "NOT_FOUND", "name")
