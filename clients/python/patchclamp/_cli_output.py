"""What the commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from patchclamp._interventions import Intervention
from patchclamp._models import Model
from patchclamp._receipts import Applied
from patchclamp._scores import Scores

__all__ = [
    "label_counts",
    "print_json",
    "print_models",
    "print_modules",
    "print_receipt",
    "print_scores",
    "print_sites",
    "print_table",
]

# Of a layer: part-of-speech tags of a language with many would fill the screen.
_LABELS_SHOWN = 20

# Into a pipe: whole rows, whatever their width.
PIPE_WIDTH = 4096


def print_json(value: object) -> None:
    """One JSON value; dataclasses as objects, arrays as lists, in them null for a number that is not finite."""
    sys.stdout.write(json.dumps(value, default=_jsonable, ensure_ascii=False) + "\n")


def label_counts(counts: Mapping[str, int], unlabelled: int) -> list[tuple[str, str]]:
    """The labels of a layer and how often they are there, the most frequent ones; what is left in one."""
    often = sorted(counts.items(), key=lambda each: -each[1])
    shown, left = often[:_LABELS_SHOWN], often[_LABELS_SHOWN:]
    if left:
        shown.append((f"({len(left)} more: --json)", sum(count for _, count in left)))
    return [(label, f"{count:,}") for label, count in [*shown, ("(none)", unlabelled)] if count]


def print_models(models: Sequence[Model]) -> None:
    """A row a model."""
    rows = [
        [
            model.name,
            str(model.kind),
            model.architecture,
            str(model.layer_count),
            str(model.hidden_size),
            f"{model.parameter_count / 1e6:,.1f} M",
            f"{model.dtype} on {model.device}",
        ]
        for model in models
    ]
    print_table(["model", "kind", "architecture", "layers", "width", "weights", "held as"], rows)


def print_sites(model: Model) -> None:
    """A row a site, and what is not offered."""
    print_table(["site", "width", "module"], [[site.name, str(site.width), site.module] for site in model.sites])
    if model.refused_sites:
        print_table(["not offered", "because"], [[site.name, site.reason] for site in model.refused_sites])


def print_modules(model: Model) -> None:
    """A row a module; a width that is not known is a dash."""
    rows = [
        [f"module:{module.path}", module.type, str(module.input_width or "–"), str(module.output_width or "–")]
        for module in model.modules
    ]
    print_table(["module", "type", ".input", ".output"], rows)


def print_scores(continuations: Sequence[str], scores: Scores) -> None:
    """A row a continuation."""
    rows = [
        [repr(continuation), f"{score.logprob:.4f}", f"{np.exp(score.logprob):.3g}", str(len(score.token_ids))]
        for continuation, score in zip(continuations, scores, strict=True)
    ]
    print_table(["continuation", "log p", "p", "tokens"], rows)


def print_receipt(edits: Sequence[Intervention], applied: Applied) -> None:
    """On stderr, a line an edit: at how many positions it was applied."""
    for name in applied.sets:
        sys.stderr.write(f"applied {name}\n")
    # The receipt lists the edits of the named sets first.
    own = applied.edits[len(applied.edits) - len(edits) :]
    for edit, done in zip(edits, own, strict=False):
        sys.stderr.write(f"edited {done.positions_edited} positions: {edit}\n")


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Columns with headings."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: "[17]" is no markup
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def _jsonable(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        gaps = value.dtype.kind == "f" and not np.isfinite(value).all()
        return np.where(np.isfinite(value), value.astype(object), np.array(None)).tolist() if gaps else value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
