"""The command that draws what others wrote: `plot`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadData
from ..evaluation import Comparison
from ..files.whole_files import write_whole
from ..plots import Plot, comparison_plots, ranking_plots, save_plot, table_plots
from ..results import Ranking
from ..tables import Tables
from .neuron_choice import count_wanted, counts_of
from .outputs import check_outputs, file_names, is_folder, plot_files, write_files

__all__ = ["plot"]

_SHARE = 0.1
_EVALUATION = "evaluation"


def plot(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Tables: comparison.json, what `analyze` wrote, what `patchclamp analyses export` gave as JSON;"
            " or rankings (.npz or .json) of the same neurons.",
        ),
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A folder for all plots as .png, .svg and .csv; or a file of one plot, by its suffix. Repeatable.",
        ),
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="NAME",
            help="Of evaluations and rankings: accuracy, layers, overlap, classes. Repeatable.",
        ),
    ] = None,
    count: Annotated[
        str,
        typer.Option(
            "--count",
            "-k",
            help="Layers and overlap: of so many of the best neurons, or of a part: '10%'.",
            show_default="evaluations: the largest number; rankings: 10%",
        ),
    ] = "",
) -> None:
    """Draw plots of evaluations, rankings and tables.

    A folder gets the figures that are in them, too.

    \b
    patchclamp-analysis plot compared/comparison.json -o plots
    patchclamp-analysis plot compared/comparison.json --kind accuracy -o accuracy.svg -o accuracy.csv
    patchclamp-analysis plot probeless.npz linear_probe.npz --kind overlap -k 100 -o overlap.png
    """
    check_outputs(output, (".png", ".svg", ".csv"), folders=True)
    found = _chosen(_plots(files, count), kind or ())
    for path in output:
        if not is_folder(path) and len(found) > 1:
            names = ", ".join(each.name for each in found)
            raise BadData(f"a file has one plot: choose with --kind from {names}, or give a folder", where=str(path))
    for path in output:
        _write(found, path)


def _plots(files: Sequence[Path], count: str) -> tuple[Plot, ...]:
    if all(Ranking.is_in(path) for path in files):
        return _of_rankings(files, count)
    if len(files) > 1:
        raise BadData("give one file of tables, or rankings alone", where=str(files[-1]))
    tables = Tables.load(files[0])
    if tables.method == _EVALUATION:
        comparison = Comparison.from_tables(tables)
        number = counts_of(comparison.evaluations[0].neurons, [count_wanted(count)])[0] if count else None
        return comparison_plots(comparison, number)
    if count:
        raise BadData(f"is of evaluations and rankings, and these are tables of {tables.method}", where="--count")
    return table_plots(tables)


def _of_rankings(files: Sequence[Path], count: str) -> tuple[Plot, ...]:
    rankings = [Ranking.load(path) for path in files]
    for path, ranking in zip(files, rankings, strict=True):
        if ranking.neurons != rankings[0].neurons:
            raise BadData(f"is of other neurons than {files[0]}", where=str(path))
    names = [ranking.method for ranking in rankings]
    if len(set(names)) < len(names):
        names = file_names(files)
    (number,) = counts_of(len(rankings[0].neurons), [count_wanted(count) if count else _SHARE])
    return ranking_plots(dict(zip(names, rankings, strict=True)), number)


def _chosen(plots: tuple[Plot, ...], names: Sequence[str]) -> tuple[Plot, ...]:
    """BadData for a plot that there is not."""
    there = {each.name: each for each in plots}
    if not there:
        raise BadData("there is no plot of these tables: read them as CSV or in the report")
    for name in names:
        if name not in there:
            raise BadData(f"there is no such plot of this; there are {', '.join(there)}", where=name)
    return tuple(there[name] for name in dict.fromkeys(names)) if names else plots


def _write(plots: Sequence[Plot], path: Path) -> None:
    if is_folder(path):
        write_files(path, plot_files(plots, data=True))
        for each in plots:
            sys.stdout.write(f"{path / each.name}.png\n")
        return
    if path.suffix == ".csv":
        write_whole(path, plots[0].data.to_csv(index=False).encode())
    else:
        save_plot(plots[0].figure, path)
    sys.stdout.write(f"{path}\n")
