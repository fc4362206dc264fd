"""The commands that rank neurons: `methods` and `rank`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..data.rows import Data
from ..errors import BadData
from ..extraction.extractors import Report
from ..files.whole_files import write_whole
from ..methods import METHODS, RANKING_METHODS, RankingMethod, build, describe
from ..progress import Progress
from ..results import Ranking
from ..sets.activation_sets import ActivationSet
from .progress import bar

__all__ = ["Label", "Memory", "Sites", "method_named", "methods", "rank", "stage"]

_SHOWN = 10
_PARTS = 1000

Label = Annotated[str, typer.Option("--label", "-l", help="The layer of labels.")]
Sites = Annotated[list[str] | None, typer.Option("--site", "-s", help="Only this site. Repeatable.")]
Memory = Annotated[int, typer.Option(help="Memory bound, in MiB.", min=16)]


def methods(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False) -> None:
    """List the methods and their parameters.

    \b
    patchclamp-analysis methods
    """
    infos = [describe(METHODS[name]) for name in sorted(METHODS)]
    if as_json:
        sys.stdout.write(json.dumps([asdict(info) for info in infos], ensure_ascii=False, default=str) + "\n")
        return
    table = Table.grid(padding=(0, 2))
    for info in infos:
        table.add_row(info.name, info.summary)
        table.add_row("", ", ".join(f"{each.name}={json.dumps(each.default)}" for each in info.parameters))
    Console(soft_wrap=True, highlight=False).print(table)


def rank(
    file: Annotated[Path, typer.Argument(metavar="SET", help="An activation set.")],
    method: Annotated[str, typer.Option("--method", "-m", help="See `patchclamp-analysis methods`.")],
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="Where to: .npz for other commands, .csv or .json. Repeatable."),
    ] = None,
    label: Label = "",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Of the method. Repeatable.")
    ] = None,
    site: Sites = None,
    memory: Memory = 1024,
) -> None:
    """Score every neuron of an activation set.

    \b
    patchclamp-analysis rank train.h5 -l upos -m probeless -o probeless.npz
    patchclamp-analysis rank train.h5 -l upos -m linear_probe -p l1=0.001 -o probe.npz -o probe.csv
    patchclamp-analysis rank train.h5 -m variance
    """
    chosen, paths = method_named(method, parameter or ()), output or []
    for path in paths:
        if path.suffix not in (".npz", ".csv", ".json"):
            raise BadData("a ranking is a .npz, .csv or .json file", where=str(path))
    with ActivationSet.open(file) as opened, bar() as report:
        data = Data.from_activation_set(opened, label, sites=site, memory_bytes=memory * 2**20)
        found = chosen.rank(data, progress=stage(report, method))
    for path in paths:
        _write_ranking(found, path)
    for note in found.notes:
        sys.stderr.write(f"note: {note}\n")
    for neuron in found.top(_SHOWN):
        sys.stdout.write(f"{neuron.site}[{neuron.index}]\t{neuron.score:.6g}\n")


def method_named(name: str, parameters: Sequence[str] = ()) -> RankingMethod:
    """A method of the registry; parameters are NAME=VALUE. BadData says what is wrong."""
    if name not in RANKING_METHODS:
        what = "no such method" if name not in METHODS else "this method answers with tables"
        raise BadData(f"{what}; there are {', '.join(sorted(RANKING_METHODS))}", where=name)
    values: dict[str, object] = {}
    for text in parameters:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadData("a parameter is NAME=VALUE", where=text)
        try:
            values[key] = json.loads(value)
        except ValueError:
            values[key] = value
    return build(RANKING_METHODS[name], values)


def stage(report: Report, name: str) -> Progress:
    """Progress that a bar shows as one stage."""
    return Progress(lambda done: report(name, int(done * _PARTS), _PARTS))


def _write_ranking(ranking: Ranking, path: Path) -> None:
    if path.suffix == ".npz":
        ranking.save(path)
    elif path.suffix == ".csv":
        write_whole(path, ranking.to_pandas().to_csv(index=False).encode())
    else:
        write_whole(path, ranking.to_json().encode())


def _default(value: object) -> str:
    return json.dumps(value)
