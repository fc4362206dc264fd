"""Corpora as the server describes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from patchclamp._resources import time_of
from patchclamp.v1 import corpora_pb2

__all__ = ["AnnotatedSentence", "Corpus", "CorpusContent", "LabelLayer", "LabelLevel"]


class CorpusContent(StrEnum):
    """What the sentences of a corpus are made of."""

    TEXT = "text"
    """Running text."""
    WORDS = "words"
    """Words, as annotation splits them."""
    PAIRS = "pairs"
    """Pairs of texts."""
    UNKNOWN = "unknown"
    """Something that this version of the package has no name for."""


class LabelLevel(StrEnum):
    """What a layer labels."""

    WORD = "word"
    """Each word."""
    SENTENCE = "sentence"
    """Each sentence."""
    UNKNOWN = "unknown"
    """Something that this version of the package has no name for."""


CONTENTS = {
    corpora_pb2.CORPUS_CONTENT_TEXT: CorpusContent.TEXT,
    corpora_pb2.CORPUS_CONTENT_WORDS: CorpusContent.WORDS,
    corpora_pb2.CORPUS_CONTENT_PAIRS: CorpusContent.PAIRS,
}
LEVELS = {
    corpora_pb2.LABEL_LEVEL_WORD: LabelLevel.WORD,
    corpora_pb2.LABEL_LEVEL_SENTENCE: LabelLevel.SENTENCE,
}


@dataclass(frozen=True, slots=True)
class LabelLayer:
    """A layer of labels.

    Attributes:
        name: "upos", "ner", "sentiment".
        level: Whether it labels words or sentences.
        counts: From label, in order, to the number of words (sentences, rows) that carry it.
        unlabelled: Number of those without a label.
    """

    name: str
    level: LabelLevel
    counts: dict[str, int]
    unlabelled: int

    @classmethod
    def from_proto(cls, message: corpora_pb2.LabelLayer) -> LabelLayer:
        """From the wire's form."""
        counts = {label.label: label.count for label in message.labels}
        return cls(message.name, LEVELS.get(message.level, LabelLevel.UNKNOWN), counts, message.unlabelled)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Annotated text that the server keeps; it does not change.

    Attributes:
        name: "corpora/ud-ewt-dev".
        create_time: When it was stored, in UTC.
        sentence_count: Number of sentences.
        word_count: Number of words; 0 for running text.
        content: What its sentences are made of.
        layers: Layers of labels, by their names and in their order.
        digest: SHA-256 of its canonical form; equal sentences and labels, equal digest.
        source: Name of the corpus it was annotated or sampled from; empty: it was uploaded.
        size_bytes: Size of its canonical form.
    """

    name: str
    create_time: datetime
    sentence_count: int
    word_count: int
    content: CorpusContent
    layers: dict[str, LabelLayer]
    digest: str
    source: str
    size_bytes: int

    @classmethod
    def from_proto(cls, message: corpora_pb2.Corpus) -> Corpus:
        """From the wire's form."""
        return cls(
            name=message.name,
            create_time=time_of(message.create_time),
            sentence_count=message.sentence_count,
            word_count=message.word_count,
            content=CONTENTS.get(message.content, CorpusContent.UNKNOWN),
            layers={layer.name: LabelLayer.from_proto(layer) for layer in message.layers},
            digest=message.digest,
            source=message.source,
            size_bytes=message.size_bytes,
        )


@dataclass(frozen=True, slots=True)
class AnnotatedSentence:
    """A sentence of a corpus; an empty label stands for none.

    Attributes:
        words: Its words; none in a corpus of text or pairs.
        text: Its text; empty in a corpus of words.
        second: The second text of a pair.
        labels: From layer to the labels of its words, one each.
        sentence_labels: From layer to the label of the sentence.
    """

    words: tuple[str, ...]
    text: str
    second: str
    labels: dict[str, tuple[str, ...]]
    sentence_labels: dict[str, str]

    @classmethod
    def from_proto(cls, message: corpora_pb2.AnnotatedSentence) -> AnnotatedSentence:
        """From the wire's form."""
        return cls(
            words=tuple(message.words),
            text=message.text,
            second=message.second,
            labels={layer: tuple(message.labels[layer].labels) for layer in sorted(message.labels)},
            sentence_labels=dict(sorted(message.sentence_labels.items())),
        )
