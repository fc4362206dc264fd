"""Classes and masked tokens on the wire ↔ the engine's."""

from __future__ import annotations

from collections.abc import Sequence

from patchclamp.v1 import activations_pb2, inference_pb2

from patchclamp_service.engine.errors import EngineFailure, InvalidRequest
from patchclamp_service.engine.requests import (
    Classification,
    ClassifyRequest,
    ClassifyResult,
    ClassScore,
    Event,
    FilledMask,
    FillMaskRequest,
    FillMaskResult,
    Intervention,
    Sentences,
    TextPair,
    TokenLogprob,
)
from patchclamp_service.wire.interventions import applied

__all__ = ["classify_request", "classify_response", "fill_mask_request", "fill_mask_response", "sentences"]

_TOP = 5


def classify_request(
    request: inference_pb2.ClassifyRequest, interventions: tuple[Intervention, ...]
) -> ClassifyRequest:
    """What the engine takes."""
    for place, sentence in enumerate(request.sentences):
        if sentence.target:
            raise InvalidRequest(
                "a target is what a decoder reads: leave it out to classify",
                reason="TARGET_NOT_READ",
                field=f"sentences[{place}].target",
            )
    return ClassifyRequest(sentences(request.sentences), request.top, interventions)


def fill_mask_request(
    request: inference_pb2.FillMaskRequest, interventions: tuple[Intervention, ...]
) -> FillMaskRequest:
    """What the engine takes."""
    return FillMaskRequest(tuple(request.texts), request.top or _TOP, tuple(request.targets), interventions)


def sentences(messages: Sequence[activations_pb2.Sentence]) -> Sentences:
    """All of text, all of words or all pairs; InvalidRequest names the first that differs."""
    kinds = [_kind(message, f"sentences[{place}]") for place, message in enumerate(messages)]
    for place, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise InvalidRequest(
                f"sentences[{place}] is {kind}, the first {kinds[0]}: give all as text, all as words or all as pairs",
                reason="MIXED_SENTENCES",
                field=f"sentences[{place}]",
            )
    if kinds[0] == "words":
        return tuple(tuple(message.words.words) for message in messages)
    if kinds[0] == "a pair":
        return tuple(TextPair(message.text, message.second) for message in messages)
    return tuple(message.text for message in messages)


def _kind(message: activations_pb2.Sentence, path: str) -> str:
    if message.WhichOneof("content") == "words":
        if message.second:
            raise InvalidRequest(
                "the second text of a pair goes with `text`, not with `words`",
                reason="PAIR_OF_WORDS",
                field=f"{path}.second",
            )
        return "words"
    return "a pair" if message.second else "text"


def classify_response(event: Event, model_digest: str) -> inference_pb2.ClassifyResponse:
    """The only event of a classification."""
    if not isinstance(event, ClassifyResult):
        raise EngineFailure(f"a {type(event).__name__} instead of classes")
    results = [_classification(result) for result in event.results]
    return inference_pb2.ClassifyResponse(results=results, applied=applied(event.receipt, model_digest))


def _classification(result: Classification) -> inference_pb2.Classification:
    words = [inference_pb2.WordClassification(word=w.word, classes=_classes(w.classes)) for w in result.words]
    return inference_pb2.Classification(classes=_classes(result.classes), words=words)


def _classes(classes: Sequence[ClassScore]) -> list[inference_pb2.ClassScore]:
    return [
        inference_pb2.ClassScore(index=one.index, label=one.label, logit=one.logit, probability=one.probability)
        for one in classes
    ]


def fill_mask_response(event: Event, model_digest: str) -> inference_pb2.FillMaskResponse:
    """The only event of a request to fill masks."""
    if not isinstance(event, FillMaskResult):
        raise EngineFailure(f"a {type(event).__name__} instead of masks")
    results = [inference_pb2.FilledText(masks=[_mask(mask) for mask in masks]) for masks in event.results]
    return inference_pb2.FillMaskResponse(results=results, applied=applied(event.receipt, model_digest))


def _mask(mask: FilledMask) -> inference_pb2.FilledMask:
    return inference_pb2.FilledMask(position=mask.position, top=_tokens(mask.top), targets=_tokens(mask.targets))


def _tokens(tokens: Sequence[TokenLogprob]) -> list[inference_pb2.TokenLogprob]:
    return [inference_pb2.TokenLogprob(id=one.id, text=one.text, logprob=one.logprob) for one in tokens]
