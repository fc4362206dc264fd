"""The three kinds of work: what each wants of a pass, and what it makes of the outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .errors import EngineFailure, InvalidRequest, PatchclampError
from .pooling import pooled, to_numpy
from .programs import Captured, Demand
from .requests import (
    Completed,
    ExtractRequest,
    FinishReason,
    GenerateRequest,
    ItemScore,
    Pooling,
    ScoreResult,
    SentenceActivations,
    Token,
    TokenLogprob,
)
from .runners import Outcome
from .sampling import Chosen, Sampler
from .scheduler import Segment, Work
from .scheduler import Sequence as TokenSequence
from .site_map import Site
from .stream import Stream
from .text import GrowingText, Text, Tokens

__all__ = ["EngineWork", "ExtractWork", "GenerateWork", "ScoreWork"]


@dataclass(slots=True, eq=False)
class EngineWork(Work):
    """What every kind has: a reader, what it wants of the passes, and when it came."""

    stream: Stream = field(kw_only=True)
    demand: Demand = field(kw_only=True)
    arrived: float = field(default_factory=time.perf_counter, kw_only=True)
    started: bool = field(default=False, kw_only=True)
    finished: bool = field(default=False, kw_only=True)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """Offsets of the tokens of a segment whose logits it needs."""
        return ()

    def check(self, *, finite: bool) -> None:
        """Logits must be numbers; edits can drive a model out of range."""
        if finite:
            return
        if self.demand.plan:
            raise InvalidRequest(
                "with these interventions the model's logits are no finite numbers; smaller values would keep them so",
                reason="NOT_FINITE",
                field="interventions",
            )
        raise EngineFailure("the model gave logits that are no finite numbers")


@dataclass(slots=True, eq=False)
class GenerateWork(EngineWork):
    """One sequence that grows."""

    request: GenerateRequest = field(kw_only=True)
    sampler: Sampler = field(kw_only=True)
    text: GrowingText = field(kw_only=True)
    vocabulary: Text = field(kw_only=True)
    stop_ids: frozenset[int] = field(kw_only=True)
    sequence: TokenSequence = field(init=False)
    prompt_parts: dict[str, list[Tensor]] = field(default_factory=dict, kw_only=True)

    @property
    def capture_dtype(self) -> str:
        """Element type of captured values."""
        return self.request.capture.dtype if self.request.capture else "float32"

    def wanted(self, segment: Segment) -> Sequence[int]:
        """The last token's, once the prompt is through."""
        return (segment.count - 1,) if segment.ends else ()

    def keep_prompt(self, segment: Segment, captured: Captured) -> None:
        """Keeps what was captured of the prompt."""
        if segment.start < segment.sequence.prompt_length:
            for site in self.demand.prompt_sites:
                self.prompt_parts.setdefault(site.name, []).append(captured.of(segment, site.name))

    def take(self, chosen: Chosen, row: int, captured: dict[str, Tensor]) -> None:
        """Takes the next token, which stands in a row of what was chosen; sends it, and the end if it is the last."""
        self.check(finite=chosen.finite[row])
        token = chosen.tokens[row]
        self.sequence.ids.append(token)
        generated = len(self.sequence.ids) - self.sequence.prompt_length
        text = self.text.push(token)
        reason = self._reason(token, generated)
        if reason:
            text += self.text.finish()
            if self.text.stopped:
                reason = FinishReason.STOP_SEQUENCE
        best = tuple(TokenLogprob(other, self.vocabulary.piece(other), logprob) for other, logprob in chosen.top[row])
        arrays = {site: to_numpy(tensor, self.capture_dtype) for site, tensor in captured.items()}
        event = Token(token, text, chosen.logprobs[row], best, arrays)
        if reason:
            self.finished = True
            self.stream.put(event, self._completed(reason, generated), None)
        else:
            self.stream.put(event)

    def _reason(self, token: int, generated: int) -> FinishReason | None:
        if self.text.stopped:
            return FinishReason.STOP_SEQUENCE
        if token in self.stop_ids:
            return FinishReason.END_OF_SEQUENCE
        return FinishReason.LENGTH if generated >= self.request.max_new_tokens else None

    def _completed(self, reason: FinishReason, generated: int) -> Completed:
        prompt = {site: to_numpy(torch.cat(parts), self.capture_dtype) for site, parts in self.prompt_parts.items()}
        receipt = self.demand.plan.receipt(self.demand.counts)
        return Completed(reason, self.sequence.prompt_length, generated, self.sampler.seed, receipt, prompt)


@dataclass(slots=True, eq=False)
class ScoreGroup:
    """Items with the same prompt. Each continuation that is longer than one token has a sequence of its own."""

    prompt: TokenSequence
    items: list[tuple[int, tuple[int, ...], TokenSequence | None]]


