"""Neurons of one site, and how people write them: `layers.10.neurons[0:4,9]`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from patchclamp._exceptions import NotationError
from patchclamp.v1 import common_pb2

__all__ = ["Neurons", "NeuronsLike", "ScoredNeuron", "neuron_messages", "parts_by_site"]

# What the contract admits in one message: patchclamp.v1.Neurons.indices.
MOST_INDICES = 1 << 20
LARGEST_INDEX = (1 << 32) - 1
SHORTEST_SLICE = 3

SITE = re.compile(r'module:[^\s\[\]*"<>]+\.(?:input|output)|(?!module:)\w+(?:\.\w+)*', re.ASCII)
ITEM = re.compile(r"\s*(?P<first>[0-9]{1,20})(?:\s*:\s*(?P<stop>[0-9]{1,20}))?\s*")


@dataclass(frozen=True, slots=True, init=False)
class Neurons:
    """Some neurons of one site, in an order that matters where each has a value of its own.

    >>> Neurons.parse("layers.10.neurons[0:4, 9]")
    Neurons(site='layers.10.neurons', indices=(0, 1, 2, 3, 9))
    >>> str(Neurons("layers.3.mlp"))
    'layers.3.mlp'

    Attributes:
        site: Name of the site, as `Client.model` lists it: "layers.10.neurons", "module:lm_head.input".
        indices: Indices within the site, from 0, each once. None at all: the whole site.

    Raises:
        ValueError: The site is no name, or an index is negative, too large or repeated.
    """

    site: str
    indices: tuple[int, ...]

    def __init__(self, site: str, indices: Iterable[int] = ()) -> None:
        object.__setattr__(self, "site", site)
        object.__setattr__(self, "indices", tuple(int(index) for index in indices))
        _check_site(site, site)
        if len(set(self.indices)) < len(self.indices):
            repeated, _ = Counter(self.indices).most_common(1)[0]
            raise ValueError(f"index {repeated} of {site} is given twice")
        for index in self.indices:
            if not 0 <= index <= LARGEST_INDEX:
                raise ValueError(f"index {index} of {site} is not from 0 to {LARGEST_INDEX}")

    @classmethod
    def parse(cls, text: str) -> Neurons:
        """Reads `site`, `site[17]`, `site[3,17,40]`, `site[0:64]` (64 not included) or a mixture.

        Raises:
            NotationError: It is written otherwise; says where and what would be right.
        """
        site, bracket, body = text.partition("[")
        _check_site(site, text)
        if not bracket:
            return cls(site)
        if not body.endswith("]"):
            after = len(site) + 2 + body.find("]") + 1 if "]" in body else len(text) + 1
            raise NotationError("the list of indices ends the text with ']'", text, after)
        return cls(site, _indices(text, len(site) + 1))

    @classmethod
    def of(cls, neurons: str | Neurons | ScoredNeuron | common_pb2.Neurons) -> Neurons:
        """The neurons, whichever way they were given."""
        if isinstance(neurons, ScoredNeuron):
            return cls(neurons.site, [neurons.index])
        if isinstance(neurons, str):
            return cls.parse(neurons)
        return neurons if isinstance(neurons, Neurons) else cls.from_proto(neurons)

    @classmethod
    def from_proto(cls, message: common_pb2.Neurons) -> Neurons:
        """From the wire's form."""
        return cls(message.site, message.indices)

    def to_proto(self) -> common_pb2.Neurons:
        """The wire's form."""
        return common_pb2.Neurons(site=self.site, indices=self.indices)

    def __str__(self) -> str:
        """The canonical notation: `parse` gives back the same indices in the same order."""
        if not self.indices:
            return self.site
        return f"{self.site}[{','.join(_items(self.indices))}]"


@dataclass(frozen=True, slots=True)
class ScoredNeuron:
    """A neuron of a ranking.

    Attributes:
        site: Its site.
        index: Its index within the site.
        score: The higher, the more it has to do with the concept.
    """

    site: str
    index: int
    score: float

    def __str__(self) -> str:
        return f"{self.site}[{self.index}]"


# What `neurons=` takes: "layers.3.neurons[17,40]", or several, or those of a ranking.
NeuronsLike: TypeAlias = str | Neurons | Sequence[str | Neurons | ScoredNeuron]


def neuron_messages(neurons: NeuronsLike) -> list[common_pb2.Neurons]:
    """The wire's form of all of them, in their order."""
    given = [neurons] if isinstance(neurons, str | Neurons) else neurons
    return [Neurons.of(each).to_proto() for each in given]


def parts_by_site(neurons: Iterable[ScoredNeuron]) -> list[tuple[Neurons, list[int]]]:
    """The neurons of each site, and their places in the order given; sites as they first come."""
    places: dict[str, dict[int, int]] = {}
    for place, neuron in enumerate(neurons):
        if neuron.index in places.setdefault(neuron.site, {}):
            raise ValueError(f"{neuron} is given twice")
        places[neuron.site][neuron.index] = place
    return [(Neurons(site, found), list(found.values())) for site, found in places.items()]


def _check_site(site: str, text: str) -> None:
    match = SITE.match(site)
    if match and match.end() == len(site):
        return
    column = match.end() + 1 if match else 1
    if site.startswith("module:"):
        raise NotationError("a module's site ends in '.input' or '.output': 'module:lm_head.input'", text, column)
    if "*" in site:
        raise NotationError("neurons are of one layer; '*' is for captures", text, site.index("*") + 1)
    raise NotationError("a site is a dotted name: 'layers.10.neurons', 'embeddings'", text, column)


def _indices(text: str, start: int) -> list[int]:
    """The indices between the bracket that ends at offset `start` and the end of the text."""
    indices: dict[int, None] = {}
    column = start + 1
    for item in text[start:-1].split(","):
        span = _span(item, text, column + len(item) - len(item.lstrip()))
        if len(indices) + len(span) > MOST_INDICES:
            raise NotationError(f"one list can hold {MOST_INDICES} indices", text, column)
        for index in span:
            if index in indices:
                raise NotationError(f"index {index} is given twice", text, column)
            indices[index] = None
        column += len(item) + 1
    return list(indices)


def _span(item: str, text: str, column: int) -> range:
    match = ITEM.fullmatch(item)
    if match is None:
        wanted = "an index is a whole number from 0, a slice is start:stop: '[17]', '[0:64]', '[0:4,9]'"
        raise NotationError(f"{item.strip()!r} is no index; {wanted}" if item.strip() else wanted, text, column)
    first = int(match["first"])
    stop = int(match["stop"]) if match["stop"] else first + 1
    if stop <= first:
        raise NotationError(f"the slice {first}:{stop} is empty; its stop is not included", text, column)
    if stop - 1 > LARGEST_INDEX:
        raise NotationError(f"the largest index is {LARGEST_INDEX}", text, column)
    return range(first, stop)


def _items(indices: Iterable[int]) -> Iterator[str]:
    """Runs of three or more become slices."""
    for first, stop in _runs(indices):
        if stop - first >= SHORTEST_SLICE:
            yield f"{first}:{stop}"
        else:
            yield from map(str, range(first, stop))


def _runs(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = stop = -1
    for index in indices:
        if index != stop:
            if stop > first:
                yield first, stop
            first = index
        stop = index + 1
    yield first, stop
