"""The commands about rankings: `rankings …`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from patchclamp._cli_options import AsJson, Target, Timeout
from patchclamp._cli_output import print_json, print_table
from patchclamp._rankings import Ranking
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = ["print_ranking", "rankings"]

RankingName: TypeAlias = Annotated[str, typer.Argument(metavar="RANKING", help="As 'rankings/upos'.")]

rankings = typer.Typer(
    name="rankings", no_args_is_help=True, rich_markup_mode=None, help="Rankings of neurons on the server."
)


@rankings.command(name="list")
def list_(as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """List the rankings of the server.

    \b
    patchclamp rankings list --json
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.rankings.list()
    print_json(found) if as_json else _print_all(found)


@rankings.command()
def get(
    ranking: RankingName,
    top: Annotated[int, typer.Option(metavar="N", help="How many neurons; 0: as many as it was made with.", min=0)] = 0,
    label: Annotated[str, typer.Option(metavar="CLASS", help="The best for this class.", show_default=False)] = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the best neurons of a ranking.

    \b
    patchclamp rankings get rankings/upos --top 20 --label NOUN
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.rankings.get(ranking, top=top)
    found.top(0, label)  # an unknown class is refused before anything is printed
    print_json(found) if as_json else print_ranking(found, label)


@rankings.command()
def compare(
    ranking: Annotated[list[str], typer.Argument(metavar="RANKING…", help="Two at least, of the same neurons.")],
    top: Annotated[int, typer.Option(metavar="N", help="How many of the best neurons; 0: 10 % of all.", min=0)] = 0,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print how far rankings agree.

    \b
    patchclamp rankings compare rankings/upos rankings/upos-probe --top 50
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.rankings.compare(ranking, top=top)
    if as_json:
        print_json(found)
        return
    rows = [
        [name, *(f"{value:.2f}" for value in overlap), f"{average:.4f}", f"{vote:.4f}"]
        for name, overlap, average, vote in zip(
            found.rankings, found.overlap, found.average_overlap, found.neuron_vote, strict=True
        )
    ]
    print_table([f"best {found.top:,} of", *found.rankings, "average", "vote"], rows)


@rankings.command()
def export(
    ranking: RankingName,
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: .csv or .json.")],
    format: Annotated[
        Literal["csv", "json"] | None, typer.Option(help="Its format.", show_default="as its name ends")
    ] = None,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = float("inf"),
) -> None:
    """Write all scores of a ranking to a file.

    \b
    patchclamp rankings export rankings/upos -o upos.csv
    """
    with Client(target, timeout=timeout) as client:
        typer.echo(client.analysis.rankings.export(ranking, out, format=format, timeout=timeout))


@rankings.command()
def delete(ranking: RankingName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Remove a ranking.

    \b
    patchclamp rankings delete rankings/upos
    """
    with Client(target, timeout=timeout) as client:
        client.analysis.rankings.delete(ranking)


def print_ranking(ranking: Ranking, label: str = "") -> None:
    """What it is, and its best neurons, overall or for a class."""
    _print_all([ranking])
    neurons = ranking.classes[label] if label else ranking.neurons
    rows = [[str(place), str(neuron), f"{neuron.score:.6g}"] for place, neuron in enumerate(neurons, 1)]
    print_table(["", "neuron", "score"], rows)
    for note in ranking.notes:
        sys.stderr.write(f"{note}\n")


def _print_all(rankings: Iterable[Ranking]) -> None:
    rows = [
        [
            ranking.name,
            ranking.method,
            ranking.label or "–",
            ranking.activation_set,
            f"{ranking.row_count:,}",
            f"{ranking.neuron_count:,}",
        ]
        for ranking in rankings
    ]
    print_table(["ranking", "method", "labels", "activation set", "rows", "neurons"], rows)
