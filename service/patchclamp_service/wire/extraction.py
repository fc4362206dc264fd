"""Requests for activations on the wire ↔ the engine's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from patchclamp.v1 import activations_pb2

from patchclamp_service.engine.errors import EngineFailure, InvalidRequest
from patchclamp_service.engine.requests import Event, ExtractRequest, Intervention, Pooling, SentenceActivations
from patchclamp_service.wire.heads import sentences
from patchclamp_service.wire.interventions import applied
from patchclamp_service.wire.tensors import captured_sites, dtype_name

__all__ = ["AGGREGATIONS", "POOLINGS", "extract_request", "extract_responses"]

POOLINGS: dict[activations_pb2.Aggregation.ValueType, Pooling] = {
    activations_pb2.NONE: Pooling.NONE,
    activations_pb2.FIRST: Pooling.FIRST,
    activations_pb2.LAST: Pooling.LAST,
    activations_pb2.AVERAGE: Pooling.AVERAGE,
    activations_pb2.SENTENCE_FIRST: Pooling.SENTENCE_FIRST,
    activations_pb2.SENTENCE_LAST: Pooling.SENTENCE_LAST,
    activations_pb2.SENTENCE_AVERAGE: Pooling.SENTENCE_AVERAGE,
    activations_pb2.SENTENCE_MAX: Pooling.SENTENCE_MAX,
}
AGGREGATIONS = {pooling: aggregation for aggregation, pooling in POOLINGS.items()}


def extract_request(
    request: activations_pb2.ExtractActivationsRequest, interventions: tuple[Intervention, ...] = ()
) -> ExtractRequest:
    """What the engine takes."""
    given = sentences(request.sentences)
    return ExtractRequest(
        sentences=given,
        sites=tuple(request.sites),
        pooling=_pooling(request.aggregation, words=isinstance(given[0], tuple)),
        dtype=dtype_name(request.dtype, "dtype"),
        interventions=interventions,
        include_special_tokens=request.include_special_tokens,
        targets=_targets(request.sentences, words=isinstance(given[0], tuple)),
    )


def _pooling(aggregation: activations_pb2.Aggregation.ValueType, *, words: bool) -> Pooling:
    pooling = POOLINGS.get(aggregation, Pooling.AVERAGE if words else Pooling.NONE)
    if not words and pooling in (Pooling.FIRST, Pooling.LAST, Pooling.AVERAGE):
        text = f"aggregation: {pooling.name} is over the subwords of a word; give the sentences as words"
        raise InvalidRequest(text, reason="AGGREGATION_NEEDS_WORDS", field="aggregation")
    return pooling


def _targets(
    messages: Sequence[activations_pb2.Sentence], *, words: bool
) -> tuple[str, ...] | tuple[tuple[str, ...], ...]:
    if not any(message.target for message in messages):
        return ()
    if words:
        return tuple(tuple(message.target.split()) for message in messages)
    return tuple(message.target for message in messages)


def extract_responses(
    event: Event, model_digest: str, chunk_bytes: int
) -> Iterator[activations_pb2.ExtractActivationsResponse]:
    """The messages of one sentence: tokens on the first, the receipt on the very last of the request."""
    if not isinstance(event, SentenceActivations):
        raise EngineFailure(f"a {type(event).__name__} among the sentences of an extraction")
    rows = max(len(values) for values in event.captured.values())
    step = max(1, chunk_bytes // sum(values.shape[1] * values.itemsize for values in event.captured.values()))
    for start in range(0, max(1, rows), step):
        message = activations_pb2.ExtractActivationsResponse(sentence=event.sentence, row_offset=start)
        # The sites of an encoder and of a decoder have different rows.
        left = {site: values for site, values in event.captured.items() if start == 0 or start < len(values)}
        message.captured.extend(captured_sites({site: v[start : start + step] for site, v in left.items()}))
        if start == 0:
            message.tokens.extend(event.tokens)
            message.masked.extend(event.masked)
            message.target_tokens.extend(event.target_tokens)
            message.target_masked.extend(event.target_masked)
        if event.receipt is not None and start + step >= rows:
            message.applied.CopyFrom(applied(event.receipt, model_digest))
        yield message
