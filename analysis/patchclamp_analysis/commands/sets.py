"""The commands that look at activation sets: `show`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from ..sets.activation_sets import ActivationSet
from .inputs import NeuroxOptions, SetPath, opened_set, reads_neurox
from .outputs import console
from .progress import bar

__all__ = ["show"]

_MOST = 20


@reads_neurox
def show(
    file: SetPath,
    neurox: NeuroxOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Show what is in an activation set.

    \b
    patchclamp-analysis show dev.h5
    patchclamp-analysis show dev.h5 --json | jq .rows
    """
    with bar() as report, opened_set(file, neurox, report) as opened:
        content = _content(opened)
    if as_json:
        sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    else:
        _print(content)


def _content(opened: ActivationSet) -> dict[str, object]:
    described = asdict(opened.description)
    return {
        **{key: described[key] for key in ("model", "model_digest", "corpus", "corpus_digest", "aggregation", "dtype")},
        **{key: described[key] for key in ("filter", "interventions") if described[key]},
        "rows": opened.rows,
        "masked_rows": int(opened.masked.sum()),
        "sentences": len(opened.sentence_offsets) - 1,
        "sites": dict(opened.sites),
        "layers": {layer: dict(opened.label_counts(layer)) for layer, _ in opened.description.layers},
    }


def _print(content: dict[str, object]) -> None:
    table = Table.grid(padding=(0, 2))
    for key, value in content.items():
        if isinstance(value, dict) and key == "layers":
            for layer, counts in value.items():
                table.add_row(f"labels of {layer}", _some([f"{label} {count:,}" for label, count in counts.items()]))
        elif isinstance(value, dict):
            table.add_row(key, _some([f"{site} ({width})" for site, width in value.items()]))
        else:
            table.add_row(key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    console().print(table)


def _some(parts: list[str]) -> str:
    more = f" and {len(parts) - _MOST} more" if len(parts) > _MOST else ""
    return ", ".join(parts[:_MOST]) + more
