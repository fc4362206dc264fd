"""The database that says what the server keeps and what it works on: SQLite in the data directory, or PostgreSQL.

SQLite belongs to one server at a time, which a lock on the data directory sees to. PostgreSQL may be shared by several
servers, which then share the data directory too.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Table,
    create_engine,
    event,
    inspect,
    literal_column,
    make_url,
    select,
    text,
)
from sqlalchemy import exc as sql
from sqlalchemy.dialects import postgresql, sqlite

from patchclamp_service.engine.errors import Exhausted, NotReady
from patchclamp_service.settings import BadSetting
from patchclamp_service.store.disk_reserve import DiskReserve
from patchclamp_service.store.tables import SCHEMA_VERSION, metadata, schema_version

__all__ = ["Database", "insert_if_absent"]

T = TypeVar("T")

_FILE, _RESERVE = "patchclamp.db", "reserve"
_PAGE_BYTES = 4096
_CREATION_LOCK = 0x70617463  # of PostgreSQL's advisory locks: any number that all servers agree on
_CONNECT_SECONDS = 5
_log = structlog.get_logger(__name__)


class Database:
    """Runs transactions off the event loop."""

    def __init__(self, engine: Engine, lock: int | None, reserve: DiskReserve | None = None) -> None:
        self._engine = engine
        self._lock = lock
        self._reserve = reserve
        if reserve:
            reserve.fill()
        threads = 4 if self.shared else 1  # SQLite has one writer; in one thread nobody waits for a lock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="patchclamp-database")

    @classmethod
    def open(cls, data_dir: Path, url: str = "") -> Database:
        """The database at `url`, or the one in `data_dir`; its tables are made if they are missing.

        Raises:
            BadSetting: the directory cannot be written, or the URL cannot be used.
            OSError: another server has the directory, the database does not answer, is damaged or not patchclamp's.
        """
        _make_directory(data_dir)
        if url:
            return cls(_open_postgresql(url), None)
        lock = _lock_directory(data_dir)
        try:
            return cls(_open_sqlite(data_dir / _FILE), lock, DiskReserve(data_dir / _RESERVE))
        except BaseException:
            os.close(lock)
            raise

    @property
    def shared(self) -> bool:
        """Whether other servers may use it at the same time."""
        return self._engine.dialect.name == "postgresql"

    @property
    def now(self) -> ColumnElement[float]:
        """Seconds since 1970 by the database's own clock, as an expression."""
        expression = "extract(epoch from clock_timestamp())::float8"
        return literal_column(expression if self.shared else "(julianday('now') - 2440587.5) * 86400.0", Double)

    async def run(self, work: Callable[[Connection], T], *, freeing: bool = False) -> T:
        """What `work` returns, in one transaction; what it raises undoes it. When the caller is cancelled meanwhile,
        the transaction may take place or not. `freeing`: it makes room on the disk, and may use what is set aside for
        that; even a deletion needs room for SQLite's log.

        Raises:
            NotReady: the database does not answer.
            Exhausted: its disk is full.
        """
        transact = self._transact_freeing if freeing and self._reserve else self._transact
        return await asyncio.get_running_loop().run_in_executor(self._threads, transact, work)

    def close(self) -> None:
        """Lets go of the database and of the data directory, once what runs has ended."""
        self._threads.shutdown()
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _transact_freeing(self, work: Callable[[Connection], T]) -> T:
        assert self._reserve
        self._reserve.fill()  # the last one to use it had not removed its files yet
        try:
            return self._transact(work)
        except Exhausted:
            if not self._reserve.release():
                raise
            return self._transact(work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (sql.OperationalError, sql.InterfaceError, sql.InternalError, sql.TimeoutError) as error:
            raise _refusal(error) from error


def insert_if_absent(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Inserts a row unless that would break a rule of uniqueness; whether it did."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(values).on_conflict_do_nothing().returning(literal_column("1"))
    return connection.execute(statement).first() is not None


def _refusal(error: Exception) -> NotReady | Exhausted:
    """What the caller may know; the log has the driver's words, which hold no parameters and no password."""
    cause = getattr(error, "orig", None) or error
    full = getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(cause, "sqlstate", "") == "53100"
    _log.warning("database", error=" ".join(str(cause).split()), kind=type(cause).__name__)
    if full:
        return Exhausted("the disk of the server's database is full", reason="DISK_FULL", quota="disk")
    return NotReady("the server's database does not answer", reason="DATABASE_UNAVAILABLE", retry_after=1.0)


def _make_directory(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not os.access(data_dir, os.W_OK | os.X_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise BadSetting(f"data_dir: {data_dir} cannot be written: {error.strerror}") from error


def _lock_directory(data_dir: Path) -> int:
    """A lock that ends with this process at the latest."""
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise OSError(
            f"data_dir: another server uses {data_dir}; give this one a --data-dir of its own, or share a PostgreSQL "
            "database by --database"
        ) from error
    return lock


def _open_sqlite(file: Path) -> Engine:
    if not file.exists():  # made under another name, so that an empty file is always a damaged one
        new = file.with_suffix(".new")
        new.unlink(missing_ok=True)
        engine = _sqlite_engine(new, "DELETE")
        with engine.begin() as connection:
            _create(connection)
        engine.dispose()
        new.rename(file)
    size, log = file.stat().st_size, file.with_name(f"{file.name}-wal")
    if size == 0 or (size % _PAGE_BYTES and not log.exists()):  # a crash may leave part of a page, but then also a log
        raise OSError(f"the database {file} is damaged: it has {size} bytes, which is no number of whole pages")
    engine = _sqlite_engine(file, "WAL")
    try:
        with engine.begin() as connection:
            damage = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if damage != "ok":
                raise OSError(f"the database {file} is damaged: {damage}")
            _check(connection, str(file))
    except sql.DatabaseError as error:
        engine.dispose()
        raise OSError(f"the database {file} cannot be used: {error.orig}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite_engine(file: Path, journal: str) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(file)), pool_size=1, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # the driver begins no transactions by itself: see `begin`
        for pragma in (
            f"page_size={_PAGE_BYTES}",
            f"journal_mode={journal}",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=5000",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _open_postgresql(given: str) -> Engine:
    url = _postgresql_url(given)
    # READ COMMITTED: a conditional UPDATE that had to wait looks at the row again.
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=4,
        pool_timeout=_CONNECT_SECONDS,
        hide_parameters=True,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "tcp_user_timeout": 2000 * _CONNECT_SECONDS,
            "prepare_threshold": None,  # poolers in front of PostgreSQL know no prepared statements
        },
    )
    shown = url.render_as_string(hide_password=True).split("?")[0]
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
            if not inspect(connection).has_table(schema_version.name):
                _create(connection)
            _check(connection, shown)
    except sql.DBAPIError as error:
        engine.dispose()
        raise OSError(f"the database {shown} cannot be used: {' '.join(str(error.orig).split())}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _postgresql_url(given: str) -> URL:
    try:
        url = make_url(given)
    except (sql.ArgumentError, ValueError):
        raise BadSetting("database: that is no URL; it should look like postgresql://user@host/name") from None
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise BadSetting(f"database: {url.drivername}://… is not supported; postgresql://… is, and nothing for SQLite")
    if importlib.util.find_spec("psycopg") is None:
        raise BadSetting("database: PostgreSQL needs another extra: pip install 'patchclamp[postgresql]'")
    return url.set(drivername="postgresql+psycopg")


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))


def _check(connection: Connection, shown: str) -> None:
    if not inspect(connection).has_table(schema_version.name):
        raise OSError(f"the database {shown} is not one that patchclamp made")
    version = connection.execute(select(schema_version.c.version)).scalar()
    if version != SCHEMA_VERSION:
        what = "of a newer patchclamp" if version and version > SCHEMA_VERSION else "not one that this patchclamp reads"
        raise OSError(f"the database {shown} is {what}: its schema is {version}, this one knows {SCHEMA_VERSION}")
