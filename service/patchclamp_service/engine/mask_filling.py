"""FillMask: from texts with mask tokens to sequences, and from logits to the tokens that the masks may hide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .door import Door, at_most
from .errors import InvalidRequest
from .plan import Counts
from .programs import Demand
from .requests import FilledMask, FillMaskRequest, FillMaskResult, Head, TokenLogprob
from .scheduler import Segment
from .stream import Stream
from .text import Text, Tokens
from .works import EngineWork

__all__ = ["FillMaskWork", "mask_filling"]

# About what a token with its text takes in an answer.
_ANSWER_BYTES = 32


@dataclass(slots=True, eq=False)
class FillMaskWork(EngineWork):
    """Texts with masks, each in one pass."""

    request: FillMaskRequest = field(kw_only=True)
    masks: list[tuple[int, ...]] = field(kw_only=True)
    targets: tuple[int, ...] = field(kw_only=True)
    text: Text = field(kw_only=True)
    results: dict[int, tuple[FilledMask, ...]] = field(default_factory=dict, kw_only=True)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """The masks."""
        return self.masks[segment.sequence.number]

    def take(self, segment: Segment, logits: Tensor) -> None:
        """Reads the tokens off the logits [masks, vocabulary]."""
        number = segment.sequence.number
        logits = logits.float()
        normalisers = torch.logsumexp(logits, -1, keepdim=True)
        self.check(finite=bool(torch.isfinite(normalisers).all()))
        best = torch.topk(logits, self.request.top, dim=-1)
        top = self._tokens(best.indices, best.values - normalisers)
        ids = torch.tensor(self.targets, dtype=torch.long, device=logits.device).expand(len(logits), -1)
        targets = self._tokens(ids, logits.gather(1, ids) - normalisers)
        self.results[number] = tuple(map(FilledMask, self.masks[number], top, targets))
        if len(self.results) == len(self.masks):
            self._finish()

    def _tokens(self, ids: Tensor, logprobs: Tensor) -> list[tuple[TokenLogprob, ...]]:
        return [
            tuple(TokenLogprob(token, self.text.piece(token), logprob) for token, logprob in zip(*row, strict=True))
            for row in zip(ids.tolist(), logprobs.tolist(), strict=True)
        ]

    def _finish(self) -> None:
        self.finished = True
        results = tuple(self.results[number] for number in range(len(self.masks)))
        self.stream.put(FillMaskResult(results, self.demand.plan.receipt(self.demand.counts)), None)


def mask_filling(door: Door, request: FillMaskRequest, stream: Stream) -> FillMaskWork:
    """Texts with masks, checked."""
    door.needs("FillMask", [Head.MASKED_LANGUAGE], "a masked language model", "NOT_A_MASKED_MODEL")
    at_most(len(request.texts), door.limits.sentences, "texts", "sentences", "texts")
    at_most(request.top, door.text.size, "tokens for each mask", "vocabulary_size", "top")
    targets = tuple(_target(door, text, place) for place, text in enumerate(request.targets))
    texts = [door.text.prompt(text) for text in request.texts]
    masks = [_masks(door, ids, place) for place, ids in enumerate(texts)]
    door.check_tokens(sum(map(len, texts)), "texts")
    size = sum(map(len, masks)) * (request.top + len(targets)) * _ANSWER_BYTES
    at_most(size, door.limits.message_bytes, "bytes of tokens (fewer texts or a lower top)", "message_bytes", "texts")
    plan = door.plan(request.interventions, [(ids, len(ids)) for ids in texts], grows=False)
    work = FillMaskWork(
        tokens=sum(map(len, texts)),
        stream=stream,
        demand=Demand(plan, Counts()),
        request=request,
        masks=masks,
        targets=targets,
        text=door.text,
    )
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    work.pending.extend(door.whole(Tokens(texts[place], (), ()), work, place) for place in order)
    return work


def _target(door: Door, text: str, place: int) -> int:
    token = door.text.one_token(text)
    if token is None:
        raise InvalidRequest(
            f"{text[:50]!r} is not one token of this model", reason="UNKNOWN_TOKEN", field=f"targets[{place}]"
        )
    return token


def _masks(door: Door, ids: Sequence[int], place: int) -> tuple[int, ...]:
    door.check_sentence(ids, f"texts[{place}]")
    masks = door.text.masks(ids)
    if not masks:
        raise InvalidRequest(
            f"there is no {door.model.tokenizer.mask_token} in this text", reason="NO_MASK", field=f"texts[{place}]"
        )
    return masks
