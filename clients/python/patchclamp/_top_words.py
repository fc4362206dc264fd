"""The words that drive neurons."""

from __future__ import annotations

from dataclasses import dataclass

from patchclamp.v1 import analysis_pb2

__all__ = ["NeuronWords", "WordScore"]


@dataclass(frozen=True, slots=True)
class WordScore:
    """A word and how strongly it drives a neuron.

    Attributes:
        word: The word.
        score: How many deviations the activation is away from the neuron's mean, averaged over the word's occurrences
            and divided by that of the strongest word: 0 to 1.
        count: How often it occurs.
    """

    word: str
    score: float
    count: int


@dataclass(frozen=True, slots=True)
class NeuronWords:
    """The words that drive a neuron.

    Attributes:
        site: Its site.
        index: Its index within the site.
        words: The words, strongest first; none for a neuron that never moves.
    """

    site: str
    index: int
    words: tuple[WordScore, ...]

    @classmethod
    def from_proto(cls, message: analysis_pb2.NeuronWords) -> NeuronWords:
        """From the wire's form."""
        words = tuple(WordScore(each.word, each.score, each.count) for each in message.words)
        return cls(message.site, message.index, words)
