"""Classify: from sentences to sequences, and from the logits of a classification head to classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .door import Door, at_most, check_words
from .errors import InvalidRequest
from .plan import Counts
from .programs import Demand
from .requests import (
    Classification,
    ClassifyRequest,
    ClassifyResult,
    ClassScore,
    Head,
    Pooling,
    TextPair,
    WordClasses,
)
from .scheduler import Segment
from .stream import Stream
from .text import Tokens
from .works import EngineWork

__all__ = ["ClassifyWork", "classification"]


@dataclass(slots=True, eq=False)
class ClassifyWork(EngineWork):
    """Sentences to classify, each in one pass."""

    request: ClassifyRequest = field(kw_only=True)
    sentences: list[Tokens] = field(kw_only=True)
    labels: tuple[str, ...] = field(kw_only=True)
    problem: str = field(kw_only=True)
    """What transformers calls the problem type."""
    by_word: bool = field(kw_only=True)
    results: dict[int, Classification] = field(default_factory=dict, kw_only=True)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """The first subword of each word, or the one row of a head that classifies sentences."""
        rows = self.sentences[segment.sequence.number].rows
        firsts = [row[0] for row in rows if row] if self.by_word else []
        return firsts or (0,)

    def take(self, segment: Segment, logits: Tensor) -> None:
        """Reads the classes off the logits [rows wanted, classes]."""
        logits = logits.float()
        self.check(finite=bool(torch.isfinite(logits).all()))
        number = segment.sequence.number
        tokens = self.sentences[number]
        scores = self._scores(logits)
        if self.by_word:
            rows = iter(scores)
            words = zip(tokens.names, tokens.rows, strict=True)
            classes = tuple(WordClasses(word, next(rows) if own else ()) for word, own in words)
            self.results[number] = Classification(words=classes)
        else:
            self.results[number] = Classification(scores[0])
        if len(self.results) == len(self.sentences):
            self._finish()

    def _scores(self, logits: Tensor) -> list[tuple[ClassScore, ...]]:
        """The classes of each row, most probable first, those of lower index first among equals."""
        probabilities = _probabilities(logits, self.problem)
        order = torch.sort(logits, dim=-1, descending=True, stable=True).indices
        order = order[:, : self.request.top or logits.shape[1]]
        columns = (order, logits.gather(1, order), probabilities.gather(1, order))
        return [
            tuple(ClassScore(k, self.labels[k], *values) for k, *values in zip(*row, strict=True))
            for row in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def _finish(self) -> None:
        self.finished = True
        results = tuple(self.results[number] for number in range(len(self.sentences)))
        self.stream.put(ClassifyResult(results, self.demand.plan.receipt(self.demand.counts)), None)


def _probabilities(logits: Tensor, problem: str) -> Tensor:
    if problem == "multi_label_classification":
        return torch.sigmoid(logits)
    # As transformers trains them: one output alone is a regression.
    if problem == "regression" or logits.shape[1] == 1:
        return logits
    return torch.softmax(logits, -1)


def classification(door: Door, request: ClassifyRequest, stream: Stream) -> ClassifyWork:
    """Sentences to classify, checked."""
    heads = [Head.SEQUENCE_CLASSIFICATION, Head.TOKEN_CLASSIFICATION]
    door.needs("Classify", heads, "a classification head", "NO_CLASSIFICATION_HEAD")
    at_most(len(request.sentences), door.limits.sentences, "sentences", "sentences", "sentences")
    sentences = [_sentence(door, request, place) for place in range(len(request.sentences))]
    door.check_tokens(sum(len(tokens.ids) for tokens in sentences), "sentences")
    texts = [(tokens.ids, len(tokens.ids)) for tokens in sentences]
    work = ClassifyWork(
        tokens=sum(len(tokens.ids) for tokens in sentences),
        stream=stream,
        demand=Demand(door.plan(request.interventions, texts, grows=False), Counts()),
        request=request,
        sentences=sentences,
        labels=door.model.labels,
        problem=getattr(door.model.module.config, "problem_type", None) or "",
        by_word=door.model.head is Head.TOKEN_CLASSIFICATION,
    )
    order = sorted(range(len(sentences)), key=lambda place: len(sentences[place].ids))
    work.pending.extend(door.whole(sentences[place], work, place) for place in order)
    return work


def _sentence(door: Door, request: ClassifyRequest, place: int) -> Tokens:
    content, field = request.sentences[place], f"sentences[{place}]"
    check_words(content, field)
    if door.model.head is Head.SEQUENCE_CLASSIFICATION:
        tokens = door.text.read(content, Pooling.SENTENCE_FIRST)
    elif isinstance(content, TextPair):
        raise InvalidRequest(
            "a token-classification head reads one text at a time: give words or a text, not a pair",
            reason="PAIR_OF_WORDS",
            field=f"{field}.second",
        )
    else:
        tokens = door.text.split(content) if isinstance(content, str) else door.text.words(content)
    door.check_sentence(tokens.ids, field)
    return tokens
