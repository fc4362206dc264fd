"""Operations for tests: a method whose runs the test holds in its hands. As a program: a server that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from patchclamp.v1.common_pb2 import Neurons, OperationMetadata
from patchclamp_service import logs
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.store.database import Database
from patchclamp_service.store.tables import operations
from sqlalchemy import update

__all__ = ["METHOD", "Work", "killed", "metadata", "reason", "response", "soon"]

T = TypeVar("T")

METHOD = "CreateThing"


class Work:
    """Runs that wait until `go`, and then end as they are told."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[JobContext] = asyncio.Queue()
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.running = self.most = 0
        self.let_go: list[str] = []
        self.discarded: list[str] = []

    def jobs(self, database: Database, **options: Any) -> Jobs:
        """Jobs that know the method; not resumed yet."""
        jobs = Jobs(database, **options)
        jobs.register(METHOD, Neurons, self.run, self.discard)
        return jobs

    async def run(self, request: Neurons, context: JobContext) -> Neurons:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.begun.put(context)
        try:
            await self.go.wait()
            if self.error:
                raise self.error
            return Neurons(site=request.site, indices=[context.attempt])
        finally:
            self.running -= 1
            self.let_go.append(context.target)

    async def discard(self, target: str) -> None:
        self.discarded.append(target)


async def soon(awaitable: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaitable, 60)


async def killed(jobs: Jobs) -> None:
    """Leaves everything where it is, as a process that is killed does; and lets its leases run out."""
    runner = jobs._runner
    assert runner._keeper
    tasks = [runner._keeper, *(task for led in runner.led.values() for task in (led.lead, led.work))]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await runner._database.run(lambda connection: connection.execute(update(operations).values(lease_until=0)))


def metadata(operation: operations_pb2.Operation) -> OperationMetadata:
    return OperationMetadata.FromString(operation.metadata.value)


def response(operation: operations_pb2.Operation) -> Neurons:
    found = Neurons()
    assert operation.response.Unpack(found), operation
    return found


def reason(operation: operations_pb2.Operation) -> str:
    info = error_details_pb2.ErrorInfo()
    assert operation.error.details[0].Unpack(info)
    return str(info.reason)


async def main(directory: str, url: str, hanging: str, *targets: str) -> None:
    """Starts the targets' operations unless they are there. Attempts up to `hanging` never end; says what happens."""

    async def run(request: Neurons, context: JobContext) -> Neurons:
        print(f"attempt {context.attempt}", flush=True)
        if context.attempt <= int(hanging):
            await asyncio.Event().wait()
        return request

    logs.configure("error", "json")
    jobs = Jobs(Database.open(Path(directory), url), lease_seconds=2.0)
    jobs.register(METHOD, Neurons, run)
    await jobs.resume()
    started = [await jobs.start(METHOD, Neurons(), target=target, request_id=target) for target in targets]
    for operation in started:
        ended = await jobs.wait(operation.name, None)
        print(f"ended {reason(ended) if ended.HasField('error') else 'DONE'}", flush=True)
    await jobs.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
