"""Files of results: kept, deleted and swept with their rows, whatever happens in between; on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.errors import BadData
from patchclamp_service.engine.errors import DigestMismatch, InvalidRequest, NotFound, Unsupported
from patchclamp_service.jobs import records
from patchclamp_service.jobs.records import Holder, NewOperation, State
from patchclamp_service.store.database import Database
from patchclamp_service.store.resources import Resource, Resources
from patchclamp_service.store.result_files import ResultFiles
from sqlalchemy import Connection

from tests.service.conftest import OpenDatabase

LATER = "f" * 22
"""The id of an operation that begins after all that is on record."""


def results(database: Database, folder: Path) -> ResultFiles[analysis_pb2.Ranking]:
    folder.mkdir(exist_ok=True)
    return ResultFiles(Resources(database), folder, "rankings", ".npz", analysis_pb2.Ranking)


@pytest.fixture
def kept(database: Database, tmp_path: Path) -> ResultFiles[analysis_pb2.Ranking]:
    return results(database, tmp_path / "rankings")


async def make(kept: ResultFiles[analysis_pb2.Ranking], name: str, operation: str = LATER, label: str = "") -> Path:
    """A file and its row."""
    message = analysis_pb2.Ranking(name=f"rankings/{name}", label=label)
    message.create_time.GetCurrentTime()
    path = kept.new_path(message.name, f"operations/{operation}")
    path.write_bytes(b"scores")
    await kept.keep(message, f"operations/{operation}")
    return path


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


class Gate:
    """Holds the database's thread before its next transaction."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self._transact = database._transact
        monkeypatch.setattr(database, "_transact", self._held)

    def _held(self, work: Callable[[Connection], object]) -> object:
        self.reached.set()
        assert self.open.wait(60)
        return self._transact(work)


async def test_a_result_from_its_making_to_its_end(kept: ResultFiles[analysis_pb2.Ranking]) -> None:
    path = await make(kept, "a", label="upos")
    assert (await kept.get("rankings/a")).label == "upos"
    assert await kept.path("rankings/a", "ranking") == path
    assert await kept.read("rankings/a", "ranking", Path.read_bytes) == b"scores"
    made = await kept.made_by("rankings/a", f"operations/{LATER}")
    assert made and made.label == "upos"
    assert await kept.made_by("rankings/a", "operations/other") is None
    await kept.delete("rankings/a")
    assert names(kept.folder) == []
    assert await kept.made_by("rankings/a", f"operations/{LATER}") is None
    for ask in (kept.get, kept.delete):
        with pytest.raises(NotFound):
            await ask("rankings/a")
        with pytest.raises(InvalidRequest):
            await ask("probes/a")


async def test_a_file_that_is_gone_or_not_whole(kept: ResultFiles[analysis_pb2.Ranking]) -> None:
    def load(path: Path) -> None:
        raise BadData(f"{path} is cut")

    path = await make(kept, "a")
    with pytest.raises(DigestMismatch):
        await kept.read("rankings/a", "ranking", load)
    path.unlink()
    with pytest.raises(NotFound):
        await kept.read("rankings/a", "ranking", Path.read_bytes)


