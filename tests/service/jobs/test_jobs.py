"""Operations from their start to their end; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from google.longrunning import operations_pb2
from google.rpc import code_pb2
from patchclamp.v1.common_pb2 import Neurons
from patchclamp_analysis.errors import BadData
from patchclamp_service.engine import errors
from patchclamp_service.jobs.jobs import Jobs
from patchclamp_service.store.database import Database
from patchclamp_service.store.resources import Resource, Resources

from tests.service.work import METHOD, Work, killed, metadata, reason, response, soon


@pytest.fixture
def work() -> Work:
    return Work()


@pytest_asyncio.fixture
async def jobs(database: Database, work: Work) -> AsyncIterator[Jobs]:
    jobs = work.jobs(database)
    await jobs.resume()
    yield jobs
    await jobs.close()


async def start(jobs: Jobs, target: str = "things/a", site: str = "here", **options: object) -> str:
    """The name of a new operation."""
    operation = await jobs.start(METHOD, Neurons(site=site), target=target, **options)  # type: ignore[arg-type]
    return str(operation.name)


async def ended(jobs: Jobs, name: str) -> operations_pb2.Operation:
    operation = await soon(jobs.wait(name, None))
    assert operation.done
    return operation


async def keep(database: Database, name: str) -> None:
    await Resources(database).create(Resource(name, b"", datetime.now(UTC)))


# From start to end


async def test_an_operation_that_is_done(jobs: Jobs, work: Work) -> None:
    started = await jobs.start(METHOD, Neurons(site="here"), target="things/a")
    assert not started.done
    assert (metadata(started).method, metadata(started).target) == (METHOD, "things/a")
    assert (metadata(started).stage, metadata(started).attempt) == ("waiting", 0)
    work.go.set()
    operation = await ended(jobs, started.name)
    assert response(operation) == Neurons(site="here", indices=[1])
    assert metadata(operation).attempt == 1
    assert metadata(operation).create_time == metadata(started).create_time
    assert metadata(operation).update_time.ToNanoseconds() > metadata(started).update_time.ToNanoseconds()
    assert await jobs.get(started.name) == operation
    assert work.discarded == []


async def test_so_many_at_a_time(jobs: Jobs, work: Work) -> None:
    names = [await start(jobs, f"things/{i}") for i in range(5)]
    for _ in range(2):
        await soon(work.begun.get())
    assert metadata(await jobs.get(names[2])).stage == "waiting"
    work.go.set()
    for name in names:
        assert response(await ended(jobs, name))
    assert work.most == 2


FAILURES = [
    (errors.InvalidRequest("no such site", reason="UNKNOWN_SITE"), code_pb2.INVALID_ARGUMENT, "UNKNOWN_SITE"),
    (errors.Exhausted("no room", reason="DISK_FULL"), code_pb2.RESOURCE_EXHAUSTED, "DISK_FULL"),
    (BadData("no such site", where="dev, line 3"), code_pb2.INVALID_ARGUMENT, "BAD_DATA"),
    (ValueError("/secret/path"), code_pb2.INTERNAL, "INTERNAL"),
    (asyncio.CancelledError("of something inside"), code_pb2.INTERNAL, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "code", "why"), FAILURES, ids=lambda value: type(value).__name__)
async def test_an_operation_that_fails(jobs: Jobs, work: Work, error: Exception, code: int, why: str) -> None:
    work.error = error
    work.go.set()
    operation = await ended(jobs, await start(jobs))
    assert (operation.error.code, reason(operation)) == (code, why)
    assert b"secret" not in operation.SerializeToString()
    assert work.discarded == ["things/a"]


async def test_nothing_begins_before_or_after(database: Database, work: Work) -> None:
    jobs = work.jobs(database)
    with pytest.raises(errors.NotReady):
        await start(jobs)
    await jobs.resume()
    await jobs.close()
    with pytest.raises(errors.NotReady):
        await start(jobs)


async def test_progress_is_published_and_the_last_stays(jobs: Jobs, work: Work) -> None:
    name = await start(jobs)
    context = await soon(work.begun.get())
    await asyncio.to_thread(context.report, "extracting", 3, 10, "sentences")

    async def seen() -> None:
        while metadata(await jobs.get(name)).stage != "extracting":
            continue

    await soon(seen())
    context.report("finishing", 10, 10, "sentences")
    work.go.set()
    last = metadata(await ended(jobs, name))
    assert (last.stage, last.done, last.total, last.unit) == ("finishing", 10, 10, "sentences")


# Idempotency and uniqueness


async def test_the_same_request_is_the_same_operation(jobs: Jobs, work: Work) -> None:
    name = await start(jobs, "things/a", request_id="mine")
    assert await start(jobs, "things/b", request_id="mine") == name
    with pytest.raises(errors.AlreadyExists) as caught:
        await start(jobs, "things/b", "elsewhere", request_id="mine")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    work.go.set()
    await ended(jobs, name)
    assert await start(jobs, request_id="mine") == name
    assert work.begun.qsize() == 1


async def test_what_was_started_once_is_not_checked_again(jobs: Jobs) -> None:
    """Nor does what the check fills in make another request of it; the caller's own message stays as it was."""
    checked: list[str] = []

    async def check(request: Neurons) -> tuple[str, Sequence[str]]:
        checked.append(request.site)
        if len(checked) > 1:
            raise errors.NotFound("what it reads has gone")
        request.indices.append(7)
        return "things/a", ()

    given = Neurons(site="here")
    first = await jobs.once(METHOD, given, "mine", check)
    assert given == Neurons(site="here")
    assert (await jobs.once(METHOD, Neurons(site="here"), "mine", check)).name == first.name
    with pytest.raises(errors.AlreadyExists):
        await jobs.once(METHOD, Neurons(site="here", indices=[7]), "mine", check)
    assert checked == ["here"]
    for another in ("", "other"):
        with pytest.raises(errors.NotFound):
            await jobs.once(METHOD, given, another, check)
    assert len((await jobs.list("", 0, ""))[0]) == 1


