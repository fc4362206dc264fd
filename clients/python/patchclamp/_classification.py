"""What `classify` answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from patchclamp._exceptions import ProtocolError
from patchclamp._receipts import Applied
from patchclamp.v1 import inference_pb2

__all__ = ["ClassScore", "Classification", "Classifications", "WordClassification"]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class.

    Attributes:
        index: Its index, from 0.
        label: Its label.
        logit: What the head gave.
        probability: Softmax over the classes; the sigmoid for heads of several labels at once, the logit for a
            regression.
    """

    index: int
    label: str
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class WordClassification:
    """Classes of one word, most probable first; none for a word without a subword."""

    word: str
    classes: tuple[ClassScore, ...]


@dataclass(frozen=True, slots=True)
class Classification:
    """Classes of one sentence.

    Attributes:
        classes: Those of the sentence, most probable first; empty where the head classifies words.
        words: Those of its words; empty where the head classifies sentences.
    """

    classes: tuple[ClassScore, ...]
    words: tuple[WordClassification, ...]

    @classmethod
    def from_proto(cls, message: inference_pb2.Classification) -> Classification:
        """From the wire's form."""
        words = tuple(WordClassification(word.word, _classes(word.classes)) for word in message.words)
        return cls(_classes(message.classes), words)


class Classifications(list[Classification]):
    """One classification a sentence, in their order.

    Attributes:
        applied: What was done to the activations, added up over the sentences.
    """

    def __init__(self, classifications: Iterable[Classification], applied: Applied) -> None:
        super().__init__(classifications)
        self.applied = applied

    @classmethod
    def from_proto(cls, message: inference_pb2.ClassifyResponse, sentence_count: int) -> Classifications:
        """From the wire's form.

        Raises:
            ProtocolError: There is not one result a sentence.
        """
        if len(message.results) != sentence_count:
            raise ProtocolError(f"{len(message.results)} classifications came for {sentence_count} sentences")
        return cls(map(Classification.from_proto, message.results), Applied.from_proto(message.applied))


def _classes(messages: Iterable[inference_pb2.ClassScore]) -> tuple[ClassScore, ...]:
    return tuple(ClassScore(score.index, score.label, score.logit, score.probability) for score in messages)
