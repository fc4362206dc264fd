"""The database: what it is made of, what is refused, and what a lost connection means."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from patchclamp_service.engine.errors import Exhausted, NotReady
from patchclamp_service.settings import BadSetting
from patchclamp_service.store.database import Database, insert_if_absent
from patchclamp_service.store.tables import resources
from sqlalchemy import Connection, func, select, text

from tests.service.postgres import Postgres, postgres


def row(name: str) -> dict[str, object]:
    return {
        "name": name,
        "collection": "things",
        "body": b"\0body",
        "created": 0.0,
        "request_id": "",
        "request_digest": "",
    }


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(resources.c.name).order_by(resources.c.name)).scalars())


def made(directory: Path) -> Path:
    """A SQLite database with a few pages."""
    with closing(Database.open(directory)) as database:

        def fill(connection: Connection) -> None:
            for i in range(200):
                connection.execute(resources.insert().values(row(f"things/{i}")))

        asyncio.run(database.run(fill))
    return directory / "patchclamp.db"


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    def fails(connection: Connection) -> None:
        connection.execute(resources.insert().values(row("things/a")))
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        await database.run(fails)
    assert await database.run(names) == []


async def test_names_are_ordered_by_their_bytes(database: Database) -> None:
    given = ["things/b", "things/B", "things/a.b", "things/a-b", "things/ab", "things/é"]

    def fill(connection: Connection) -> list[bool]:
        return [insert_if_absent(connection, resources, row(name)) for name in given]

    assert all(await database.run(fill))
    assert await database.run(names) == sorted(given)


async def test_inserting_what_is_there_changes_nothing(database: Database) -> None:
    def insert(connection: Connection) -> bool:
        return insert_if_absent(connection, resources, row("things/a"))

    assert await database.run(insert)
    assert not await database.run(insert)
    assert await database.run(names) == ["things/a"]


async def test_its_clock_is_about_ours(database: Database) -> None:
    def difference(connection: Connection) -> float:
        return float(connection.execute(select(database.now)).scalar_one())

    first, second = await database.run(difference), await database.run(difference)
    assert 1.7e9 < first <= second < 1e10


async def test_what_is_acknowledged_is_on_disk(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:

        def pragmas(connection: Connection) -> list[object]:
            names = ("journal_mode", "synchronous", "foreign_keys")
            return [connection.execute(text(f"PRAGMA {name}")).scalar() for name in names]

        assert await database.run(pragmas) == ["wal", 2, 1]


def test_one_server_at_a_time_with_sqlite(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)), pytest.raises(OSError, match=r"another server uses .*--data-dir"):
        Database.open(tmp_path)
    Database.open(tmp_path).close()


def test_eight_servers_start_at_once_on_one_postgresql(postgresql: Postgres, tmp_path: Path) -> None:
    url = postgresql.new_database()
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: Database.open(tmp_path, url), range(8)))
    for database in opened:
        database.close()


@pytest.mark.parametrize(
    "part", ["nothing", "50 bytes", "the header", "a page", "half", "all but a page", "all but a byte"]
)
def test_a_truncated_file(tmp_path: Path, part: str) -> None:
    file = made(tmp_path)
    size = file.stat().st_size
    left = {"nothing": 0, "50 bytes": 50, "the header": 100, "a page": 4096, "half": size // 2}
    with file.open("r+b") as opened:
        opened.truncate(left.get(part, size - (4096 if part == "all but a page" else 1)))
    with pytest.raises(OSError, match=r"patchclamp\.db (is damaged|cannot be used)") as caught:
        Database.open(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE schema_version SET version = 99", "of a newer patchclamp: its schema is 99"),
        ("DELETE FROM schema_version", "its schema is None"),
        ("DROP TABLE schema_version", "not one that patchclamp made"),
    ],
)
def test_a_database_of_another_schema(tmp_path: Path, change: str, words: str) -> None:
    with closing(sqlite3.connect(made(tmp_path))) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(OSError, match=words):
        Database.open(tmp_path)


def test_a_newer_schema_on_postgresql(postgresql: Postgres, tmp_path: Path) -> None:
    url = postgresql.new_database()
    with closing(Database.open(tmp_path, url)) as database:
        asyncio.run(database.run(lambda connection: connection.execute(text("UPDATE schema_version SET version = 2"))))
    with pytest.raises(OSError, match=r"of a newer patchclamp: its schema is 2, this one knows 1") as caught:
        Database.open(tmp_path, url)
    assert "hushhush" not in str(caught.value)


def test_a_first_start_that_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "patchclamp.new").write_bytes(b"half of a da")
    with closing(Database.open(tmp_path)) as database:
        assert asyncio.run(database.run(names)) == []


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match=r"data_dir: .*file/data cannot be written"):
        Database.open(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://user:hushhush@host/name", "mysql://… is not supported"),
        ("sqlite:///hushhush", "sqlite://… is not supported"),
        ("hushhush", "that is no URL"),
        ("postgresql://user:hushhush@host:port/x", "that is no URL"),
    ],
)
def test_urls_that_cannot_be_used(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(BadSetting, match=words) as caught:
        Database.open(tmp_path, url)
    assert "hushhush" not in str(caught.value)


def test_psycopg_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(BadSetting, match=r"pip install 'patchclamp\[postgresql\]'"):
        Database.open(tmp_path, "postgresql://host/name")


def test_no_postgresql_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the database postgresql.* cannot be used") as caught:
        Database.open(tmp_path, f"postgresql://user:hushhush@/name?host={tmp_path}")
    assert "hushhush" not in str(caught.value)


async def test_a_full_disk(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:

        def fill(connection: Connection) -> None:
            pages = connection.execute(text("PRAGMA page_count")).scalar()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
            connection.execute(resources.insert().values(row("things/large") | {"body": bytes(100_000)}))

        with pytest.raises(Exhausted) as caught:
            await database.run(fill)
        assert caught.value.reason == "DISK_FULL"
        assert await database.run(names) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_on_a_full_disk_something_can_be_deleted(small_disk: Path) -> None:
    def put(connection: Connection, name: str = "things/b") -> None:
        connection.execute(resources.insert().values(row(name) | {"body": bytes(100_000)}))

    def remove(connection: Connection) -> None:
        connection.execute(resources.delete())

    with closing(Database.open(small_disk)) as database:
        await database.run(partial(put, name="things/a"))
        with (small_disk / "large").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while file.write(bytes(4096)):
                pass
        with pytest.raises(Exhausted):
            await database.run(put)
        await database.run(remove, freeing=True)
        assert await database.run(names) == []
        assert not (small_disk / "reserve").exists()
        (small_disk / "large").unlink()
        await database.run(remove, freeing=True)
        assert (small_disk / "reserve").stat().st_blocks * 512 >= 1 << 20


async def test_a_lost_connection_is_not_an_answer(tmp_path: Path) -> None:
    """The server stops and comes back: refused meanwhile, then everything that was acknowledged is there."""
    with postgres() as server, closing(Database.open(tmp_path, server.url())) as database:
        await database.run(lambda connection: connection.execute(resources.insert().values(row("things/a"))))
        server.stop()
        for _ in range(2):
            with pytest.raises(NotReady, match="does not answer"):
                await database.run(names)
        server.start()
        assert await database.run(names) == ["things/a"]


async def test_a_connection_that_is_cut_in_a_transaction(open_shared: object) -> None:
    assert callable(open_shared)
    first, second = open_shared(), open_shared()

    def cut(connection: Connection) -> None:
        connection.execute(resources.insert().values(row("things/a")))
        process = connection.execute(select(func.pg_backend_pid())).scalar_one()
        asyncio.run(second.run(lambda other: other.execute(select(func.pg_terminate_backend(process)))))
        connection.execute(resources.insert().values(row("things/b")))

    with pytest.raises(NotReady):
        await first.run(cut)
    assert await first.run(names) == []
