"""A real PostgreSQL for tests, from the machine's own binaries; everything of it lies in one temporary directory."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

__all__ = ["Postgres", "postgres"]


class Postgres:
    """A server that is reached through a socket in its directory."""

    def __init__(self, binaries: Path, directory: Path, user: str | None) -> None:
        self._binaries, self._directory, self._user = binaries, directory, user
        self._names = (f"test{number}" for number in count())

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://patchclamp:hushhush@/{database}?host={self._directory}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = next(self._names)
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def make(self) -> None:
        self._run("initdb", "--auth=trust", "--username=patchclamp", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")

    def start(self) -> None:
        """Returns once it answers."""
        options = f"-c listen_addresses= -c unix_socket_directories={self._directory} -c fsync=off"
        log = self._directory / "log"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """Cuts every connection at once."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments, f"--pgdata={self._directory / 'data'}"]
        with (self._directory / "setup.log").open("ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, user=self._user, cwd=self._directory)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; skips the test where there is none to be had."""
    initdb = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if initdb is None:
        pytest.skip("no PostgreSQL on this machine: initdb is not on PATH, nor under /usr/lib/postgresql")
    user = _unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="patchclamp-pg-"))  # a short path: it holds a socket
    try:
        if user:
            shutil.chown(directory, user)
        server = Postgres(Path(initdb).resolve().parent, directory, user)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _unprivileged() -> str | None:
    """Whom to run it as, since it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    found = next((name for name in ("postgres", "nobody") if name in names), None)
    if found is None:
        pytest.skip("PostgreSQL does not run as root, and this machine has no user postgres or nobody")
    return found
