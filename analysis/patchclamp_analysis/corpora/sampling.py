"""Some sentences of a corpus, chosen by chance: a balanced sub-sample, or the parts of a split.

One pass over the sentences, and a few numbers of memory: each choice is made when its turn comes, with the chance that
makes every outcome equally likely (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S). The same seed gives
the same choice on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from random import Random

from ..errors import BadData
from .corpus import Corpus, Layer
from .sentences import Level, Sentence, quoted

__all__ = ["balanced", "split"]


def balanced(
    corpus: Corpus, layer: str, *, per_label: int = 0, labels: Sequence[str] = (), seed: int = 0
) -> Iterator[Sentence]:
    """The sentences that keep a label of `layer` when of each label `per_label` (0: as many as the rarest has) chosen
    by chance remain, and all others are taken off. Sentences stay whole, other layers as they are.

    Args:
        labels: only these; none: all. Others are taken off too.

    Raises BadData whose `where` is the argument that is wrong.
    """
    found = next((each for each in corpus.summary.layers if each.name == layer), None)
    if found is None:
        known = ", ".join(each.name for each in corpus.summary.layers) or "none"
        raise BadData(f"the corpus has no layer {quoted(layer)}; there are {known}", where="layer")
    counts = _wanted(found, labels)
    per_label = per_label or min(counts.values())
    for i, (label, count) in enumerate(counts.items()):
        if count < per_label:
            text = f"the label {quoted(label)} occurs {count} times, {per_label} are wanted"
            raise BadData(text, where=f"labels[{i}]" if labels else "per_label")
    draws = {label: _Draw(per_label, count, f"{seed} {label}") for label, count in counts.items()}
    return _balanced(corpus, found, draws)


def split(corpus: Corpus, fractions: Sequence[float], part: int, *, seed: int = 0) -> Iterator[Sentence]:
    """The sentences of one part when all are dealt by chance into parts of these shares. With the same seed and
    fractions the parts are disjoint, and their sizes are exact (by largest remainder).

    Raises BadData whose `where` is the argument that is wrong.
    """
    if not 0 <= part < len(fractions):
        raise BadData(f"part {part} is out of range: there are {len(fractions)} fractions, from 0", where="part")
    sizes = part_sizes(len(corpus), fractions)
    if not sizes[part]:
        raise BadData(f"the part has no sentences: the corpus has {len(corpus)}", where=f"fractions[{part}]")
    return _dealt(corpus, sizes, part, Random(f"split {seed}"))  # noqa: S311


def part_sizes(total: int, fractions: Sequence[float]) -> list[int]:
    """How many of `total` each part gets; the last number is what is left out."""
    # As decimals: what is written 0.7, 0.2 and 0.1 adds up to 1.
    shares = []
    for i, fraction in enumerate(fractions):
        if not 0 < fraction <= 1:
            raise BadData(f"{fraction} is not above 0 and at most 1", where=f"fractions[{i}]")
        shares.append(Fraction(repr(float(fraction))))
    whole = sum(shares, Fraction())
    if whole > 1 + Fraction(1, 10**9):
        raise BadData(f"the fractions add up to {float(whole):g}, which is above 1", where="fractions")
    if whole > 1:
        shares = [share / whole for share in shares]
    shares.append(1 - min(whole, Fraction(1)))
    exact = [share * total for share in shares]
    sizes = [int(size) for size in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (sizes[i] - exact[i], i))
    for i in by_remainder[: total - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _wanted(layer: Layer, labels: Sequence[str]) -> dict[str, int]:
    before: set[str] = set()
    for i, label in enumerate(labels):
        if label not in layer.counts:
            text = f"the layer {layer.name} has no label {quoted(label)}"
            raise BadData(text, where=f"labels[{i}]")
        if label in before:
            raise BadData(f"the label {quoted(label)} twice", where=f"labels[{i}]")
        before.add(label)
    if not layer.counts:
        raise BadData(f"the layer {layer.name} has no labels", where="layer")
    return {label: layer.counts[label] for label in labels or layer.counts}


class _Draw:
    """Says yes `wanted` times in `total`, every combination being as likely."""

    def __init__(self, wanted: int, total: int, seed: str) -> None:
        self._wanted = wanted
        self._left = total
        self._random = Random(seed)  # noqa: S311  # to be repeated, not to be secret

    def take(self) -> bool:
        """Whether the next one is taken."""
        taken = self._left * self._random.random() < self._wanted
        self._left -= 1
        self._wanted -= taken
        return taken


def _balanced(corpus: Corpus, layer: Layer, draws: dict[str, _Draw]) -> Iterator[Sentence]:
    def kept(label: str) -> str:
        return label if label in draws and draws[label].take() else ""

    for sentence in corpus:
        labels, sentence_labels = sentence.labels, sentence.sentence_labels
        if layer.level is Level.WORD:
            chosen = tuple(map(kept, labels[layer.name]))
            labels = {**labels, layer.name: chosen}
            some = any(chosen)
        else:
            label = kept(sentence_labels[layer.name])
            sentence_labels = {**sentence_labels, layer.name: label}
            some = bool(label)
        if some:
            yield Sentence(sentence.words, sentence.text, sentence.second, labels, sentence_labels)


def _dealt(corpus: Corpus, sizes: list[int], part: int, random: Random) -> Iterator[Sentence]:
    left = list(sizes)
    for remaining, sentence in zip(range(len(corpus), 0, -1), corpus, strict=True):
        drawn = int(remaining * random.random())
        chosen = 0
        while drawn >= left[chosen]:
            drawn -= left[chosen]
            chosen += 1
        left[chosen] -= 1
        if chosen == part:
            yield sentence
