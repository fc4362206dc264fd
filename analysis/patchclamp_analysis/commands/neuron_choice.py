"""Which neurons a command is about: named ones, and the best of a ranking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ..data.neurons import Neuron
from ..data.rows import Data
from ..errors import BadData
from ..evaluation.selections import neuron_counts
from ..results import Ranking

__all__ = ["NeuronNames", "RankingPath", "chosen_neurons", "count_wanted", "counts_of", "places_of"]

NeuronNames: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--neuron", "-n", metavar="SITE[INDEX]", help="A neuron, or some: [3,17], [0:64]. Repeatable."),
]
RankingPath: TypeAlias = Annotated[Path | None, typer.Option("--ranking", "-r", help="The best of what `rank` wrote.")]

_NAME = re.compile(r"(.+)\[([^\[\]]+)\]")
_INDICES = re.compile(r"\d{1,9}(:\d{1,9})?(,\d{1,9}(:\d{1,9})?)*")


def chosen_neurons(names: Sequence[str], ranking: Path | None, count: int) -> list[Neuron]:
    """Those that are named, then the best of a ranking, in this order, each once."""
    wanted = [neuron for name in names for neuron in _neurons(name)]
    if ranking is not None:
        wanted += [Neuron(each.site, each.index) for each in Ranking.load(ranking).top(count)]
    return list(dict.fromkeys(wanted))


def places_of(data: Data, neurons: Sequence[Neuron]) -> list[int]:
    """Their places among all neurons of the sites of the data. BadData for those that are not there."""
    first, begin = {}, 0
    for site in data.neurons.sites:
        first[site.name] = (begin, site.width)
        begin += site.width
    places = []
    for neuron in neurons:
        if neuron.site not in first:
            raise BadData(f"the set has no such site; it has {', '.join(first)}", where=neuron.site)
        start, width = first[neuron.site]
        if neuron.index >= width:
            raise BadData(f"index {neuron.index} is out of range: {neuron.site} has {width} neurons, 0 to {width - 1}")
        places.append(start + neuron.index)
    return places


def count_wanted(text: str) -> float:
    """Of "100" or "10%"; below 1 it is a part of all. BadData for anything else: "100%" would be one neuron."""
    try:
        wanted = float(text.removesuffix("%")) / 100.0 if text.endswith("%") else float(int(text))
    except ValueError:
        wanted = 0.0
    if not (0.0 < wanted < 1.0 if text.endswith("%") else wanted >= 1.0):
        raise BadData(
            f"{text} is neither a number of neurons, from 1 on, nor a percentage above 0% and below 100%",
            where="--count",
        )
    return wanted


def counts_of(neurons: int, wanted: Sequence[float]) -> tuple[int, ...]:
    """The numbers of neurons that are wanted, of those there are. BadData if there are not as many."""
    try:
        return neuron_counts(wanted, neurons)
    except BadData as error:
        raise BadData(error.message, where="--count") from error


def _neurons(name: str) -> list[Neuron]:
    found = _NAME.fullmatch(name)
    if found is None or not _INDICES.fullmatch(found[2]):
        raise BadData("neurons are SITE[INDEX], as in layers.3.residual[17], [3,17] or [0:64]", where=name)
    indices: list[int] = []
    for part in found[2].split(","):
        start, colon, stop = part.partition(":")
        if colon and int(stop) <= int(start):
            raise BadData(f"there is no index from {start} up to, without, {stop}", where=name)
        indices += range(int(start), int(stop)) if colon else [int(start)]
    return [Neuron(found[1], index) for index in indices]
