"""The commands about analyses: `analyze`, `evaluate`, `analyses …`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from patchclamp._analyses import Analysis
from patchclamp._cli_analysis import CompareWith, Label, OnlySites, Parameters, parameter_values
from patchclamp._cli_operations import result_of
from patchclamp._cli_options import (
    AsJson,
    Edit,
    NewId,
    Target,
    Text,
    TextModel,
    TextWords,
    Timeout,
    Wait,
    read_edits,
    read_text,
)
from patchclamp._cli_output import print_json, print_table
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client
from patchclamp._sync.operations import Operation
from patchclamp._tables import Table
from patchclamp._tensors import Array

__all__ = ["analyses", "analyze", "evaluate"]

AnalysisName: TypeAlias = Annotated[str, typer.Argument(metavar="ANALYSIS", help="As 'analyses/upos-layers'.")]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write all rows there: .json, or .csv of one table."),
]

# Columns that a screen has room for.
WIDE = 8

analyses = typer.Typer(
    name="analyses", no_args_is_help=True, rich_markup_mode=None, help="What methods and evaluations found."
)


def analyze(
    method: Annotated[str, typer.Option("--method", "-m", metavar="METHOD", help="One of `patchclamp methods`.")],
    activation_set: Annotated[
        str, typer.Argument(metavar="[SET]", help="As 'activationSets/dev'; or a --text.", show_default=False)
    ] = "",
    label: Label = "",
    parameter: Parameters = None,
    site: OnlySites = None,
    neuron: Annotated[
        list[str] | None,
        typer.Option("--neuron", "-n", metavar="NEURONS", help="Only these: 'layers.3.residual[17]'. Repeatable."),
    ] = None,
    ranking: Annotated[
        str, typer.Option(metavar="RANKING", help="Only the best neurons of a ranking.", show_default=False)
    ] = "",
    top: Annotated[int, typer.Option(metavar="N", help="How many of the ranking; 0: 10.", min=0)] = 0,
    compare_with: CompareWith = None,
    text: Text = None,
    words: TextWords = False,
    model: TextModel = "",
    edit: Edit = None,
    out: Output = None,
    id: NewId = "",
    wait: Wait = True,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Run a method that answers with tables.

    \b
    patchclamp analyze activationSets/dev -m compositional --label upos -n 'layers.3.residual[17]'
    patchclamp analyze activationSets/dev -m top_words --ranking rankings/upos --top 5 -o words.csv
    patchclamp analyze --text "The nurse said that" -m top_contexts -n 'layers.3.neurons[17]'
    """
    _check(wait, out)
    with Client(target, timeout=timeout) as client:
        operation = client.analysis.analyze(
            activation_set,
            method=method,
            label=label,
            parameters=parameter_values(parameter),
            sites=site or [],
            neurons=neuron or [],
            ranking=ranking,
            top=top,
            compare_with=compare_with or [],
            text=read_text(text, words),
            model=model,
            interventions=read_edits(None, edit),
            id=id,
            progress=True,
        )
        _finish(client, operation, wait, as_json, out)