async def test_a_delete_that_nobody_waits_for(
    kept: ResultFiles[analysis_pb2.Ranking], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row and file go, or neither does."""
    await make(kept, "a")
    gate = Gate(database, monkeypatch)
    deleting = asyncio.ensure_future(kept.delete("rankings/a"))
    assert await asyncio.to_thread(gate.reached.wait, 60)
    deleting.cancel()
    gate.open.set()
    await asyncio.wait((deleting,))
    with pytest.raises(NotFound):
        await kept.get("rankings/a")
    assert names(kept.folder) == []


async def test_what_is_in_use_keeps_its_file(kept: ResultFiles[analysis_pb2.Ranking], database: Database) -> None:
    path = await make(kept, "a")
    holder = Holder("one", 10.0, database.now, alone=True)
    reader = NewOperation("TrainProbe", "probes/a", b"", "", "", ["rankings/a"])
    await database.run(partial(records.insert, new=reader, holder=holder))
    with pytest.raises(Unsupported):
        await kept.delete("rankings/a")
    assert path.exists()


async def test_deleting_takes_all_files_of_the_maker_and_no_others(kept: ResultFiles[analysis_pb2.Ranking]) -> None:
    path = await make(kept, "a.b")
    for other in (f"{path.stem}.npz.receipt", f".{path.name}.0123", f"a.b@{'0' * 22}.npz", f"a@{LATER}.npz"):
        (kept.folder / other).touch()
    await kept.delete("rankings/a.b")
    assert names(kept.folder) == sorted([f"a.b@{'0' * 22}.npz", f"a@{LATER}.npz"])


async def test_keeping_and_discarding_take_what_others_have_left(kept: ResultFiles[analysis_pb2.Ranking]) -> None:
    left = [f"a@{'1' * 22}.npz", f"a@{'1' * 22}.npz.partial", f".a@{'1' * 22}.npz.0123"]
    for name in (*left, f"ab@{'1' * 22}.npz"):
        (kept.folder / name).touch()
    path = await make(kept, "a")
    assert names(kept.folder) == sorted([path.name, f"ab@{'1' * 22}.npz"])
    for name in left:
        (kept.folder / name).touch()
    await kept.discard("rankings/a")
    assert names(kept.folder) == sorted([path.name, f"ab@{'1' * 22}.npz"])


async def test_a_page_is_bounded_in_bytes(kept: ResultFiles[analysis_pb2.Ranking]) -> None:
    for name in "abcd":
        await make(kept, name, f"{name * 22}", label="x" * (900 << 10))
    listed, token = [], ""
    while True:
        page, token = await kept.list(3, token)
        listed.append([each.name.partition("/")[2] for each in page])
        if not token:
            break
    assert listed == [["a", "b"], ["c", "d"]]


# What earlier servers have left


async def begun(database: Database, target: str) -> str:
    """The id of an operation that is on its way."""
    new = NewOperation("RankNeurons", target, b"", "", "", ())
    holder = Holder("one", 10.0, database.now, alone=False)
    return (await database.run(partial(records.insert, new=new, holder=holder))).id


async def end(database: Database, operation: str) -> None:
    holder = Holder("one", 10.0, database.now, alone=False)
    ended = partial(records.finish, state=State.FAILED, outcome=b"", progress=b"", holder=holder)
    assert await database.run(partial(ended, identifier=operation))


async def test_what_nobody_will_miss_is_swept(kept: ResultFiles[analysis_pb2.Ranking], database: Database) -> None:
    """Files of operations that have ended without a result, or whose result has gone; and nothing else."""
    live = await begun(database, "rankings/live")
    dead = await begun(database, "rankings/dead")
    await end(database, dead)
    stays = [
        (await make(kept, "kept")).name,
        f"kept@{LATER}.npz.receipt",
        f"live@{live}.npz",
        f"live@{live}.npz.partial",
        f".live@{live}.npz.0123",
        "lost+found",
        "live@1.npz",
        f"other@{live}",
    ]
    goes = [
        f"kept@{dead}.npz",
        f"dead@{dead}.npz",
        f"dead@{dead}.npz.partial",
        f".dead@{dead}.npz.0123",
        f"deleted@{LATER}.npz",
    ]
    for name in (*stays, *goes):
        (kept.folder / name).touch()
    await kept.sweep()
    assert names(kept.folder) == sorted(stays)


async def test_a_row_of_another_collection_keeps_nothing(
    kept: ResultFiles[analysis_pb2.Ranking], database: Database
) -> None:
    other = Resource("probes/a", b"", datetime.now(UTC), request_id=f"operations/{LATER}")
    await Resources(database).create(other)
    (kept.folder / f"a@{LATER}.npz").touch()
    await kept.sweep()
    assert names(kept.folder) == []


@pytest.mark.parametrize("records_of", ["nothing", "later"])
async def test_files_of_another_database_stay(
    kept: ResultFiles[analysis_pb2.Ranking], database: Database, records_of: str
) -> None:
    """Somebody has forgotten to say which database belongs to the directory, and may have worked with this one."""
    (kept.folder / f"dear@{'0' * 22}.npz").touch()
    if records_of == "later":
        await end(database, await begun(database, "rankings/new"))
        await make(kept, "new")
        (kept.folder / f"new@{LATER}.npz").unlink()
    await kept.sweep()
    assert names(kept.folder) == [f"dear@{'0' * 22}.npz"]


async def test_two_servers_sweep_while_results_are_made(open_shared: OpenDatabase, tmp_path: Path) -> None:
    """What is being finished by one is never taken by the other."""
    one, two = (results(open_shared(), tmp_path / "rankings") for _ in range(2))
    database = open_shared()
    await begun(database, "")  # older than all that follows
    done = asyncio.Event()

    async def sweep() -> None:
        while not done.is_set():
            await two.sweep()

    sweeping = asyncio.ensure_future(sweep())
    for number in range(20):
        operation = await begun(database, f"rankings/{number}")
        path = await make(one, str(number), operation)
        await end(database, operation)
        assert path.exists()
        left = one.new_path("rankings/never", f"operations/{operation}")
        left.touch()
    done.set()
    await sweeping
    await two.sweep()
    assert len(names(one.folder)) == 20


async def test_nothing_is_swept_while_the_database_is_of_no_use(
    kept: ResultFiles[analysis_pb2.Ranking], database: Database
) -> None:
    path = await make(kept, "a")
    await kept._resources.delete("rankings/a")
    await begun(database, "rankings/b")
    rename = "ALTER TABLE {} RENAME TO {}".format
    for tables, left in ((("resources", "lost"), [path.name]), (("lost", "resources"), [])):
        await database.run(partial(Connection.exec_driver_sql, statement=rename(*tables)))
        await kept.sweep()
        assert names(kept.folder) == left


async def test_no_folder_is_no_trouble(database: Database, tmp_path: Path) -> None:
    files = ResultFiles(Resources(database), tmp_path / "none", "rankings", ".npz", analysis_pb2.Ranking)
    await files.sweep()
    assert not (tmp_path / "none").exists()