@dataclass(slots=True, eq=False)
class ScoreWork(EngineWork):
    """Prompts, and the continuations that hang from them."""

    groups: dict[int, ScoreGroup] = field(default_factory=dict, kw_only=True)
    logprobs: list[npt.NDArray[np.float32]] = field(default_factory=list, kw_only=True)
    left: int = field(default=0, kw_only=True)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """After the prompt, the last token's; of a continuation, all."""
        sequence = segment.sequence
        if sequence.parent:
            return range(segment.count)
        if sequence.children or not self._flat(sequence):
            return (segment.count - 1,) if segment.ends else ()
        first = sequence.prompt_length - 1
        return [k for k in range(segment.count) if segment.start + k >= first]

    def _flat(self, sequence: TokenSequence) -> bool:
        """Whether prompt and continuation run as one sequence, as models do that cannot share prompts."""
        return len(sequence.ids) > sequence.prompt_length

    def take(self, segment: Segment, logits: Tensor) -> None:
        """Reads the log-probabilities off the logits [tokens wanted, vocabulary]."""
        logits = logits.float()
        normalisers = torch.logsumexp(logits, -1)
        self.check(finite=bool(torch.isfinite(normalisers).all()))
        group = self.groups[segment.sequence.number]
        if segment.sequence.parent:
            self._take_continuation(group, segment, logits, normalisers)
        elif self._flat(segment.sequence):
            self._take_flat(group, segment, logits, normalisers)
        else:
            self._take_first(group, logits[0], normalisers[0])
        if not self.left:
            self._finish()

    def _take_first(self, group: ScoreGroup, logits: Tensor, normaliser: Tensor) -> None:
        firsts = torch.tensor([ids[0] for _, ids, _ in group.items], device=logits.device)
        for (item, _, _), value in zip(group.items, (logits[firsts] - normaliser).tolist(), strict=True):
            self._put(item, 0, [value])

    def _take_continuation(self, group: ScoreGroup, segment: Segment, logits: Tensor, normalisers: Tensor) -> None:
        for item, ids, sequence in group.items:
            if sequence is segment.sequence:
                self._put(item, 1 + segment.start, _gathered(logits, ids[1:], segment.start) - normalisers)

    def _take_flat(self, group: ScoreGroup, segment: Segment, logits: Tensor, normalisers: Tensor) -> None:
        item, ids, _ = group.items[0]
        start = max(0, segment.start - segment.sequence.prompt_length + 1)
        self._put(item, start, _gathered(logits, ids, start) - normalisers)

    def _put(self, item: int, start: int, values: Tensor | list[float]) -> None:
        target = self.logprobs[item]
        self.left -= len(values)
        target[start : start + len(values)] = values.tolist() if isinstance(values, Tensor) else values

    def _finish(self) -> None:
        self.finished = True
        ids = {item: ids for group in self.groups.values() for item, ids, _ in group.items}
        scores = tuple(ItemScore(values, ids[item]) for item, values in enumerate(self.logprobs))
        self.stream.put(ScoreResult(scores, self.demand.plan.receipt(self.demand.counts)), None)


def _gathered(logits: Tensor, ids: Sequence[int], start: int) -> Tensor:
    """Logits [n, vocabulary] of the n tokens of `ids` from `start` on."""
    tokens = torch.tensor(ids[start : start + len(logits)], device=logits.device)
    return logits.gather(1, tokens[:, None])[:, 0]


@dataclass(slots=True, eq=False)
class ExtractWork(EngineWork):
    """Sentences; what is captured is made into rows off the engine's thread and sent in the order of the request."""

    request: ExtractRequest = field(kw_only=True)
    sites: tuple[Site, ...] = field(kw_only=True)
    pooling: Pooling = field(kw_only=True)
    sentences: list[Tokens] = field(kw_only=True)
    parts: dict[int, list[dict[str, Tensor]]] = field(default_factory=dict, kw_only=True)
    ready: dict[int, SentenceActivations] = field(default_factory=dict, kw_only=True)
    next_sentence: int = field(default=0, kw_only=True)
    left: int = field(default=0, kw_only=True)

    def take(self, segments: Sequence[Segment], outcome: Outcome, off_thread: Executor) -> Future[None] | None:
        """Hands the sentences that a pass has completed to the other thread."""
        complete: list[tuple[int, list[dict[str, Tensor]]]] = []
        for segment in segments:
            number = segment.sequence.number
            rows = {site.name: outcome.captured.of(segment, site.name) for site in self.sites}
            parts = self.parts.setdefault(number, [])
            parts.append(rows)
            if segment.ends:
                complete.append((number, self.parts.pop(number)))
        self.left -= len(complete)
        last = not self.left
        self.finished = last
        return off_thread.submit(self._send, complete, last) if complete else None

    def _send(self, complete: list[tuple[int, list[dict[str, Tensor]]]], last: bool) -> None:
        try:
            for number, parts in complete:
                self.ready[number] = self._sentence(number, parts)
            self._send_ready(last)
        except Exception as error:
            self.stream.put(error if isinstance(error, PatchclampError) else EngineFailure(str(error)))
            raise

    def _sentence(self, number: int, parts: list[dict[str, Tensor]]) -> SentenceActivations:
        tokens = self.sentences[number]
        captured = {}
        for site in self.sites:
            rows = parts[0][site.name] if len(parts) == 1 else torch.cat([part[site.name] for part in parts])
            captured[site.name] = to_numpy(pooled(rows, tokens.rows, self.pooling), self.request.dtype)
        masked = tuple(row for row, places in enumerate(tokens.rows) if not places)
        return SentenceActivations(number, tokens.names, captured, masked)

    def _send_ready(self, last: bool) -> None:
        events = []
        while self.next_sentence in self.ready:
            events.append(self.ready.pop(self.next_sentence))
            self.next_sentence += 1
        if last:
            receipt = self.demand.plan.receipt(self.demand.counts)
            final = events.pop()
            closing = SentenceActivations(final.sentence, final.tokens, final.captured, final.masked, receipt)
            self.stream.put(*events, closing, None)
        elif events:
            self.stream.put(*events)