def evaluate(
    ranking: Annotated[list[str], typer.Argument(metavar="RANKING…", help="Of the same neurons and label.")],
    train: Annotated[
        str, typer.Option(metavar="SET", help="Train the probes on this.", show_default="the first ranking's")
    ] = "",
    test: Annotated[
        str, typer.Option(metavar="SET", help="Judge by this.", show_default="a fifth of the sentences of --train")
    ] = "",
    parameter: Parameters = None,
    out: Output = None,
    id: NewId = "",
    wait: Wait = True,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Judge rankings by probes of their best, random and worst neurons.

    \b
    patchclamp evaluate rankings/upos rankings/upos-iou --test activationSets/test
    patchclamp evaluate rankings/upos -p counts=[10,100] -p seeds=5 -o upos.json
    """
    _check(wait, out)
    with Client(target, timeout=timeout) as client:
        operation = client.analysis.evaluate(
            ranking,
            activation_set=train,
            test_set=test,
            parameters=parameter_values(parameter),
            id=id,
            progress=True,
        )
        _finish(client, operation, wait, as_json, out, only="summary")


@analyses.command(name="list")
def list_(as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """List the analyses of the server.

    \b
    patchclamp analyses list --json
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.analyses.list()
    print_json(found) if as_json else _print_all(found)


@analyses.command()
def get(
    analysis: AnalysisName,
    rows: Annotated[int, typer.Option(metavar="N", help="Most rows of each table; 0: 100.", min=0)] = 0,
    table: Annotated[str, typer.Option(metavar="TABLE", help="Only this one.", show_default=False)] = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the tables of an analysis.

    \b
    patchclamp analyses get analyses/upos-layers --table layers --rows 1000
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.analyses.get(analysis, rows=rows)
    if table:
        found.table(table)  # an unknown one is refused before anything is printed
    print_json(found) if as_json else _print(found, table)


@analyses.command()
def export(
    analysis: AnalysisName,
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: .json or .csv.")],
    table: Annotated[str, typer.Option(metavar="TABLE", help="As CSV: which table.", show_default="the only one")] = "",
    format: Annotated[
        Literal["csv", "json"] | None, typer.Option(help="Its format.", show_default="as its name ends")
    ] = None,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = float("inf"),
) -> None:
    """Write all rows of an analysis to a file: everything as JSON, or one table as CSV.

    \b
    patchclamp analyses export analyses/upos-words -o words.csv --table words
    """
    with Client(target, timeout=timeout) as client:
        typer.echo(client.analysis.analyses.export(analysis, out, table=table, format=format, timeout=timeout))


@analyses.command()
def delete(analysis: AnalysisName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Remove an analysis.

    \b
    patchclamp analyses delete analyses/upos-layers
    """
    with Client(target, timeout=timeout) as client:
        client.analysis.analyses.delete(analysis)


def _check(wait: bool, out: Path | None) -> None:
    """Refuses what would fail only after the work."""
    if out is None:
        return
    if not wait:
        raise ValueError("--output is for work that is waited for; `patchclamp analyses export` writes it later")
    if out.suffix not in (".csv", ".json"):
        raise ValueError(f"{str(out)!r} should end in .json or .csv")
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {str(out.parent)!r}")


def _finish(
    client: Client, operation: Operation[Analysis], wait: bool, as_json: bool, out: Path | None, only: str = ""
) -> None:
    """Prints what is made, and writes it to a file; of several tables `only` one, if it is there."""
    if not wait:
        print_json({"operation": operation.name}) if as_json else typer.echo(operation.name)
        return
    made = result_of(operation)
    table = only if only in made.tables else ""
    print_json(made) if as_json else _print(made, table)
    if out is not None:
        client.analysis.analyses.export(made, out, table=table if out.suffix == ".csv" else "")


def _print(analysis: Analysis, only: str = "") -> None:
    _print_all([analysis])
    for table in [analysis.tables[only]] if only else analysis.tables.values():
        _print_table(analysis.name, table)
    if only and (others := [table.described() for name, table in analysis.tables.items() if name != only]):
        typer.echo(f"\nalso {', '.join(others)}: patchclamp analyses get {analysis.name}")
    for note in analysis.notes:
        sys.stderr.write(f"{note}\n")


def _print_table(analysis: str, table: Table) -> None:
    typer.echo(f"\n{table.described()}")
    columns = [[name, *_texts(values)] for name, values in table.columns.items()]
    if len(columns) > max(WIDE, len(table)):  # figures beside one another read better turned
        print_table(columns[0], columns[1:])
    elif columns:
        headings, *rows = zip(*columns, strict=True)
        print_table(headings, rows)
    if not table.complete:
        missing = table.row_count - len(table)
        typer.echo(f"… and {missing:,} more: patchclamp analyses export {analysis} -o FILE.csv --table {table.name}")


def _print_all(analyses: Iterable[Analysis]) -> None:
    rows = [
        [
            analysis.name,
            analysis.method,
            analysis.label or "–",
            " ".join(analysis.rankings or analysis.activation_sets) or "a text",
            f"{analysis.row_count:,}",
            ", ".join(analysis.tables) or "–",
        ]
        for analysis in analyses
    ]
    print_table(["analysis", "method", "labels", "of", "rows", "tables"], rows)


def _texts(values: Array) -> list[str]:
    """The cells of a column; a number that is not there is a dash."""
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    return [f"{value:.6g}" if not math.isnan(value) else "–" for value in values.tolist()]
