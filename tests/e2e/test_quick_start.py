"""The researcher's quick start, as it stands in the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patchclamp import Client

from tests.e2e.conftest import COMMAND

README = Path(__file__).parents[2] / "README.md"
HEADING = "## A researcher's quick start"
TEXT = "In 1969 she left Boston .\nThe nurse said that 1984 was late .\nNobody saw the doctor again .\n"


def block(language: str) -> str:
    """The section's block in a language."""
    _, found, section = README.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")
    assert found, f"the README has no section {HEADING!r}"
    match = re.search(rf"```{language}\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    assert match, f"the section has no block in {language}"
    return match[1]


@pytest.fixture
def folder(address: str, tmp_path: Path) -> Iterator[Path]:
    """Has the text; what is made of it on the server is removed at the end."""
    (tmp_path / "mine.txt").write_text(TEXT)
    yield tmp_path
    with Client(address) as client:
        client.activation_sets.delete("activationSets/years")
        client.corpora.delete("corpora/mine-years")
        client.corpora.delete("corpora/mine")


def run(command: list[str], folder: Path, address: str) -> str:
    environment = os.environ | {"PATCHCLAMP_TARGET": address, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_in_python(address: str, folder: Path) -> None:
    code = block("python").replace("localhost:8470", address)
    assert "tells years from other words best" in run([sys.executable, "-W", "error", "-c", code], folder, address)
    assert (folder / "years.h5").is_file()


def test_on_the_command_line(address: str, folder: Path) -> None:
    lines = [line.removeprefix("$ ") for line in block("console").splitlines() if line.startswith("$ ")]
    out = run(["bash", "-ec", "\n".join(lines)], folder, address)
    assert "activationSets/years" in out
    assert (folder / "years.h5").is_file()
