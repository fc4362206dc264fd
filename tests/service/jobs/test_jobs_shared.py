"""Several servers on one PostgreSQL; a database that goes away; and a server that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio
from google.rpc import code_pb2
from patchclamp.v1.common_pb2 import Neurons
from patchclamp_service.engine import errors
from patchclamp_service.jobs.jobs import Jobs
from patchclamp_service.store.database import Database

from tests.service.conftest import OpenDatabase
from tests.service.postgres import postgres
from tests.service.work import METHOD, Work, killed, response, soon


class Pair:
    """Two servers with work of their own."""

    def __init__(self, open_shared: OpenDatabase) -> None:
        self.works = Work(), Work()
        self.jobs = self.works[0].jobs(open_shared()), self.works[1].jobs(open_shared())

    async def started(self) -> str:
        """An operation that the first server runs."""
        operation = await self.jobs[0].start(METHOD, Neurons(), target="things/a", request_id="mine")
        await soon(self.works[0].begun.get())
        return str(operation.name)


@pytest_asyncio.fixture
async def pair(open_shared: OpenDatabase) -> AsyncIterator[Pair]:
    pair = Pair(open_shared)
    for jobs in pair.jobs:
        await jobs.resume()
    yield pair
    for jobs in pair.jobs:
        await jobs.close()


async def renew(jobs: Jobs) -> None:
    """What happens every few seconds."""
    await jobs._runner._renew()


async def test_an_operation_of_another_server(pair: Pair) -> None:
    name = await pair.started()
    for _ in range(3):
        await renew(pair.jobs[1])
    assert pair.works[1].begun.empty()
    again = await pair.jobs[1].start(METHOD, Neurons(), target="things/b", request_id="mine")
    assert again.name == name
    with pytest.raises(errors.AlreadyExists):
        await pair.jobs[1].start(METHOD, Neurons(), target="things/a")
    pair.works[0].go.set()
    assert response(await soon(pair.jobs[1].wait(name, None))).indices == [1]


async def test_cancelling_an_operation_of_another_server(pair: Pair) -> None:
    name = await pair.started()
    await pair.jobs[1].cancel(name)
    await renew(pair.jobs[0])
    assert (await soon(pair.jobs[1].wait(name, None))).error.code == code_pb2.CANCELLED
    assert pair.works[0].let_go == pair.works[0].discarded == ["things/a"]


async def test_a_dead_server_is_replaced(pair: Pair) -> None:
    name = await pair.started()
    await killed(pair.jobs[0])
    await renew(pair.jobs[1])
    assert (await soon(pair.works[1].begun.get())).attempt == 2
    pair.works[1].go.set()
    assert response(await soon(pair.jobs[1].wait(name, None))).indices == [2]


async def test_a_server_that_stops_is_replaced_at_once(pair: Pair) -> None:
    await pair.started()
    await pair.jobs[0].close()
    await renew(pair.jobs[1])
    assert (await soon(pair.works[1].begun.get())).attempt == 2
    assert pair.works[0].running == 0


async def test_a_server_that_was_thought_dead_lets_go(pair: Pair) -> None:
    """Its lease ran out and another took over: it stops, and has no say in how that ends."""
    name = await pair.started()
    held, led = pair.jobs[0]._runner, next(iter(pair.jobs[0]._runner.led.values()))
    await held._database.run(lambda c: c.exec_driver_sql("UPDATE operations SET lease_until = 0"))
    await renew(pair.jobs[1])
    await soon(pair.works[1].begun.get())
    await renew(pair.jobs[0])
    await soon(led.ended.wait())
    assert pair.works[0].let_go == ["things/a"]
    assert pair.works[0].discarded == []
    assert not (await pair.jobs[0].get(name)).done
    pair.works[1].go.set()
    assert response(await soon(pair.jobs[0].wait(name, None))).indices == [2]


async def test_an_end_waits_for_the_database(tmp_path: Path) -> None:
    work = Work()
    with postgres() as server, closing(Database.open(tmp_path, server.url())) as database:
        jobs = work.jobs(database, lease_seconds=120)
        await jobs.resume()
        name = (await jobs.start(METHOD, Neurons(), target="things/a")).name
        await soon(work.begun.get())
        server.stop()
        with pytest.raises(errors.NotReady):
            await jobs.get(name)
        with pytest.raises(errors.NotReady):
            await jobs.start(METHOD, Neurons(), target="things/b")
        work.go.set()
        server.start()
        assert response(await soon(jobs.wait(name, None))).indices == [1]
        await jobs.close()


async def test_work_stops_before_its_lease_ends(tmp_path: Path) -> None:
    """While the database is away nobody knows who holds what; afterwards it goes on."""
    work = Work()
    with postgres() as server, closing(Database.open(tmp_path, server.url())) as database:
        jobs = work.jobs(database, lease_seconds=2.0)
        await jobs.resume()
        name = (await jobs.start(METHOD, Neurons(), target="things/a")).name
        await soon(work.begun.get())
        (led,) = jobs._runner.led.values()
        server.stop()
        await soon(led.ended.wait())
        assert (work.let_go, work.discarded) == (["things/a"], [])
        server.start()
        assert (await soon(work.begun.get())).attempt == 2
        work.go.set()
        assert response(await soon(jobs.wait(name, None))).indices == [2]
        await jobs.close()


async def test_work_stops_before_its_lease_ends_when_the_database_hangs(open_shared: OpenDatabase) -> None:
    """Every step of its keeper may hang, one after another: publishing as well as renewing."""
    work, lease = Work(), 6.0
    jobs, other = work.jobs(open_shared(), lease_seconds=lease), open_shared()
    await jobs.resume()
    name = (await jobs.start(METHOD, Neurons(), target="things/a")).name
    context = await soon(work.begun.get())
    (led,) = jobs._runner.led.values()
    with other._engine.begin() as connection:
        await asyncio.to_thread(connection.exec_driver_sql, "LOCK TABLE operations IN ACCESS EXCLUSIVE MODE")
        context.report("extracting", 1, 10, "sentences")
        await soon(led.ended.wait())
        assert monotonic() - jobs._runner._renewed < lease
        assert (work.let_go, work.discarded) == (["things/a"], [])
    assert (await soon(work.begun.get())).attempt == 2
    work.go.set()
    assert response(await soon(jobs.wait(name, None))).indices == [2]
    await jobs.close()


@contextmanager
def server(*arguments: str) -> Iterator[Iterator[str]]:
    """A server in a process of its own, and what it says; killed at the end."""
    command = [sys.executable, "-m", "tests.service.work", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stdout
        try:
            yield (line.strip() for line in started.stdout)
        finally:
            started.kill()


@pytest.mark.parametrize("crashes", [1, 3])
def test_kill_9(database_url: str, tmp_path: Path, crashes: int) -> None:
    """After a restart it goes on, or has failed for good when it was in the way of every attempt."""
    arguments = (str(tmp_path), database_url, str(crashes), "things/a")
    for attempt in range(1, crashes + 1):
        with server(*arguments) as said:
            assert next(said) == f"attempt {attempt}"
    with server(*arguments) as said:
        assert list(said) == (["attempt 2", "ended DONE"] if crashes == 1 else ["ended CRASHED"])
