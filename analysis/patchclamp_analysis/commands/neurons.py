"""The commands that look at neurons without labels: `clusters` and `top-words`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..data.rows import Data
from ..errors import BadData
from ..files.whole_files import write_whole
from ..methods.correlation_clusters import CorrelationClusters
from ..methods.top_words import NeuronWords, TopWords
from ..results import Ranking
from ..sets.activation_sets import ActivationSet
from .methods import Memory, Sites, stage
from .progress import bar

__all__ = ["clusters", "top_words"]

_MOST = 20


def clusters(
    file: Annotated[Path, typer.Argument(metavar="SET", help="An activation set.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .csv file: a row per neuron.")] = None,
    threshold: Annotated[float, typer.Option("--threshold", "-t", help="Clusters merge up to this 1 − |ρ|.")] = 0.3,
    linkage: Annotated[
        Literal["average", "complete", "single"], typer.Option(help="Distance of clusters.")
    ] = "average",
    site: Sites = None,
    memory: Memory = 1024,
) -> None:
    """Group neurons that rise and fall together.

    \b
    patchclamp-analysis clusters train.h5 -o clusters.csv
    patchclamp-analysis clusters train.h5 -s layers.3.residual -t 0.1
    """
    method = CorrelationClusters(threshold=threshold, linkage=linkage)
    with ActivationSet.open(file) as opened, bar() as report:
        data = Data.from_activation_set(opened, sites=site, memory_bytes=memory * 2**20)
        found = method.cluster(data, progress=stage(report, "clusters"))
    if output is not None:
        write_whole(output, found.to_pandas().to_csv(index=False).encode())
    sys.stdout.write(
        f"{len(found.labels):,} neurons in {len(found):,} clusters: {found.redundant_share:.1%} redundant\n"
    )
    for members in found.members()[:_MOST]:
        if len(members) > 1:
            named = [str(found.neurons[place]) for place in members[:_MOST]]
            more = f" and {len(members) - _MOST} more" if len(members) > _MOST else ""
            sys.stdout.write(f"{len(members)}\t{' '.join(named)}{more}\n")


def top_words(
    file: Annotated[Path, typer.Argument(metavar="SET", help="An activation set.")],
    neuron: Annotated[
        list[str] | None, typer.Option("--neuron", "-n", metavar="SITE[INDEX]", help="A neuron. Repeatable.")
    ] = None,
    ranking: Annotated[Path | None, typer.Option("--ranking", "-r", help="The best of what `rank` wrote.")] = None,
    count: Annotated[int, typer.Option("--count", "-k", help="With --ranking: neurons.", min=1)] = 10,
    top: Annotated[int, typer.Option(help="Words a neuron; 0: all.", min=0)] = 10,
    min_count: Annotated[int, typer.Option(help="Fewest rows of a word.", min=1)] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .json file.")] = None,
    memory: Memory = 1024,
) -> None:
    """Show the words that drive neurons most.

    \b
    patchclamp-analysis top-words train.h5 -n 'layers.3.residual[17]'
    patchclamp-analysis top-words train.h5 -r probeless.npz -k 5 --min-count 3 -o words.json
    """
    wanted = [_neuron(text) for text in neuron or ()]
    if ranking is not None:
        wanted += [(each.site, each.index) for each in Ranking.load(ranking).top(count)]
    if not wanted:
        raise BadData("give neurons, or a ranking whose best are taken", where="--neuron")
    with ActivationSet.open(file) as opened, bar() as report:
        data = Data.from_activation_set(opened, memory_bytes=memory * 2**20)
        places = [_place(data, site, index) for site, index in wanted]
        progress = stage(report, "top words")
        found = TopWords(top=top, min_count=min_count).find(data, places, progress=progress)
    ordered = _in_order(found, wanted)
    if output is not None:
        content = json.dumps([asdict(each) for each in ordered], ensure_ascii=False, indent=1)
        write_whole(output, content.encode())
    for each in ordered:
        words = " ".join(f"{word.word} ({word.score:.2f})" for word in each.words)
        sys.stdout.write(f"{each.site}[{each.index}]\t{words}\n")


def _neuron(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.+)\[(\d+)\]", text)
    if found is None:
        raise BadData("a neuron is SITE[INDEX], as in layers.3.residual[17]", where=text)
    return found[1], int(found[2])


def _place(data: Data, site: str, index: int) -> int:
    """The neuron's place among all that the set has."""
    before = 0
    for each in data.neurons.sites:
        if each.name == site:
            if index >= each.width:
                raise BadData(f"index {index} is out of range: {site} has {each.width} neurons, 0 to {each.width - 1}")
            return before + index
        before += each.width
    raise BadData(f"the set has no such site; it has {', '.join(s.name for s in data.neurons.sites)}", where=site)


def _in_order(found: Sequence[NeuronWords], wanted: Sequence[tuple[str, int]]) -> list[NeuronWords]:
    """As they were asked for, each once."""
    by_name = {(each.site, each.index): each for each in found}
    return [by_name[name] for name in dict.fromkeys(wanted)]
