"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from patchclamp._intervention_lists import interventions_from_json
from patchclamp._interventions import Intervention
from patchclamp._parsing import parse_intervention

__all__ = ["AsJson", "Edit", "Edits", "Model", "Sets", "Target", "Timeout", "read_edits"]

Target: TypeAlias = Annotated[
    str, typer.Option("--target", envvar="PATCHCLAMP_TARGET", metavar="HOST:PORT", help="The server.")
]
Timeout: TypeAlias = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Seconds for each call.")]
Model: TypeAlias = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME", help="One that `patchclamp models` lists.", show_default=False),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Edit: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--edit", "-e", metavar="EDIT", help="As 'ablate layers.10.neurons[17] @generated'. Repeatable."),
]
Edits: TypeAlias = Annotated[
    Path | None,
    typer.Option("--edits", metavar="FILE", help="A JSON list of edits, applied before those of --edit."),
]
Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME", help="An intervention set the server keeps, applied first. Repeatable."),
]


def read_edits(file: Path | None, texts: list[str] | None) -> list[Intervention]:
    """Those of the file, then those given one by one."""
    from_file = interventions_from_json(file.read_text(encoding="utf-8")) if file else []
    return from_file + [parse_intervention(text) for text in texts or []]
