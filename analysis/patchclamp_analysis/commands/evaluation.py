"""The commands that judge rankings: `evaluate` and `compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..data.neurons import Neurons
from ..data.rows import Data
from ..errors import BadData
from ..evaluation import Comparison, Evaluation
from ..extraction.extractors import Report
from ..plots import comparison_plots
from ..report import html_report
from ..results import Ranking
from .inputs import Label, Memory, NeuroxOptions, SetPath, Sites, opened_rows, reads_neurox
from .methods import method_named, stage
from .neuron_choice import count_wanted, counts_of
from .outputs import check_outputs, console, distinct, plot_files, versions, write_files
from .progress import bar

__all__ = ["compare", "evaluate"]

Names = Annotated[
    list[str] | None, typer.Option("--method", "-m", metavar="NAME", help="A method, with its defaults. Repeatable.")
]
TestSet = Annotated[Path, typer.Option("--test", metavar="SET", help="A set to judge by.")]
MaybeTestSet = Annotated[
    Path | None,
    typer.Option("--test", metavar="SET", help="A set to judge by.", show_default="a fifth of the sentences of SET"),
]
TestCorpus = Annotated[Path | None, typer.Option("--test-corpus", help="Of --test, as --corpus is of SET.")]
TestLabels = Annotated[
    list[str] | None,
    typer.Option("--test-labels", metavar="LAYER=FILE", help="Of --test, as --labels are of SET. Repeatable."),
]
Counts = Annotated[
    list[str] | None,
    typer.Option(
        "--count",
        "-k",
        metavar="N",
        help="A number of neurons, or a part: '10%'. Repeatable.",
        show_default="10 50 100 1% 10%",
    ),
]
Seeds = Annotated[int, typer.Option(help="Probes of each kind.", min=1, max=100)]
Epochs = Annotated[int, typer.Option(help="The probes' passes; 0: as many as it takes.", min=0)]
CodeLength = Annotated[bool, typer.Option("--code-length", help="Online code lengths too: ten probes for each.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="A folder, made if need be.")]


@reads_neurox
def evaluate(
    file: SetPath,
    ranking: Annotated[
        Path, typer.Argument(metavar="RANKING", help="What `rank` wrote (.npz), or a server exported (.json).")
    ],
    output: Output,
    label: Label,
    test: TestSet,
    neurox: NeuroxOptions,
    test_corpus: TestCorpus = None,
    test_labels: TestLabels = None,
    site: Sites = None,
    count: Counts = None,
    seeds: Seeds = 3,
    epochs: Epochs = 0,
    code_length: CodeLength = False,
    memory: Memory = 1024,
) -> None:
    """Judge a ranking by probes of its top neurons.

    Beside them, probes of random and of bottom neurons; into a folder of tables, plots and a report. A ranking of some
    sites of the set is judged with these: --site.

    \b
    patchclamp-analysis evaluate train.h5 probeless.npz --test dev.h5 -l upos -o probeless
    """
    how = _how(count, seeds, epochs, code_length)
    check_outputs([output], (), folders=True)
    loaded, of_test = Ranking.load(ranking), neurox.of_test(test_corpus, test_labels)
    with bar() as report, _splits(file, neurox, test, of_test, label, site, memory, report) as (train, judged, about):
        counts_of(len(train.neurons), how.counts)
        rankings = [_for(train, loaded, ranking)]
        found = how.compare(rankings, train, judged, progress=stage(report, "probes"))
    _write(found, output, about)


@reads_neurox
def compare(
    file: SetPath,
    output: Output,
    label: Label,
    neurox: NeuroxOptions,
    rankings: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RANKING", help="What `rank` wrote (.npz), or a server exported (.json)."),
    ] = None,
    method: Names = None,
    test: MaybeTestSet = None,
    test_corpus: TestCorpus = None,
    test_labels: TestLabels = None,
    site: Sites = None,
    count: Counts = None,
    seeds: Seeds = 3,
    epochs: Epochs = 0,
    code_length: CodeLength = False,
    memory: Memory = 1024,
) -> None:
    """Rank by several methods and judge them by the same probes.

    Into a folder of tables, plots and a report.

    \b
    patchclamp-analysis compare train.h5 --test dev.h5 -l upos -m probeless -m linear_probe -o compared
    patchclamp-analysis compare train.h5 probe.npz random_forest.npz --test dev.h5 -l upos -o compared
    """
    if not rankings and not method:
        raise BadData("there is nothing to compare: give rankings or methods", where="--method")
    if rankings and test is None:
        raise BadData(
            "rankings that are made already may know all rows of the set: give another one to judge by", where="--test"
        )
    if test is None and (test_corpus or test_labels):
        raise BadData("--test-corpus and --test-labels are of --test, which is not given", where="--test")
    how, chosen = _how(count, seeds, epochs, code_length), [method_named(name) for name in method or ()]
    check_outputs([output], (), folders=True)
    made, of_test = [(path, Ranking.load(path)) for path in rankings or ()], neurox.of_test(test_corpus, test_labels)
    with bar() as report, _splits(file, neurox, test, of_test, label, site, memory, report) as (train, judged, about):
        counts_of(len(train.neurons), how.counts)
        found = [_for(train, ranking, path) for path, ranking in made]
        found += [each.rank(train, progress=stage(report, each.name)) for each in chosen]
        comparison = how.compare(_named(found), train, judged, progress=stage(report, "probes"))
    _write(comparison, output, about)


def _how(counts: Sequence[str] | None, seeds: int, epochs: int, code_length: bool) -> Evaluation:
    how = Evaluation(seeds=seeds, epochs=epochs, code_length=code_length)
    return replace(how, counts=tuple(map(count_wanted, counts))) if counts else how


@contextmanager
def _splits(
    train: Path,
    neurox: NeuroxOptions,
    test: Path | None,
    of_test: NeuroxOptions,
    label: str,
    sites: Sequence[str] | None,
    memory: int,
    report: Report,
) -> Iterator[tuple[Data, Data, dict[str, str]]]:
    """The rows to train on and those to judge by, and what they are."""
    with opened_rows(train, label, neurox, report, sites=sites, memory=memory) as one:
        if test is None:
            yield *one.data.split(0.2), {"activations": f"{one.about}; a fifth of the sentences to judge by"}
            return
        names = [site.name for site in one.data.neurons.sites]
        with opened_rows(test, label, of_test, report, sites=names, memory=memory) as other:
            yield one.data, other.data, {"to train on": one.about, "to judge by": other.about}


def _for(data: Data, ranking: Ranking, path: Path) -> Ranking:
    if ranking.neurons != data.neurons:
        raise BadData(
            f"the ranking is of other neurons: {_named_sites(ranking.neurons)}, not {_named_sites(data.neurons)}; "
            "--site chooses some of the set",
            where=str(path),
        )
    return ranking


def _named_sites(neurons: Neurons) -> str:
    first, *others = (site.name for site in neurons.sites)
    return f"{len(neurons):,} of {first}{f' to {others[-1]}' if others else ''}"


def _named(rankings: Sequence[Ranking]) -> list[Ranking]:
    """Each under another name: those of one method are numbered."""
    names = distinct([ranking.method for ranking in rankings])
    return [replace(ranking, method=name) for ranking, name in zip(rankings, names, strict=True)]


def _write(comparison: Comparison, folder: Path, about: Mapping[str, str]) -> None:
    """The report last: when it is there, all is."""
    files = plot_files(comparison_plots(comparison), data=False)
    files["comparison.csv"] = comparison.to_pandas().to_csv(index=False).encode()
    files["comparison.json"] = comparison.to_json().encode()
    files["report.html"] = html_report(comparison, run={**about, "versions": versions()}).encode()
    write_files(folder, files)
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
    out = console()
    out.print(table)
    out.print(f"all {first.neurons:,} neurons {first.oracle.mean:.3f}, majority {first.majority:.3f}")
