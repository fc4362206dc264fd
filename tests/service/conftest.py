"""Databases for the tests of what the server keeps: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from patchclamp_service.store.database import Database

from tests.service.postgres import Postgres, postgres

OpenDatabase = Callable[[], Database]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """What to open a database with: "" is SQLite."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    with closing(Database.open(tmp_path / "data", database_url)) as opened:
        yield opened


@pytest.fixture
def open_shared(postgresql: Postgres, tmp_path: Path) -> Iterator[OpenDatabase]:
    """Opens the same PostgreSQL database as often as it is called."""
    url = postgresql.new_database()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Database.open(tmp_path / "data", url)))
