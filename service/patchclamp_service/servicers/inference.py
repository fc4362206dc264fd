"""InferenceService: generation, scores, classes and masked tokens, with edited neurons."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np
from patchclamp.v1 import inference_pb2, inference_pb2_grpc

from patchclamp_service.engine.errors import EngineFailure
from patchclamp_service.engine.requests import (
    Capture,
    Completed,
    Event,
    FinishReason,
    GenerateRequest,
    Intervention,
    ItemScore,
    Sampling,
    ScoreItem,
    ScoreRequest,
    ScoreResult,
    Token,
)
from patchclamp_service.registry import Registry
from patchclamp_service.wire.edits import Edits
from patchclamp_service.wire.heads import (
    classify_request,
    classify_response,
    fill_mask_request,
    fill_mask_response,
)
from patchclamp_service.wire.interventions import applied, refuse_sets
from patchclamp_service.wire.tensors import captured_sites, dtype_name

__all__ = ["InferenceServicer"]

_NEW_TOKENS = 128
_REASONS = {
    FinishReason.END_OF_SEQUENCE: inference_pb2.END_OF_SEQUENCE,
    FinishReason.STOP_SEQUENCE: inference_pb2.STOP_SEQUENCE,
    FinishReason.LENGTH: inference_pb2.LENGTH,
}


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Hands requests to the engines and their events to the callers."""

    def __init__(self, registry: Registry, edits: Edits) -> None:
        self._registry = registry
        self._edits = edits

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[inference_pb2.GenerateResponse]:
        """One message a token, then one that completes."""
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        edits = await self._edits.of(request.interventions, engine.info)
        async with aclosing(await engine.submit(generate_request(request, edits))) as events:
            async for event in events:
                yield generate_response(event, engine.info.digest)

    async def Score(
        self, request: inference_pb2.ScoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> inference_pb2.ScoreResponse:
        """All items in one answer."""
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        edits = await self._edits.of(request.interventions, engine.info)
        async with aclosing(await engine.submit(score_request(request, edits))) as events:
            return score_response(await anext(events), engine.info.digest)

    async def Classify(
        self, request: inference_pb2.ClassifyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> inference_pb2.ClassifyResponse:
        """All sentences in one answer."""
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        edits = await self._edits.of(request.interventions, engine.info)
        async with aclosing(await engine.submit(classify_request(request, edits))) as events:
            return classify_response(await anext(events), engine.info.digest)

    async def FillMask(
        self, request: inference_pb2.FillMaskRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> inference_pb2.FillMaskResponse:
        """All texts in one answer."""
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        edits = await self._edits.of(request.interventions, engine.info)
        async with aclosing(await engine.submit(fill_mask_request(request, edits))) as events:
            return fill_mask_response(await anext(events), engine.info.digest)


def generate_request(
    request: inference_pb2.GenerateRequest, interventions: tuple[Intervention, ...] = ()
) -> GenerateRequest:
    """What the engine takes. Exactly one kind of input is set: the contract's rules have seen to it."""
    given = request.WhichOneof("input")
    chat = tuple((message.role, message.content) for message in request.chat.messages)
    return GenerateRequest(
        prompt=request.prompt if given == "prompt" else None,
        token_ids=tuple(request.token_ids.ids) if given == "token_ids" else None,
        chat=chat if given == "chat" else None,
        sampling=_sampling(request.sampling),
        max_new_tokens=request.max_new_tokens or _NEW_TOKENS,
        stop=tuple(request.stop),
        interventions=interventions,
        capture=_capture(request.capture) if request.HasField("capture") else None,
        top_logprobs=request.top_logprobs,
    )


def _sampling(message: inference_pb2.Sampling) -> Sampling:
    return Sampling(
        temperature=message.temperature,
        top_k=message.top_k,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        min_p=message.min_p,
        repetition_penalty=message.repetition_penalty if message.HasField("repetition_penalty") else 1.0,
        seed=message.seed if message.HasField("seed") else None,
    )


def _capture(message: inference_pb2.Capture) -> Capture:
    dtype = dtype_name(message.dtype, "capture.dtype")
    return Capture(tuple(message.sites), prompt=message.prompt, generated=message.generated, dtype=dtype)


def generate_response(event: Event, model_digest: str) -> inference_pb2.GenerateResponse:
    """One event of a generation."""
    match event:
        case Token():
            return inference_pb2.GenerateResponse(token=_token(event))
        case Completed():
            return inference_pb2.GenerateResponse(completed=_completed(event, model_digest))
    raise EngineFailure(f"a {type(event).__name__} among the events of a generation")


def _token(token: Token) -> inference_pb2.Token:
    top = [inference_pb2.TokenLogprob(id=other.id, text=other.text, logprob=other.logprob) for other in token.top]
    captured = captured_sites(token.captured)
    return inference_pb2.Token(id=token.id, text=token.text, logprob=token.logprob, top=top, captured=captured)


def _completed(event: Completed, model_digest: str) -> inference_pb2.Completed:
    usage = inference_pb2.Usage(
        prompt_tokens=event.prompt_tokens, generated_tokens=event.generated_tokens, seed=event.seed
    )
    return inference_pb2.Completed(
        reason=_REASONS[event.reason],
        usage=usage,
        applied=applied(event.receipt, model_digest),
        captured_prompt=captured_sites(event.captured_prompt),
    )


def score_request(request: inference_pb2.ScoreRequest, interventions: tuple[Intervention, ...] = ()) -> ScoreRequest:
    """What the engine takes."""
    items = tuple(ScoreItem(item.prompt, item.continuation) for item in request.items)
    return ScoreRequest(items, interventions)


def score_response(event: Event, model_digest: str) -> inference_pb2.ScoreResponse:
    """The only event of a score."""
    if not isinstance(event, ScoreResult):
        raise EngineFailure(f"a {type(event).__name__} instead of scores")
    scores = [_item_score(score) for score in event.scores]
    return inference_pb2.ScoreResponse(scores=scores, applied=applied(event.receipt, model_digest))


def _item_score(score: ItemScore) -> inference_pb2.ItemScore:
    total = float(score.token_logprobs.sum(dtype=np.float64))
    return inference_pb2.ItemScore(logprob=total, token_logprobs=score.token_logprobs, token_ids=score.token_ids)
