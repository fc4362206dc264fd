"""At the door: a request is tokenised, checked against the model and turned into work, or refused with the field
that is wrong. Nothing here runs the model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from .checks import check_texts, checked_plan
from .errors import InvalidRequest, Unsupported
from .plan import Counts, Plan
from .programs import Demand
from .requests import (
    Capture,
    ExtractRequest,
    GenerateRequest,
    Intervention,
    Limits,
    Pooling,
    Sampling,
    ScoreRequest,
)
from .sampling import Sampler
from .scheduler import Sequence as TokenSequence
from .site_map import Site, SiteMap
from .stream import Stream
from .text import Text, Tokens
from .works import ExtractWork, GenerateWork, ScoreGroup, ScoreWork

__all__ = ["Admission"]

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# At most so many passes of sentences are sorted by length together: no result is held back for longer.
_WINDOW_PASSES = 64
# Plans that callers are likely to share: small ones, with the same edits everywhere.
_KEPT_PLANS, _KEPT_NEURONS = 128, 20_000


class Admission:
    """Turns requests to one model into work."""

    def __init__(
        self, sites: SiteMap, text: Text, limits: Limits, stop_ids: frozenset[int], *, decoder: bool, shares: bool
    ) -> None:
        self._sites = sites
        self._text = text
        self._limits = limits
        self._stop_ids = stop_ids
        self._decoder = decoder
        self._shares = shares
        self._plans: OrderedDict[tuple[Intervention, ...], Plan] = OrderedDict()
        self._lock = threading.Lock()

    # --- generate

    def generate(self, request: GenerateRequest, stream: Stream) -> GenerateWork:
        """A prompt to continue."""
        self._needs_decoder("Generate")
        _check_sampling(request.sampling)
        self._check_counts(request)
        ids = self._prompt_ids(request)
        self._check_context(len(ids), request.max_new_tokens, request)
        # The last token that is generated is never run.
        plan = self._plan(request.interventions, [(ids, len(ids))], grows=request.max_new_tokens > 1)
        demand = Demand(plan, Counts(), *self._captured(request.capture, len(ids), request.max_new_tokens))
        work = GenerateWork(
            tokens=len(ids) + request.max_new_tokens,
            interactive=True,
            stream=stream,
            demand=demand,
            request=request,
            sampler=Sampler(request.sampling),
            text=self._text.growing(request.stop),
            vocabulary=self._text,
            stop_ids=self._stop_ids,
        )
        capacity = len(ids) + request.max_new_tokens
        work.sequence = TokenSequence(ids, work, prompt_length=len(ids), capacity=capacity)
        work.pending.append(work.sequence)
        return work

    def _needs_decoder(self, what: str) -> None:
        if not self._decoder:
            raise Unsupported(
                f"{what} needs a causal language model; this one is an encoder, which reads activations only",
                reason="NOT_A_DECODER",
                field="model",
            )

    def _prompt_ids(self, request: GenerateRequest) -> list[int]:
        if request.token_ids is not None:
            for place, token in enumerate(request.token_ids):
                if not 0 <= token < self._text.size:
                    raise InvalidRequest(
                        f"token {token} is out of range: the vocabulary has tokens 0 to {self._text.size - 1}",
                        reason="TOKEN_OUT_OF_RANGE",
                        field=f"token_ids.ids[{place}]",
                    )
            ids, name = list(request.token_ids), "token_ids"
        elif request.chat is not None:
            ids, name = self._text.chat(request.chat), "chat"
        else:
            ids, name = self._text.prompt(request.prompt or ""), "prompt"
        if not ids:
            raise InvalidRequest("the prompt has no token", reason="EMPTY_PROMPT", field=name)
        return ids

    def _check_counts(self, request: GenerateRequest) -> None:
        if request.max_new_tokens < 1:
            raise InvalidRequest("at least one new token", reason="LIMIT_EXCEEDED", field="max_new_tokens")
        _at_most(len(request.stop), self._limits.stop_strings, "stop strings", "stop_strings", "stop")
        _at_most(
            request.top_logprobs, self._limits.top_logprobs, "top log-probabilities", "top_logprobs", "top_logprobs"
        )
        for place, stop in enumerate(request.stop):
            if not stop:
                raise InvalidRequest("a stop string is not empty", reason="EMPTY_STOP", field=f"stop[{place}]")

    def _check_context(self, prompt: int, new: int, request: GenerateRequest) -> None:
        limit = self._limits.context_tokens
        name = "token_ids" if request.token_ids is not None else "chat" if request.chat is not None else "prompt"
        if prompt >= limit:
            raise InvalidRequest(
                f"the prompt has {prompt} tokens; with at least one new token, context_tokens = {limit} are the limit",
                reason="PROMPT_TOO_LONG",
                field=name,
            )
        if prompt + new > limit:
            raise InvalidRequest(
                f"{prompt} tokens of prompt and {new} new ones are more than context_tokens = {limit}: "
                f"at most {limit - prompt} new tokens fit",
                reason="LIMIT_EXCEEDED",
                field="max_new_tokens",
            )

    def _captured(self, capture: Capture | None, prompt: int, new: int) -> tuple[tuple[Site, ...], tuple[Site, ...]]:
        if capture is None:
            return (), ()
        if not (capture.prompt or capture.generated):
            raise InvalidRequest(
                "a capture wants the prompt, the generated tokens or both", reason="EMPTY_CAPTURE", field="capture"
            )
        sites = self._expand(capture.sites, "capture.sites")
        rows = prompt * capture.prompt + new * capture.generated
        self._check_bytes(rows, sites, capture.dtype, "capture", "capture_bytes")
        # What is captured of the prompt travels in one message.
        self._check_bytes(prompt * capture.prompt, sites, capture.dtype, "capture.prompt", "message_bytes")
        return (sites if capture.prompt else ()), (sites if capture.generated else ())

    # --- score

    def score(self, request: ScoreRequest, stream: Stream) -> ScoreWork:
        """Prompts and what may follow them; equal prompts become one sequence."""
        self._needs_decoder("Score")
        _at_most(len(request.items), self._limits.score_items, "items", "score_items", "items")
        pairs = [self._pair(place, request) for place in range(len(request.items))]
        self._check_tokens(sum(len(prompt) + len(continuation) for prompt, continuation in pairs), "items")
        plan = self._plan(request.interventions, [([*p, *c[:-1]], len(p)) for p, c in pairs], grows=False)
        work = ScoreWork(tokens=0, stream=stream, demand=Demand(plan, Counts()))
        prompts: dict[tuple[int, ...], ScoreGroup] = {}
        for item, (prompt, continuation) in enumerate(pairs):
            key = (*prompt,) if self._shares else (item,)
            group = prompts.get(key)
            if group is None:
                group = prompts[key] = self._group(work, prompt, continuation, len(work.groups))
            self._add_item(work, group, item, continuation)
        work.pending.extend(group.prompt for group in work.groups.values())
        work.tokens = sum(sequence.family_remaining for sequence in work.pending)
        return work

    def _pair(self, place: int, request: ScoreRequest) -> tuple[list[int], list[int]]:
        item = request.items[place]
        prompt = self._text.prompt(item.prompt)
        if not prompt:
            raise InvalidRequest("the prompt has no token", reason="EMPTY_PROMPT", field=f"items[{place}].prompt")
        continuation = self._text.continuation(item.prompt, prompt, item.continuation)
        if not continuation:
            raise InvalidRequest(
                "the continuation has no token", reason="EMPTY_CONTINUATION", field=f"items[{place}].continuation"
            )
        limit = self._limits.context_tokens
        if len(prompt) + len(continuation) > limit:
            raise InvalidRequest(
                f"{len(prompt)} tokens of prompt and {len(continuation)} of continuation are more than "
                f"context_tokens = {limit}",
                reason="PROMPT_TOO_LONG",
                field=f"items[{place}].{'prompt' if len(prompt) >= limit else 'continuation'}",
            )
        return prompt, continuation

    def _group(self, work: ScoreWork, prompt: list[int], continuation: list[int], number: int) -> ScoreGroup:
        ids = prompt if self._shares else [*prompt, *continuation[:-1]]
        group = ScoreGroup(TokenSequence(list(ids), work, prompt_length=len(prompt), number=number), [])
        work.groups[number] = group
        return group

    def _add_item(self, work: ScoreWork, group: ScoreGroup, item: int, continuation: list[int]) -> None:
        child = None
        if self._shares and len(continuation) > 1:
            child = TokenSequence(
                continuation[:-1], work, prompt_length=0, parent=group.prompt, number=group.prompt.number
            )
            group.prompt.children.append(child)
        group.items.append((item, tuple(continuation), child))
        work.logprobs.append(np.empty(len(continuation), dtype=np.float32))
        work.left += len(continuation)

    # --- extract

    def extract(self, request: ExtractRequest, stream: Stream) -> ExtractWork:
        """Sentences to read."""
        _at_most(len(request.sentences), self._limits.sentences, "sentences", "sentences", "sentences")
        sites = self._expand(request.sites, "sites")
        tokens = [self._sentence(place, request) for place in range(len(request.sentences))]
        self._check_tokens(sum(len(sentence.ids) for sentence in tokens), "sentences")
        self._check_bytes(
            sum(len(sentence.rows) for sentence in tokens), sites, request.dtype, "sites", "capture_bytes"
        )
        # Before words are made of them, all tokens of a sentence are held in float32.
        self._check_bytes(max(len(sentence.ids) for sentence in tokens), sites, "float32", "sites", "capture_bytes")
        texts = [(sentence.ids, len(sentence.ids)) for sentence in tokens]
        plan = self._plan(request.interventions, texts, grows=False)
        words = isinstance(request.sentences[0], tuple)
        work = ExtractWork(
            tokens=sum(len(sentence.ids) for sentence in tokens),
            background=request.background,
            stream=stream,
            demand=Demand(plan, Counts(), prompt_sites=sites),
            request=request,
            sites=sites,
            pooling=request.pooling or (Pooling.AVERAGE if words else Pooling.NONE),
            sentences=tokens,
            left=len(tokens),
        )
        work.pending.extend(
            TokenSequence(
                tokens[place].ids, work, prompt_length=len(tokens[place].ids), atomic=not self._decoder, number=place
            )
            for place in self._by_length(tokens, sites)
        )
        return work

    def _sentence(self, place: int, request: ExtractRequest) -> Tokens:
        content = request.sentences[place]
        if isinstance(content, tuple):
            _check_words(content, place)
        if isinstance(content, tuple) and request.pooling is not Pooling.NONE:
            tokens = self._text.words(content)
        else:
            text = " ".join(content) if isinstance(content, tuple) else content
            tokens = self._text.sentence(text, include_special=request.include_special_tokens)
        if not tokens.ids:
            raise InvalidRequest("the sentence has no token", reason="EMPTY_PROMPT", field=f"sentences[{place}]")
        if len(tokens.ids) > self._limits.context_tokens:
            raise InvalidRequest(
                f"the sentence has {len(tokens.ids)} tokens; context_tokens = {self._limits.context_tokens} "
                "are the limit",
                reason="PROMPT_TOO_LONG",
                field=f"sentences[{place}]",
            )
        return tokens

    def _by_length(self, tokens: Sequence[Tokens], sites: Sequence[Site]) -> list[int]:
        """Sentences in the order they run: sorted by length, within what may wait for earlier sentences."""
        row_bytes = 4 * sum(site.width for site in sites)
        waiting = min(self._limits.buffered_bytes // row_bytes, _WINDOW_PASSES * self._limits.batch_tokens)
        order: list[int] = []
        window: list[int] = []
        size = 0
        for place, sentence in enumerate(tokens):
            window.append(place)
            size += len(sentence.ids)
            if size >= waiting or place == len(tokens) - 1:
                order += sorted(window, key=lambda k: len(tokens[k].ids))
                window, size = [], 0
        return order

    # --- common parts

    def _expand(self, patterns: Sequence[str], field: str) -> tuple[Site, ...]:
        found = [
            site for place, pattern in enumerate(patterns) for site in self._sites.expand(pattern, f"{field}[{place}]")
        ]
        if not found:
            raise InvalidRequest("at least one site", reason="NO_SITES", field=field)
        return tuple(dict.fromkeys(found))

    def _check_bytes(self, rows: int, sites: Sequence[Site], dtype: str, field: str, name: str) -> None:
        size = rows * sum(site.width for site in sites) * _BYTES[dtype]
        _at_most(size, getattr(self._limits, name), "bytes of activations", name, field)

    def _check_tokens(self, tokens: int, field: str) -> None:
        _at_most(tokens, self._limits.request_tokens, "tokens", "request_tokens", field)

    def _plan(
        self, interventions: tuple[Intervention, ...], texts: Sequence[tuple[Sequence[int], int]], *, grows: bool
    ) -> Plan:
        """The plan of a request; callers of the same interventions share it, and with it their blocks of rows."""
        with self._lock:
            plan = self._plans.get(interventions)
        if plan is None:
            plan = checked_plan(interventions, self._sites, self._text.vocabulary, self._limits)
            self._keep(interventions, plan)
        if plan:
            check_texts(plan, texts, grows=grows)
        return plan

    def _keep(self, interventions: tuple[Intervention, ...], plan: Plan) -> None:
        if plan.edited_neurons > _KEPT_NEURONS or not plan.everywhere:
            return
        with self._lock:
            self._plans[interventions] = plan
            if len(self._plans) > _KEPT_PLANS:
                self._plans.popitem(last=False)


def _at_most(count: int, limit: int, what: str, name: str, field: str) -> None:
    if count > limit:
        raise InvalidRequest(
            f"{count} {what} are more than the limit {name} = {limit}", reason="LIMIT_EXCEEDED", field=field
        )


def _check_words(words: Sequence[str], place: int) -> None:
    for number, word in enumerate(words):
        if not word.strip():
            raise InvalidRequest(
                "a word is empty or blank", reason="EMPTY_WORD", field=f"sentences[{place}].words.words[{number}]"
            )


def _check_sampling(sampling: Sampling) -> None:
    """What the contract's rules say too, for callers within the process."""
    bounds = (
        ("temperature", sampling.temperature, 0 <= sampling.temperature <= 100, "0 to 100"),
        ("top_k", sampling.top_k, sampling.top_k >= 0, "0 or more"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0, up to 1"),
        ("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "0 to 1"),
        (
            "repetition_penalty",
            sampling.repetition_penalty,
            0 < sampling.repetition_penalty <= 100,
            "above 0, up to 100",
        ),
    )
    for name, value, fits, right in bounds:
        if not fits:
            raise InvalidRequest(f"{name} is {value}: {right}", reason="BAD_SAMPLING", field=f"sampling.{name}")
