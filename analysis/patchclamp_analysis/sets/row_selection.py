"""Which rows of a corpus to keep: by label, and at most so many of each word type or label.

A unit is what is kept or left out: a word, a token of running text, or a sentence. A draw keeps of each group the
units with the smallest tickets, and a ticket is a digest of the seed and of the unit's place: every subset of a group
is equally likely, the same seed gives the same units on every machine, and the corpus is read as a stream, with no
more kept in memory than the tickets that may win.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["RowFilter", "RowSelection", "Unit"]


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
        """Reads the units of the corpus once for each limit of the filter."""
        drawn = cls(rule)
        if rule.per_word_type:
            kept = ((unit.word, drawn._ticket("word", unit)) for unit in units() if drawn.keeps(unit))
            drawn = cls(rule, _last_winners(kept, rule.per_word_type))
        if rule.per_label:
            kept = ((unit.label, drawn._ticket("label", unit)) for unit in units() if drawn.keeps(unit))
            drawn = cls(rule, drawn.by_word, _last_winners(kept, rule.per_label))
        return drawn

    def keeps(self, unit: Unit) -> bool:
        """Whether a unit is kept."""
        if not self.rule.fits(unit.label):
            return False
        if unit.word in self.by_word and self._ticket("word", unit) > self.by_word[unit.word]:
            return False
        return unit.label not in self.by_label or self._ticket("label", unit) <= self.by_label[unit.label]

    def _ticket(self, draw: str, unit: Unit) -> int:
        """A number below 2¹²⁸, of its own for each unit and draw."""
        place = unit.sentence.to_bytes(8, "little") + unit.place.to_bytes(8, "little")
        seed = self.rule.seed.to_bytes(8, "little")
        return int.from_bytes(hashlib.blake2b(place, digest_size=16, key=seed, person=draw.encode()).digest(), "little")


def _last_winners(tickets: Iterable[tuple[str, int]], limit: int) -> dict[str, int]:
    """Of each group with more than `limit` tickets, the largest of its `limit` smallest."""
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
