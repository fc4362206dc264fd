"""A server of its own process with a tiny decoder and a tiny encoder, as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import save_tiny

__all__ = ["COMMAND"]

COMMAND = Path(sys.executable).with_name("patchclamp")


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    models = [f"tiny={save_tiny('llama', folder / 'llama')}", f"tiny-bert={save_tiny('bert', folder / 'bert')}"]
    flags = [part for model in models for part in ("--model", model)]
    flags += ["--listen", "127.0.0.1:0", "--cache", str(folder / "cache"), "--data-dir", str(folder / "data")]
    command: list[str | Path] = [COMMAND, "serve", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"patchclamp listening on (\S+)", process.stdout.readline())
        assert found
        yield found[1]
        process.terminate()
