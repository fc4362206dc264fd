"""Score: from prompts and continuations to sequences that share prompts, and from logits to log-probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .door import Door, at_most
from .errors import InvalidRequest
from .plan import Counts
from .programs import Demand
from .requests import Head, ItemScore, ScoreRequest, ScoreResult
from .scheduler import Segment
from .scheduler import Sequence as TokenSequence
from .stream import Stream
from .works import EngineWork

__all__ = ["ScoreWork", "scoring"]


@dataclass(slots=True, eq=False)
class ScoreGroup:
    """Items with the same prompt. Each continuation has a sequence of its own, save those that need none."""

    prompt: TokenSequence
    items: list[tuple[int, tuple[int, ...], TokenSequence | None]]


@dataclass(slots=True, eq=False)
class ScoreWork(EngineWork):
    """Prompts, and the continuations that hang from them."""

    prefix: tuple[int, ...] = field(default=(), kw_only=True)
    """What a decoder reads before a continuation; without any, the prompt's last token predicts its first."""
    groups: dict[int, ScoreGroup] = field(default_factory=dict, kw_only=True)
    logprobs: list[npt.NDArray[np.float32]] = field(default_factory=list, kw_only=True)
    left: int = field(default=0, kw_only=True)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """After the prompt, the last token's; of a continuation, all that predict one of its tokens."""
        sequence = segment.sequence
        if sequence.parent:
            return range(max(0, len(self.prefix) - 1 - segment.start), segment.count)
        if self.prefix:
            return ()
        if sequence.children or not self._flat(sequence):
            return (segment.count - 1,) if segment.ends else ()
        first = sequence.prompt_length - 1
        return [k for k in range(segment.count) if segment.start + k >= first]

    def held(self) -> Iterable[TokenSequence]:
        """The prompts."""
        return (group.prompt for group in self.groups.values())

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
        start = max(0, segment.start + 1 - len(self.prefix))
        for item, ids, sequence in group.items:
            if sequence is segment.sequence:
                self._put(item, start, _gathered(logits, ids, start) - normalisers)

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


def scoring(door: Door, request: ScoreRequest, stream: Stream) -> ScoreWork:
    """Prompts and what may follow them, checked; equal prompts become one sequence."""
    door.needs("Score", [Head.LANGUAGE], "a language model", "NO_LANGUAGE_HEAD")
    at_most(len(request.items), door.limits.score_items, "items", "score_items", "items")
    pairs = [_pair(door, request, place) for place in range(len(request.items))]
    prefix = door.text.decoder_prefix
    runs = [[*prompt, *prefix, *continuation[:-1]] for prompt, continuation in pairs]
    door.check_tokens(sum(len(prompt) + len(continuation) for prompt, continuation in pairs), "items")
    texts = [(run, len(prompt)) for run, (prompt, _) in zip(runs, pairs, strict=True)]
    plan = door.plan(request.interventions, texts, grows=False)
    work = ScoreWork(tokens=0, stream=stream, demand=Demand(plan, Counts()), prefix=prefix)
    prompts: dict[tuple[int, ...], ScoreGroup] = {}
    for item, (prompt, continuation) in enumerate(pairs):
        key = (*prompt,) if door.shares else (item,)
        group = prompts.get(key)
        if group is None:
            group = prompts[key] = _group(door, work, prompt, continuation)
        _add_item(door, work, group, item, continuation)
    work.pending.extend(group.prompt for group in work.groups.values())
    work.tokens = sum(sequence.family_remaining for sequence in work.pending)
    return work


def _pair(door: Door, request: ScoreRequest, place: int) -> tuple[list[int], list[int]]:
    item = request.items[place]
    prompt = door.text.prompt(item.prompt)
    if not prompt:
        raise InvalidRequest("the prompt has no token", reason="EMPTY_PROMPT", field=f"items[{place}].prompt")
    if door.two_sided:
        continuation = door.text.output(item.continuation)
    else:
        continuation = door.text.continuation(item.prompt, prompt, item.continuation)
    if not continuation:
        raise InvalidRequest(
            "the continuation has no token", reason="EMPTY_CONTINUATION", field=f"items[{place}].continuation"
        )
    _check_context(door, len(prompt), len(continuation), f"items[{place}]")
    return prompt, continuation


def _check_context(door: Door, prompt: int, continuation: int, field: str) -> None:
    limit = door.limits.context_tokens
    # The last token of a continuation is predicted, not run; those before it follow what starts the decoder.
    beside = len(door.text.decoder_prefix) - 1 if door.two_sided else prompt
    long_prompt = prompt > limit if door.two_sided else prompt >= limit
    if long_prompt or beside + continuation > limit:
        raise InvalidRequest(
            f"{prompt} tokens of prompt and {continuation} of continuation are more than context_tokens = {limit}",
            reason="PROMPT_TOO_LONG",
            field=f"{field}.{'prompt' if long_prompt else 'continuation'}",
        )


def _group(door: Door, work: ScoreWork, prompt: list[int], continuation: list[int]) -> ScoreGroup:
    ids = prompt if door.shares else [*prompt, *continuation[:-1]]
    number = len(work.groups)
    sequence = TokenSequence(list(ids), work, prompt_length=len(prompt), number=number, atomic=door.two_sided)
    work.groups[number] = ScoreGroup(sequence, [])
    return work.groups[number]


def _add_item(door: Door, work: ScoreWork, group: ScoreGroup, item: int, continuation: list[int]) -> None:
    ids = [*work.prefix, *continuation[:-1]]
    child = None
    if door.shares and ids:
        child = TokenSequence(ids, work, prompt_length=0, parent=group.prompt, number=group.prompt.number)
        group.prompt.children.append(child)
    group.items.append((item, tuple(continuation), child))
    work.logprobs.append(np.empty(len(continuation), dtype=np.float32))
    work.left += len(continuation)
