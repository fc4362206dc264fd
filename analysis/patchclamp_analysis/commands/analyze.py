"""The command that runs the methods that answer with tables: `analyze`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..data.rows import Data
from ..errors import BadData
from ..files.whole_files import write_whole
from ..methods import METHODS, ComparingMethod, RankingMethod, TableMethod, build, describe
from ..plots import table_plots
from ..progress import Progress
from ..report import tables_report
from ..results import Ranking
from ..tables import Tables
from .inputs import Input, Label, Memory, NeuroxOptions, Sites, opened_rows, reads_neurox
from .methods import Parameters, parameter_values, stage
from .neuron_choice import NeuronNames, RankingPath, chosen_neurons, places_of
from .outputs import check_outputs, console, file_names, is_folder, plot_files, versions, write_files
from .progress import bar

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["analyze"]

_SHOWN = 10


@reads_neurox
def analyze(
    files: Annotated[
        list[Path], typer.Argument(metavar="SET", help="An activation set, or a file of NeuroX; of the same words.")
    ],
    method: Annotated[str, typer.Option("--method", "-m", metavar="NAME", help="See `patchclamp-analysis methods`.")],
    neurox: NeuroxOptions,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A folder for tables, plots and a report; or .json, .html (a report) or .csv, of several tables"
            " NAME.TABLE.csv each. Repeatable.",
        ),
    ] = None,
    label: Label = "",
    parameter: Parameters = None,
    site: Sites = None,
    neuron: NeuronNames = None,
    ranking: RankingPath = None,
    count: Annotated[int, typer.Option("--count", "-k", help="With --ranking: neurons.", min=1)] = 10,
    memory: Memory = 1024,
) -> None:
    """Run a method that gives tables, or compares several sets.

    \b
    patchclamp-analysis analyze train.h5 -m efficient_features -l upos -o efficient
    patchclamp-analysis analyze train.h5 -m top_contexts -n 'layers.3.residual[17]' -p words=3 -o contexts.csv
    patchclamp-analysis analyze train.h5 -m concept_alignment -r probeless.npz -k 50 -o concepts
    patchclamp-analysis analyze minilm.h5 smollm.h5 -m cross_model -p measure=max_corr -o compared
    """
    chosen, paths = _method(method, parameter or ()), output or []
    check_outputs(paths, (".json", ".csv", ".html"), folders=True)
    wanted = chosen_neurons(neuron or (), ranking, count)
    if wanted and len(files) > 1:
        raise BadData("neurons are those of one set, and there are several: choose sites instead", where="--neuron")
    with bar() as report, ExitStack() as stack:
        given = [
            stack.enter_context(
                opened_rows(path, label, neurox, report, sites=site, memory=memory, supervised=chosen.supervised)
            )
            for path in files
        ]
        datas = _named(files, given)
        if wanted:
            datas = {name: data.keep(places_of(data, wanted)) for name, data in datas.items()}
        found = _run(chosen, datas, stage(report, method))
        report("write", 0, 0)
        run = {"method": method, "activations": "; ".join(each.about for each in given), "versions": versions()}
        written = [each for path in paths for each in _write(found, path, run)]
    _print(found.tables)
    sys.stdout.writelines(f"{path}\n" for path in written)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Tables, and the rankings that they are made of, if any, by name."""

    tables: Tables
    rankings: Mapping[str, Ranking]


def _method(name: str, parameters: Sequence[str]) -> TableMethod | ComparingMethod:
    if name not in METHODS:
        ours = (each for each in sorted(METHODS) if not issubclass(METHODS[each], RankingMethod))
        raise BadData(f"no such method; there are {', '.join(ours)}", where=name)
    found = build(METHODS[name], parameter_values(parameters))
    if isinstance(found, TableMethod | ComparingMethod):
        return found
    raise BadData(f"this method ranks neurons: `patchclamp-analysis rank SET -m {name}` runs it", where=name)


def _named(files: Sequence[Path], given: Sequence[Input]) -> dict[str, Data]:
    """By the names of the files, which are in the tables."""
    names = file_names(files)
    return dict(zip(names, (each.data for each in given), strict=True))


def _run(method: TableMethod | ComparingMethod, datas: Mapping[str, Data], progress: Progress) -> _Found:
    if len(datas) > 1 and not describe(type(method)).several:
        raise BadData(f"takes one set of activations, not {len(datas)}", where=method.name)
    if isinstance(method, TableMethod):
        return _Found(method.tables(datas, progress=progress), {})
    rankings = method.compare(datas, progress=progress)
    return _Found(_tables_of(rankings), rankings)


def _tables_of(rankings: Mapping[str, Ranking]) -> Tables:
    """One table: a row a neuron, model after model, best first."""
    import pandas as pd

    frames = [ranking.to_pandas().assign(model=name) for name, ranking in rankings.items()]
    table = pd.concat(frames, ignore_index=True)[["model", "site", "index", "score"]]
    first = next(iter(rankings.values()))
    return Tables(first.method, {"neurons": table}, "", first.parameters, first.notes)


def _write(found: _Found, path: Path, run: Mapping[str, str]) -> list[Path]:
    """What is to be looked at."""
    tables = found.tables
    if is_folder(path):
        _write_folder(found, path, run)
        return [path / "report.html"]
    if path.suffix == ".json":
        tables.save(path)
    elif path.suffix == ".html":
        write_whole(path, tables_report(tables, run=run).encode())
    elif len(tables.tables) > 1:
        files = {f"{path.stem}.{name}.csv": _csv(frame) for name, frame in tables.tables.items()}
        write_files(path.parent, files)
        return [path.parent / name for name in files]
    else:
        write_whole(path, _csv(*tables.tables.values()))
    return [path]


def _write_folder(found: _Found, folder: Path, run: Mapping[str, str]) -> None:
    """The report last: when it is there, all is."""
    tables = found.tables
    files = {f"{name}.csv": _csv(frame) for name, frame in tables.tables.items()}
    files |= plot_files(table_plots(tables), data=False)
    files[f"{tables.method}.json"] = tables.to_json().encode()
    files["report.html"] = tables_report(tables, run=run).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, ranking in found.rankings.items():
        ranking.save(folder / f"{name}.npz")
    write_files(folder, files)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _print(tables: Tables) -> None:
    """The first rows of each table."""
    out = console()
    for note in tables.notes:
        sys.stderr.write(f"note: {note}\n")
    for name, frame in tables.tables.items():
        shown = Table(title=f"{name} ({len(frame):,})", title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in frame.columns:
            shown.add_column(str(column), justify="right" if frame[column].dtype.kind in "fiu" else "left")
        for row in frame.head(_SHOWN).itertuples(index=False):
            shown.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
        out.print(shown, markup=False)
