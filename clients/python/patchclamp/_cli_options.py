"""Options and arguments that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from patchclamp._intervention_lists import interventions_from_json
from patchclamp._interventions import Intervention
from patchclamp._parsing import parse_intervention

__all__ = [
    "AsJson",
    "Edit",
    "Edits",
    "Model",
    "NewId",
    "Seed",
    "Sets",
    "Sites",
    "SpecialTokens",
    "Target",
    "Text",
    "TextModel",
    "TextWords",
    "Timeout",
    "Wait",
    "named",
    "read_edits",
    "read_text",
]

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


Sites: TypeAlias = Annotated[
    list[str],
    typer.Option("--site", "-s", metavar="SITE", help="A site; 'layers.*.residual': of every layer. Repeatable."),
]
SpecialTokens: TypeAlias = Annotated[bool, typer.Option("--special-tokens", help="Rows of special tokens too.")]
Wait: TypeAlias = Annotated[bool, typer.Option(help="Wait until it is there, or print the operation's name.")]
NewId: TypeAlias = Annotated[
    str, typer.Option("--id", metavar="ID", help="What to call it; otherwise the server does.", show_default=False)
]
Text: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--text", metavar="TEXT", help="A text that the model reads at once, instead of a set; -: from stdin."
    ),
]
TextWords: TypeAlias = Annotated[
    bool, typer.Option("--words", help="With --text: words with blanks between; a row a word instead of a token.")
]
TextModel: TypeAlias = Annotated[
    str, typer.Option("--model", metavar="NAME", help="With --text: the model that reads it.", show_default=False)
]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of what is drawn.", min=0)]


def named(option: str, texts: list[str] | None) -> dict[str, str]:
    """The NAME=VALUE of a repeatable option.

    Raises:
        ValueError: One has another form, or a name is given twice.
    """
    values: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{option} {text!r}: NAME=VALUE is wanted")
        if name in values:
            raise ValueError(f"{option} {text!r}: {name!r} is given twice")
        values[name] = value
    return values


def read_edits(file: Path | None, texts: list[str] | None) -> list[Intervention]:
    """Those of the file, then those given one by one."""
    from_file = interventions_from_json(file.read_text(encoding="utf-8")) if file else []
    return from_file + [parse_intervention(text) for text in texts or []]


def read_text(text: str | None, words: bool) -> str | list[list[str]] | None:
    """The text, or the words of its one sentence."""
    if text is None and words:
        raise ValueError("--words is for a --text")
    read = sys.stdin.read() if text == "-" else text
    return [read.split()] if words and read is not None else read
