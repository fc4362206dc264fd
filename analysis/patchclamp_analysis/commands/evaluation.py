"""The commands that judge rankings: `evaluate` and `compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..data.rows import Data
from ..errors import BadData
from ..evaluation import Comparison, Evaluation
from ..files.whole_files import write_whole
from ..plots import accuracy_plot, layers_plot, overlap_plot, save_plot
from ..report import html_report
from ..results import Ranking
from ..sets.activation_sets import ActivationSet
from .methods import Label, Memory, method_named, stage
from .progress import bar

__all__ = ["compare", "evaluate"]

Names = Annotated[list[str] | None, typer.Option("--method", "-m", help="A method, with its defaults. Repeatable.")]
TestSet = Annotated[Path, typer.Option("--test", metavar="SET", help="A set to judge by.")]
MaybeTestSet = Annotated[
    Path | None,
    typer.Option("--test", metavar="SET", help="A set to judge by.", show_default="a fifth of the sentences of SET"),
]
Counts = Annotated[
    list[str] | None,
    typer.Option(
        "--count", "-k", help="A number of neurons, or a part: '10%'. Repeatable.", show_default="10 50 100 1% 10%"
    ),
]
Seeds = Annotated[int, typer.Option(help="Probes of each kind.", min=1, max=100)]
Epochs = Annotated[int, typer.Option(help="The probes' passes; 0: as many as it takes.", min=0)]
CodeLength = Annotated[bool, typer.Option("--code-length", help="Online code lengths too: ten probes for each.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="A directory, made if need be.")]


def evaluate(
    file: Annotated[Path, typer.Argument(metavar="SET", help="An activation set to train probes on.")],
    ranking: Annotated[Path, typer.Argument(metavar="RANKING", help="What `rank` wrote, a .npz file.")],
    output: Output,
    label: Label,
    test: TestSet,
    count: Counts = None,
    seeds: Seeds = 3,
    epochs: Epochs = 0,
    code_length: CodeLength = False,
    memory: Memory = 1024,
) -> None:
    """Judge a ranking by probes of its top, random and bottom neurons: tables, plots and a report.

    \b
    patchclamp-analysis evaluate train.h5 probeless.npz --test dev.h5 -l upos -o probeless
    """
    how = _how(count, seeds, epochs, code_length)
    with _splits(file, test, label, memory) as (train, judged), bar() as report:
        loaded = [_for(train, Ranking.load(ranking), ranking)]
        _write(how.compare(loaded, train, judged, progress=stage(report, "probes")), output)


def compare(
    file: Annotated[Path, typer.Argument(metavar="SET", help="An activation set to rank and to train probes on.")],
    output: Output,
    label: Label,
    rankings: Annotated[
        list[Path] | None, typer.Argument(metavar="[RANKING]...", help="What `rank` wrote, .npz files.")
    ] = None,
    method: Names = None,
    test: MaybeTestSet = None,
    count: Counts = None,
    seeds: Seeds = 3,
    epochs: Epochs = 0,
    code_length: CodeLength = False,
    memory: Memory = 1024,
) -> None:
    """Rank by several methods and judge them by the same probes: tables, plots and a report.

    \b
    patchclamp-analysis compare train.h5 --test dev.h5 -l upos -m probeless -m linear_probe -o compared
    patchclamp-analysis compare train.h5 probe.npz random_forest.npz --test dev.h5 -l upos -o compared
    """
    if rankings and test is None:
        raise BadData(
            "rankings that are made already may know all rows of the set: give another one to judge by", where="--test"
        )
    how, chosen = _how(count, seeds, epochs, code_length), [method_named(name) for name in method or ()]
    with _splits(file, test, label, memory) as (train, judged), bar() as report:
        found = [_for(train, Ranking.load(path), path) for path in rankings or ()]
        found += [each.rank(train, progress=stage(report, each.name)) for each in chosen]
        _write(how.compare(_named(found), train, judged, progress=stage(report, "probes")), output)


def _how(counts: Sequence[str] | None, seeds: int, epochs: int, code_length: bool) -> Evaluation:
    how = Evaluation(seeds=seeds, epochs=epochs, code_length=code_length)
    return replace(how, counts=tuple(map(_count, counts))) if counts else how


def _count(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100.0 if text.endswith("%") else float(int(text))
    except ValueError:
        raise BadData("is neither a number of neurons nor a percentage", where=text) from None


@contextmanager
def _splits(train: Path, test: Path | None, label: str, memory: int) -> Iterator[tuple[Data, Data]]:
    with ActivationSet.open(train) as one:
        data = Data.from_activation_set(one, label, memory_bytes=memory * 2**20)
        if test is None:
            yield data.split(0.2)
            return
        with ActivationSet.open(test) as other:
            names = [site.name for site in data.neurons.sites]
            yield data, Data.from_activation_set(other, label, sites=names, memory_bytes=memory * 2**20)


def _for(data: Data, ranking: Ranking, path: Path) -> Ranking:
    if ranking.neurons != data.neurons:
        raise BadData("the ranking is of other neurons than the set has", where=str(path))
    return ranking


def _named(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Each under another name: those of one method are numbered."""
    names = [ranking.method for ranking in rankings]
    numbers = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [
        replace(ranking, method=f"{ranking.method} {number}") if names.count(ranking.method) > 1 else ranking
        for ranking, number in zip(rankings, numbers, strict=True)
    ]


def _write(comparison: Comparison, folder: Path) -> None:
    """The report last: when it is there, all is."""
    folder.mkdir(parents=True, exist_ok=True)
    count = comparison.counts[-1]
    figures = {"accuracy": accuracy_plot(comparison), "layers": layers_plot(comparison, count)}
    if len(comparison.methods) > 1:
        figures["overlap"] = overlap_plot(comparison, count)
    for name, figure in figures.items():
        save_plot(figure, folder / f"{name}.png")
        save_plot(figure, folder / f"{name}.svg")
    write_whole(folder / "comparison.csv", comparison.to_pandas().to_csv(index=False).encode())
    write_whole(folder / "comparison.json", comparison.to_json().encode())
    write_whole(folder / "report.html", html_report(comparison).encode())
    _print(comparison)
    sys.stdout.write(f"{folder / 'report.html'}\n")


def _print(comparison: Comparison) -> None:
    first = comparison.evaluations[0]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("accuracy", *(f"top {count:,}" for count in comparison.counts)):
        table.add_column(column, justify="left" if column == "accuracy" else "right")
    for each in comparison.evaluations:
        means = [each.score("accuracy", "top", count).mean for count in comparison.counts]
        table.add_row(each.method, *(f"{mean:.3f}" for mean in means))
    random = [first.score("accuracy", "random", count).mean for count in comparison.counts]
    table.add_row("random", *(f"{mean:.3f}" for mean in random))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"all {first.neurons:,} neurons {first.oracle.mean:.3f}, majority {first.majority:.3f}")
