"""The commands that look at neurons without labels: `clusters` and `top-words`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..data.neurons import Neuron
from ..errors import BadData
from ..files.whole_files import write_whole
from ..methods.correlation_clusters import CorrelationClusters
from ..methods.top_words import NeuronWords, TopWords
from .inputs import Memory, NeuroxOptions, SetPath, Sites, opened_rows, reads_neurox
from .methods import stage
from .neuron_choice import NeuronNames, RankingPath, chosen_neurons, places_of
from .outputs import check_outputs
from .progress import bar

__all__ = ["clusters", "top_words"]

_MOST = 20


@reads_neurox
def clusters(
    file: SetPath,
    neurox: NeuroxOptions,
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
    check_outputs([output] if output else [], (".csv",))
    with bar() as report, opened_rows(file, "", neurox, report, sites=site, memory=memory) as given:
        found = method.cluster(given.data, progress=stage(report, "clusters"))
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


@reads_neurox
def top_words(
    file: SetPath,
    neurox: NeuroxOptions,
    neuron: NeuronNames = None,
    ranking: RankingPath = None,
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
    wanted = chosen_neurons(neuron or (), ranking, count)
    if not wanted:
        raise BadData("give neurons, or a ranking whose best are taken", where="--neuron")
    check_outputs([output] if output else [], (".json",))
    with bar() as report, opened_rows(file, "", neurox, report, memory=memory) as given:
        places = places_of(given.data, wanted)
        progress = stage(report, "top words")
        found = TopWords(top=top, min_count=min_count).find(given.data, places, progress=progress)
    ordered = _in_order(found, wanted)
    if output is not None:
        content = json.dumps([asdict(each) for each in ordered], ensure_ascii=False, indent=1)
        write_whole(output, content.encode())
    for each in ordered:
        words = " ".join(f"{word.word} ({word.score:.2f})" for word in each.words)
        sys.stdout.write(f"{each.site}[{each.index}]\t{words}\n")


def _in_order(found: Sequence[NeuronWords], wanted: Sequence[Neuron]) -> list[NeuronWords]:
    """As they were asked for."""
    by_name = {Neuron(each.site, each.index): each for each in found}
    return [by_name[neuron] for neuron in wanted]
