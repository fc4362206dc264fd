"""What callers give as a sentence: a text, words, or a pair of texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from patchclamp.v1 import activations_pb2

__all__ = ["Pair", "SentenceLike", "to_sentence", "to_sentences"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that run as one, as the model's tokenizer joins pairs (question and answer, premise and hypothesis)."""

    first: str
    second: str


SentenceLike: TypeAlias = str | Sequence[str] | Pair


def to_sentence(sentence: SentenceLike, target: str | Sequence[str] = "") -> activations_pb2.Sentence:
    """Running text, words where it is a sequence of them, or a pair; with what a decoder reads."""
    read = target if isinstance(target, str) else " ".join(target)
    if isinstance(sentence, Pair):
        return activations_pb2.Sentence(text=sentence.first, second=sentence.second, target=read)
    if isinstance(sentence, str):
        return activations_pb2.Sentence(text=sentence, target=read)
    return activations_pb2.Sentence(words=activations_pb2.Words(words=sentence), target=read)


def to_sentences(
    sentences: Iterable[SentenceLike], targets: Iterable[str | Sequence[str]] | None = None
) -> list[activations_pb2.Sentence]:
    """All of them, each with its target where there are targets.

    Raises:
        TypeError: It is a single string.
        ValueError: There is not one target a sentence.
    """
    if isinstance(sentences, str) or isinstance(targets, str):
        raise TypeError("give a list of sentences (and of targets); a single string is none")
    if targets is None:
        return [to_sentence(sentence) for sentence in sentences]
    given, read = list(sentences), list(targets)
    if len(given) != len(read):
        raise ValueError(f"{len(read)} targets are given for {len(given)} sentences")
    return [to_sentence(sentence, target) for sentence, target in zip(given, read, strict=True)]
