"""Which rows of a corpus to keep: by label, and at most so many of each word type or label.

A unit is what is kept or left out: a word, a token of running text, or a sentence. A draw keeps of each group the
units with the smallest tickets, and a ticket is a digest of the seed and of the unit's place: every subset of a group
is equally likely, the same seed gives the same units on every machine, and the corpus is read as a stream. Of a group
some hundred numbers are in memory: where many may win, tickets are counted by their first bits, and only those are
kept that begin like the last winner's.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["RowFilter", "RowSelection", "Unit"]

Tickets = Callable[[], Iterable[tuple[str, int]]]
"""Gives the group and the ticket of every unit that may be kept, as often as it is asked."""

_TICKET_BITS, _BUCKET_BITS = 128, 8
_BUCKETS, _BUCKET_SHIFT = 1 << _BUCKET_BITS, _TICKET_BITS - _BUCKET_BITS


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that is kept or left out."""

    sentence: int
    """Its sentence in the corpus."""
    place: int
    """Its place among the units of the sentence."""
    word: str
    label: str
    """In the layer of the filter; "": none."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Keeps units that fit all that is said here; the default keeps all."""

    layer: str = ""
    """The layer of labels that the rest is about."""
    labelled_only: bool = False
    """Only units with a label; implied by `labels` and `per_label`."""
    labels: frozenset[str] = frozenset()
    """Only units with one of these labels; none: with any or no label."""
    per_label: int = 0
    """At most so many of each label; 0: all. Drawn from what `per_word_type` leaves."""
    per_word_type: int = 0
    """At most so many of each word as it is written; 0: all."""
    seed: int = 0

    @property
    def needs_layer(self) -> bool:
        """Whether it asks for labels."""
        return bool(self.labelled_only or self.labels or self.per_label)

    def fits(self, label: str) -> bool:
        """Whether a unit with this label may be kept, draws aside."""
        return label in self.labels if self.labels else bool(label) or not self.needs_layer


@dataclass(frozen=True, slots=True)
class RowSelection:
    """A filter whose draws have been made."""

    rule: RowFilter
    by_word: Mapping[str, int] = field(default_factory=dict)
    """The largest ticket that wins, of each word type with more units than may be kept."""
    by_label: Mapping[str, int] = field(default_factory=dict)
    """The same of each label."""

    @classmethod
    def draw(cls, rule: RowFilter, units: Callable[[], Iterable[Unit]]) -> RowSelection:
        """Reads the units of the corpus up to three times for each limit of the filter."""
        drawn = cls(rule)
        if rule.per_word_type:
            drawn = cls(rule, _last_winners(drawn._tickets("word", units), rule.per_word_type))
        if rule.per_label:
            drawn = cls(rule, drawn.by_word, _last_winners(drawn._tickets("label", units), rule.per_label))
        return drawn

    def keeps(self, unit: Unit) -> bool:
        """Whether a unit is kept."""
        if not self.rule.fits(unit.label):
            return False
        if unit.word in self.by_word and self._ticket("word", unit) > self.by_word[unit.word]:
            return False
        return unit.label not in self.by_label or self._ticket("label", unit) <= self.by_label[unit.label]

    def _tickets(self, draw: str, units: Callable[[], Iterable[Unit]]) -> Tickets:
        """Of the units that are kept so far, grouped by word or by label."""
        return lambda: (
            (unit.word if draw == "word" else unit.label, self._ticket(draw, unit))
            for unit in units()
            if self.keeps(unit)
        )

    def _ticket(self, draw: str, unit: Unit) -> int:
        """A number below 2¹²⁸, of its own for each unit and draw."""
        place = unit.sentence.to_bytes(8, "little") + unit.place.to_bytes(8, "little")
        seed = self.rule.seed.to_bytes(8, "little")
        return int.from_bytes(
            hashlib.blake2b(place, digest_size=_TICKET_BITS // 8, key=seed, person=draw.encode()).digest(), "little"
        )


def _last_winners(tickets: Tickets, limit: int) -> dict[str, int]:
    """Of each group with more than `limit` tickets, the largest of its `limit` smallest."""
    if limit <= _BUCKETS:
        return _last_of_few(tickets(), limit)
    counts = Counter(group for group, _ in tickets())
    buckets = {group: [0] * _BUCKETS for group, count in counts.items() if count > limit}
    if not buckets:
        return {}
    for group, ticket in tickets():
        if group in buckets:
            buckets[group][ticket >> _BUCKET_SHIFT] += 1
    edges = {group: _edge(sizes, limit) for group, sizes in buckets.items()}
    held: dict[str, list[int]] = {group: [] for group in edges}
    for group, ticket in tickets():
        if group in edges and ticket >> _BUCKET_SHIFT == edges[group][0]:
            held[group].append(ticket)
    return {group: sorted(held[group])[winners - 1] for group, (_, winners) in edges.items()}


def _last_of_few(tickets: Iterable[tuple[str, int]], limit: int) -> dict[str, int]:
    """The same in one pass, which keeps the tickets that may win."""
    smallest: dict[str, list[int]] = {}
    cut = set()
    for group, ticket in tickets:
        heap = smallest.setdefault(group, [])
        if len(heap) < limit:
            heapq.heappush(heap, -ticket)  # the largest on top
        else:
            heapq.heappushpop(heap, -ticket)
            cut.add(group)
    return {group: -smallest[group][0] for group in cut}


def _edge(sizes: Sequence[int], limit: int) -> tuple[int, int]:
    """The bucket in which the last winner is, and how many in it win."""
    for bucket, size in enumerate(sizes):
        if limit <= size:
            return bucket, limit
        limit -= size
    raise ValueError("there are fewer tickets than may win")
