"""ActivationService: activations of sentences, streamed as they are computed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import grpc
from patchclamp.v1 import activations_pb2, activations_pb2_grpc

from patchclamp_service.engine.errors import EngineFailure, InvalidRequest
from patchclamp_service.engine.requests import Event, ExtractRequest, Pooling, SentenceActivations
from patchclamp_service.servicers.interventions import applied, interventions, refuse_sets
from patchclamp_service.servicers.registry import Registry
from patchclamp_service.servicers.tensors import captured_sites, dtype_name

__all__ = ["ActivationServicer"]

_POOLINGS: dict[activations_pb2.Aggregation.ValueType, Pooling] = {
    activations_pb2.NONE: Pooling.NONE,
    activations_pb2.FIRST: Pooling.FIRST,
    activations_pb2.LAST: Pooling.LAST,
    activations_pb2.AVERAGE: Pooling.AVERAGE,
}


class ActivationServicer(activations_pb2_grpc.ActivationServiceServicer):
    """Hands extractions to the engines; cuts what comes back into messages of about `chunk_bytes`."""

    def __init__(self, registry: Registry, chunk_bytes: int) -> None:
        self._registry = registry
        self._chunk_bytes = chunk_bytes

    async def ExtractActivations(
        self, request: activations_pb2.ExtractActivationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[activations_pb2.ExtractActivationsResponse]:
        """Sentence by sentence, in the order of the request."""
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        async with aclosing(await engine.submit(extract_request(request))) as events:
            async for event in events:
                for message in extract_responses(event, engine.info.digest, self._chunk_bytes):
                    yield message


def extract_request(request: activations_pb2.ExtractActivationsRequest) -> ExtractRequest:
    """What the engine takes."""
    sentences = _sentences(request)
    return ExtractRequest(
        sentences=sentences,
        sites=tuple(request.sites),
        pooling=_pooling(request.aggregation, words=not isinstance(sentences[0], str)),
        dtype=dtype_name(request.dtype, "dtype"),
        interventions=interventions(request.interventions),
        include_special_tokens=request.include_special_tokens,
    )


def _sentences(
    request: activations_pb2.ExtractActivationsRequest,
) -> tuple[str, ...] | tuple[tuple[str, ...], ...]:
    kind = request.sentences[0].WhichOneof("content")
    for i, sentence in enumerate(request.sentences):
        if sentence.WhichOneof("content") != kind:
            field = f"sentences[{i}]"
            text = f"{field}: give all sentences as text or all as words; the first is {kind}"
            raise InvalidRequest(text, reason="MIXED_SENTENCES", field=field)
    if kind == "text":
        return tuple(sentence.text for sentence in request.sentences)
    return tuple(_words(sentence.words, f"sentences[{i}].words") for i, sentence in enumerate(request.sentences))


def _words(message: activations_pb2.Words, path: str) -> tuple[str, ...]:
    for i, word in enumerate(message.words):
        if not word or word.isspace():
            field = f"{path}.words[{i}]"
            raise InvalidRequest(f"{field} is blank", reason="BLANK_WORD", field=field)
    return tuple(message.words)


def _pooling(aggregation: activations_pb2.Aggregation.ValueType, *, words: bool) -> Pooling:
    pooling = _POOLINGS.get(aggregation, Pooling.AVERAGE if words else Pooling.NONE)
    if pooling is not Pooling.NONE and not words:
        text = f"aggregation: {pooling.name} is over the subwords of a word; give the sentences as words"
        raise InvalidRequest(text, reason="AGGREGATION_NEEDS_WORDS", field="aggregation")
    return pooling


def extract_responses(
    event: Event, model_digest: str, chunk_bytes: int
) -> Iterator[activations_pb2.ExtractActivationsResponse]:
    """The messages of one sentence: tokens on the first, the receipt on the very last of the request."""
    if not isinstance(event, SentenceActivations):
        raise EngineFailure(f"a {type(event).__name__} among the sentences of an extraction")
    rows = len(next(iter(event.captured.values())))
    step = max(1, chunk_bytes * rows // max(1, sum(values.nbytes for values in event.captured.values())))
    for start in range(0, max(1, rows), step):
        message = activations_pb2.ExtractActivationsResponse(sentence=event.sentence, row_offset=start)
        message.captured.extend(captured_sites({s: v[start : start + step] for s, v in event.captured.items()}))
        if start == 0:
            message.tokens.extend(event.tokens)
            message.masked.extend(event.masked)
        if event.receipt is not None and start + step >= rows:
            message.applied.CopyFrom(applied(event.receipt, model_digest))
        yield message
