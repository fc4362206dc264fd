"""The command line, run beside the server's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import typer.main
from patchclamp._cli import app, main

__all__ = ["COMMANDS", "Shell"]


@dataclass
class Shell:
    """Runs commands beside the server's event loop."""

    target: str
    capsys: pytest.CaptureFixture[str]

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = await asyncio.to_thread(main, [*arguments, "--target", self.target])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err


def _commands(command: object, path: str = "") -> Iterator[str]:
    """The paths of all commands below: "corpora upload"."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path
        return
    for name, inner in below.items():
        yield from _commands(inner, f"{path} {name}".strip())


COMMANDS = set(_commands(typer.main.get_command(app)))
