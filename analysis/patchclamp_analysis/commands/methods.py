"""The commands that list methods and rank neurons: `methods` and `rank`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.table import Table

from ..errors import BadData
from ..evaluation.selections import neuron_counts
from ..extraction.extractors import Report
from ..files.whole_files import write_whole
from ..methods import METHODS, RANKING_METHODS, MethodInfo, RankingMethod, build, describe
from ..progress import Progress
from ..report import ranking_report
from ..results import Ranking
from .inputs import Label, Memory, NeuroxOptions, SetPath, Sites, opened_rows, reads_neurox
from .outputs import check_outputs, console, versions
from .progress import bar

__all__ = ["Parameters", "method_named", "methods", "parameter_values", "rank", "stage"]

_SHOWN = 10
_SHARE = 0.1
_PARTS = 1000

Parameters: TypeAlias = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Of the method. Repeatable.")
]


def methods(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False) -> None:
    """List the methods, what they do, and which command runs them.

    \b
    patchclamp-analysis methods
    """
    infos = [describe(METHODS[name]) for name in sorted(METHODS)]
    if as_json:
        listed = [asdict(info) | {"command": _command(info)} for info in infos]
        sys.stdout.write(json.dumps(listed, ensure_ascii=False, default=str) + "\n")
        return
    table = Table.grid(padding=(0, 2))
    for info in infos:
        labels = ", needs labels" if info.supervised else ""
        several = ", compares sets" if info.several else ""
        table.add_row(info.name, _command(info), info.summary)
        table.add_row("", "", f"{info.kind}{labels}{several}", style="dim")
        if info.parameters:
            table.add_row("", "", ", ".join(f"{each.name}={json.dumps(each.default)}" for each in info.parameters))
    console().print(table)


@reads_neurox
def rank(
    file: SetPath,
    method: Annotated[str, typer.Option("--method", "-m", metavar="NAME", help="See `patchclamp-analysis methods`.")],
    neurox: NeuroxOptions,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to: .npz for other commands, .csv, .json, or .html, a report. Repeatable.",
        ),
    ] = None,
    label: Label = "",
    parameter: Parameters = None,
    site: Sites = None,
    memory: Memory = 1024,
) -> None:
    """Score every neuron of an activation set.

    \b
    patchclamp-analysis rank train.h5 -l upos -m probeless -o probeless.npz
    patchclamp-analysis rank train.h5 -l upos -m linear_probe -p l1=0.001 -o probe.npz -o probe.html
    patchclamp-analysis rank train.h5 -m variance -s 'layers.*.residual'
    patchclamp-analysis rank neurox.hdf5 --corpus train.words --labels upos=train.upos -l upos -m probeless
    """
    chosen, paths = method_named(method, parameter or ()), output or []
    check_outputs(paths, (".npz", ".csv", ".json", ".html"))
    needs = chosen.supervised
    with (
        bar() as report,
        opened_rows(file, label, neurox, report, sites=site, memory=memory, supervised=needs) as given,
    ):
        found = chosen.rank(given.data, progress=stage(report, method))
        about = given.about
    for path in paths:
        _write_ranking(found, path, about)
    for note in found.notes:
        sys.stderr.write(f"note: {note}\n")
    for neuron in found.top(_SHOWN):
        sys.stdout.write(f"{neuron.site}[{neuron.index}]\t{neuron.score:.6g}\n")


def method_named(name: str, parameters: Sequence[str] = ()) -> RankingMethod:
    """A method that ranks; parameters are NAME=VALUE. BadData says what is wrong."""
    if name in METHODS and name not in RANKING_METHODS:
        what = "compares several sets" if describe(METHODS[name]).answer == "ranking" else "answers with tables"
        raise BadData(f"this method {what}: `patchclamp-analysis analyze SET -m {name}` runs it", where=name)
    if name not in RANKING_METHODS:
        raise BadData(f"no such method; there are {', '.join(sorted(RANKING_METHODS))}", where=name)
    return build(RANKING_METHODS[name], parameter_values(parameters))


def parameter_values(parameters: Sequence[str]) -> dict[str, object]:
    """Of NAME=VALUE, a value being JSON or a plain string."""
    values: dict[str, object] = {}
    for text in parameters:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadData("a parameter is NAME=VALUE", where=text)
        try:
            values[key] = json.loads(value)
        except ValueError:
            values[key] = value
    return values


def stage(report: Report, name: str) -> Progress:
    """Progress that a bar shows as one stage."""
    return Progress(lambda done: report(name, int(done * _PARTS), _PARTS))


def _command(info: MethodInfo) -> str:
    return "rank" if info.name in RANKING_METHODS else "analyze"


def _write_ranking(ranking: Ranking, path: Path, about: str) -> None:
    if path.suffix == ".npz":
        ranking.save(path)
    elif path.suffix == ".csv":
        write_whole(path, ranking.to_pandas().to_csv(index=False).encode())
    elif path.suffix == ".json":
        write_whole(path, ranking.to_json().encode())
    else:
        (count,) = neuron_counts([_SHARE], len(ranking.neurons))
        run = {"method": ranking.method, "activations": about, "versions": versions()}
        write_whole(path, ranking_report(ranking, count, run=run).encode())