async def test_what_the_check_fills_in_is_what_runs(jobs: Jobs, work: Work) -> None:
    async def check(request: Neurons) -> tuple[str, Sequence[str]]:
        request.site = "filled in"
        return "things/a", ()

    work.go.set()
    operation = await jobs.once(METHOD, Neurons(), "", check)
    assert response(await ended(jobs, operation.name)).site == "filled in"


async def test_8_equal_requests_at_once_are_one_operation(jobs: Jobs) -> None:
    names = await asyncio.gather(*(start(jobs, f"things/{i}", request_id="mine") for i in range(8)))
    assert len(set(names)) == 1
    assert len((await jobs.list("", 0, ""))[0]) == 1


async def test_of_8_that_make_the_same_one_is_started(jobs: Jobs, work: Work) -> None:
    made = await asyncio.gather(*(start(jobs) for _ in range(8)), return_exceptions=True)
    (name,) = (each for each in made if isinstance(each, str))
    assert sum(isinstance(each, errors.AlreadyExists) for each in made) == 7
    await jobs.cancel(name)
    await ended(jobs, name)
    await start(jobs)


async def test_a_target_that_is_there(jobs: Jobs, database: Database) -> None:
    await keep(database, "things/a")
    with pytest.raises(errors.AlreadyExists, match="'things/a' exists already"):
        await start(jobs)
    assert (await jobs.list("", 0, ""))[0] == []
    await Resources(database).delete("things/a")
    await start(jobs)


async def test_what_is_read_stays(jobs: Jobs, work: Work, database: Database) -> None:
    with pytest.raises(errors.NotFound, match="things/source"):
        await start(jobs, reads=["things/source"])
    await keep(database, "things/source")
    name = await start(jobs, reads=["things/source", "things/source"])
    with pytest.raises(errors.Unsupported, match=name) as caught:
        await Resources(database).delete("things/source")
    assert caught.value.reason == "RESOURCE_IN_USE"
    work.go.set()
    await ended(jobs, name)
    await Resources(database).delete("things/source")


async def test_reading_and_deleting_at_once(jobs: Jobs, database: Database) -> None:
    kept = Resources(database)
    for i in range(20):
        await keep(database, f"things/source{i}")
        started, deleted = await asyncio.gather(
            start(jobs, f"things/{i}", reads=[f"things/source{i}"]),
            kept.delete(f"things/source{i}"),
            return_exceptions=True,
        )
        outcome = (type(started), type(deleted))
        assert outcome in [(str, errors.Unsupported), (errors.NotFound, Resource)]


async def test_too_many(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchclamp_service.jobs.records._MOST_LIVE", 2)
    for i in range(2):
        await start(jobs, f"things/{i}")
    with pytest.raises(errors.Exhausted) as caught:
        await start(jobs)
    assert caught.value.quota == "operations"


# Cancelling, deleting, waiting, listing


async def test_cancelled_before_it_runs(database: Database, work: Work) -> None:
    jobs = work.jobs(database, running=1)
    await jobs.resume()
    first, second = await start(jobs, "things/a"), await start(jobs, "things/b")
    await soon(work.begun.get())
    await jobs.cancel(second)
    operation = await ended(jobs, second)
    assert (operation.error.code, reason(operation)) == (code_pb2.CANCELLED, "CANCELLED")
    assert work.discarded == ["things/b"]
    work.go.set()
    await ended(jobs, first)
    assert work.begun.empty()
    await jobs.close()


async def test_cancelled_while_it_runs(jobs: Jobs, work: Work) -> None:
    name = await start(jobs)
    await soon(work.begun.get())
    await jobs.cancel(name)
    operation = await ended(jobs, name)
    assert operation.error.code == code_pb2.CANCELLED
    assert work.let_go == work.discarded == ["things/a"]
    await jobs.cancel(name)
    assert await jobs.get(name) == operation


async def test_cancelled_when_it_has_ended(jobs: Jobs, work: Work) -> None:
    work.go.set()
    name = await start(jobs)
    operation = await ended(jobs, name)
    await jobs.cancel(name)
    assert await jobs.get(name) == operation


async def test_letting_go_is_not_cancelled_again(database: Database) -> None:
    """However long it takes: the record says "cancel" all the while."""
    begun, renewed, clean = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(request: Neurons, context: object) -> Neurons:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await renewed.wait()
            clean.set()
        return request

    jobs = Jobs(database)
    jobs.register(METHOD, Neurons, run)
    await jobs.resume()
    name = await start(jobs)
    await soon(begun.wait())
    await jobs.cancel(name)
    for _ in range(3):
        await jobs._runner._renew()
    renewed.set()
    await ended(jobs, name)
    assert clean.is_set()
    await jobs.close()


async def test_what_is_finished_in_spite_of_a_cancel_is_done(database: Database) -> None:
    begun = asyncio.Event()

    async def run(request: Neurons, context: object) -> Neurons:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return request

    jobs = Jobs(database)
    jobs.register(METHOD, Neurons, run)
    await jobs.resume()
    name = await start(jobs)
    await soon(begun.wait())
    await jobs.cancel(name)
    assert response(await ended(jobs, name)).site == "here"
    await jobs.close()


async def test_deleted_when_it_has_ended(jobs: Jobs, work: Work) -> None:
    name = await start(jobs)
    with pytest.raises(errors.Unsupported) as caught:
        await jobs.delete(name)
    assert caught.value.reason == "OPERATION_NOT_DONE"
    work.go.set()
    await ended(jobs, name)
    await jobs.delete(name)
    for ask in (jobs.get, jobs.delete, jobs.cancel):
        with pytest.raises(errors.NotFound, match=name):
            await ask(name)


@pytest.mark.parametrize("name", ["", "operations", "operations/", "operations/../x", "corpora/x", "operations/x y"])
async def test_bad_names(jobs: Jobs, name: str) -> None:
    for ask in (jobs.get, jobs.delete, jobs.cancel):
        with pytest.raises(errors.InvalidRequest) as caught:
            await ask(name)
        assert caught.value.reason == "INVALID_NAME"


@pytest.mark.parametrize("seconds", [0.0, 0.01, -1.0])
async def test_waiting_ends_in_time(jobs: Jobs, seconds: float) -> None:
    assert not (await soon(jobs.wait(await start(jobs), seconds))).done


async def test_waiting_ends_when_the_server_stops(jobs: Jobs, work: Work) -> None:
    name = await start(jobs)
    await soon(work.begun.get())
    waiting = asyncio.create_task(jobs.wait(name, None))
    await asyncio.gather(jobs.close(), jobs.close())
    assert not (await soon(waiting)).done


async def test_listed_the_newest_first(jobs: Jobs, work: Work) -> None:
    names = [await start(jobs, f"things/{i}") for i in range(5)]
    work.go.set()
    for name in names[:3]:
        await ended(jobs, name)
    work.go.clear()
    await ended(jobs, names[3])
    await ended(jobs, names[4])
    names.append(await start(jobs, "things/last"))
    names.reverse()
    first, token = await jobs.list("", 4, "")
    rest, end = await jobs.list("", 4, token)
    assert [each.name for each in (*first, *rest)] == names
    assert end == ""
    assert [each.name for each in (await jobs.list("done = false", 0, ""))[0]] == names[:1]
    assert [each.name for each in (await jobs.list("done=true", 0, ""))[0]] == names[1:]
    for condition, size, given in (("state=DONE", 0, ""), ("", -1, ""), ("done=true", 4, token), ("", 4, "x")):
        with pytest.raises(errors.InvalidRequest):
            await jobs.list(condition, size, given)


async def test_what_ended_long_ago_is_forgotten(database: Database, work: Work) -> None:
    work.go.set()
    jobs = work.jobs(database)
    await jobs.resume()
    name = await start(jobs)
    await ended(jobs, name)
    await jobs.close()
    later = work.jobs(database, kept_days=1e-9)
    await later.resume()

    async def forgotten() -> None:
        while (await later.list("", 0, ""))[0]:
            continue

    await soon(forgotten())
    await later.close()


# Over a restart


async def test_a_server_that_stops_leaves_its_work_to_the_next(database: Database, work: Work) -> None:
    """However often: a stop is no crash."""
    name = ""
    for attempt in range(1, 6):
        jobs = work.jobs(database)
        await jobs.resume()
        name = name or await start(jobs)
        assert (await soon(work.begun.get())).attempt == attempt
        await jobs.close()
        operation = await jobs.get(name)
        assert (operation.done, metadata(operation).stage) == (False, "waiting")
    work.go.set()
    jobs = work.jobs(database)
    await jobs.resume()
    assert response(await ended(jobs, name)).indices == [6]
    assert work.discarded == []
    await jobs.close()


async def test_three_crashes_are_enough(database: Database, work: Work) -> None:
    jobs = work.jobs(database)
    await jobs.resume()
    name = await start(jobs)
    for attempt in range(1, 4):
        assert (await soon(work.begun.get())).attempt == attempt
        await killed(jobs)
        jobs = work.jobs(database)
        await jobs.resume()
    operation = await ended(jobs, name)
    assert (operation.error.code, reason(operation)) == (code_pb2.INTERNAL, "CRASHED")
    assert work.discarded == ["things/a"]
    await jobs.close()


async def test_waiting_through_crashes_costs_nothing(database: Database, work: Work) -> None:
    """Only what ran can have been the reason."""
    jobs = work.jobs(database, running=1)
    await jobs.resume()
    first, second = await start(jobs, "things/a"), await start(jobs, "things/b")
    for _ in range(3):
        assert (await soon(work.begun.get())).target == "things/a"
        await killed(jobs)
        jobs = work.jobs(database, running=1)
        await jobs.resume()
    assert reason(await ended(jobs, first)) == "CRASHED"
    work.go.set()
    assert response(await ended(jobs, second)).indices == [1]
    await jobs.close()


async def test_cancelled_while_no_server_ran(database: Database, work: Work) -> None:
    jobs = work.jobs(database)
    await jobs.resume()
    name = await start(jobs)
    await soon(work.begun.get())
    await killed(jobs)
    later = work.jobs(database)
    await later.cancel(name)
    await later.resume()
    assert (await ended(later, name)).error.code == code_pb2.CANCELLED
    assert work.begun.empty()
    assert work.discarded == ["things/a"]
    await later.close()


async def test_what_is_not_ready_is_tried_again(database: Database, work: Work) -> None:
    work.error = errors.NotReady("the engine is draining", reason="DRAINING")
    work.go.set()
    jobs = work.jobs(database, lease_seconds=4)
    await jobs.resume()
    operation = await ended(jobs, await start(jobs))
    assert (operation.error.code, reason(operation)) == (code_pb2.UNAVAILABLE, "DRAINING")
    assert [(await work.begun.get()).attempt for _ in range(3)] == [1, 2, 3]
    assert work.begun.empty()
    await jobs.close()


async def test_waiting_for_somebody_to_let_go_costs_nothing(database: Database, work: Work) -> None:
    """However often it is tried: no attempt has done anything."""
    work.error = errors.Busy("is being written by somebody else")
    work.go.set()
    jobs = work.jobs(database, lease_seconds=4)
    await jobs.resume()
    name = await start(jobs)
    for attempt in range(1, 6):
        assert (await soon(work.begun.get())).attempt == attempt
    work.error = None
    assert response(await ended(jobs, name)).site == "here"
    assert work.discarded == []
    await jobs.close()


async def test_a_method_that_nobody_knows(database: Database, work: Work) -> None:
    jobs = work.jobs(database)
    await jobs.resume()
    name = await start(jobs)
    await jobs.close()
    other = Jobs(database)
    await other.resume()
    assert reason(await ended(other, name)) == "UNKNOWN_METHOD"
    await other.close()
