"""Generate: from a prompt to a sequence that grows, and from logits to tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .decoding import Decoding
from .door import Door, at_most, width_of
from .errors import InvalidRequest
from .plan import Counts
from .pooling import to_numpy
from .programs import Captured, Demand
from .requests import (
    Capture,
    Completed,
    FinishReason,
    GenerateRequest,
    Head,
    Sampling,
    Token,
    TokenLogprob,
)
from .sampling import Chosen, Sampler
from .scheduler import Segment
from .scheduler import Sequence as TokenSequence
from .site_map import Site
from .stream import Stream
from .text import GrowingText, Text
from .works import EngineWork

__all__ = ["GenerateWork", "generation"]


@dataclass(slots=True, eq=False)
class GenerateWork(EngineWork):
    """One sequence that grows."""

    request: GenerateRequest = field(kw_only=True)
    sampler: Sampler = field(kw_only=True)
    text: GrowingText = field(kw_only=True)
    vocabulary: Text = field(kw_only=True)
    decoding: Decoding = field(kw_only=True)
    sequence: TokenSequence = field(init=False)
    given: int = field(init=False)
    """Tokens of the sequence that were not generated."""
    prompt_parts: dict[str, list[Tensor]] = field(default_factory=dict, kw_only=True)

    @property
    def capture_dtype(self) -> str:
        """Element type of captured values."""
        return self.request.capture.dtype if self.request.capture else "float32"

    @property
    def seen(self) -> list[int]:
        """Tokens that a repetition penalty is about: the text so far, as the decoder reads it."""
        return self.sequence.ids if self.decoding.start is None else self.sequence.ids[self.sequence.prompt_length :]

    @property
    def forced(self) -> int | None:
        """The token that comes next whatever the model says, if one does."""
        return self.decoding.forced(len(self.sequence.ids) - self.given, self.request.max_new_tokens)

    def wanted(self, segment: Segment) -> Sequence[int]:
        """The last token's, once the prompt is through."""
        return (segment.count - 1,) if segment.ends else ()

    def held(self) -> Iterable[TokenSequence]:
        """The sequence."""
        return (self.sequence,)

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
        generated = len(self.sequence.ids) - self.given
        text = self.text.push(token)
        reason = self._reason(token, generated)
        if reason:
            text += self.text.finish()
            if self.text.stopped:
                reason = FinishReason.STOP_SEQUENCE
        best = tuple(TokenLogprob(other, self.vocabulary.piece(other), logprob) for other, logprob in chosen.top[row])
        event = Token(token, text, chosen.logprobs[row], best, self._arrays(captured))
        if reason:
            completed = self._completed(reason, generated)
            self.finished = True
            self.stream.put(event, completed, None)
        else:
            self.stream.put(event)

    def _reason(self, token: int, generated: int) -> FinishReason | None:
        if self.text.stopped:
            return FinishReason.STOP_SEQUENCE
        if self.decoding.last is not None and generated >= self.request.max_new_tokens:
            return FinishReason.LENGTH
        if token in self.decoding.stop:
            return FinishReason.END_OF_SEQUENCE
        return FinishReason.LENGTH if generated >= self.request.max_new_tokens else None

    def _arrays(self, captured: dict[str, Tensor]) -> dict[str, npt.NDArray[np.generic]]:
        return {site: to_numpy(tensor, self.capture_dtype, site, "capture.dtype") for site, tensor in captured.items()}

    def _completed(self, reason: FinishReason, generated: int) -> Completed:
        prompt = self._arrays({site: torch.cat(parts) for site, parts in self.prompt_parts.items()})
        receipt = self.demand.plan.receipt(self.demand.counts)
        return Completed(reason, self.sequence.prompt_length, generated, self.sampler.seed, receipt, prompt)


def generation(door: Door, request: GenerateRequest, stream: Stream) -> GenerateWork:
    """A prompt to continue, checked."""
    door.needs("Generate", [Head.LANGUAGE], "a language model", "NO_LANGUAGE_HEAD")
    _check_sampling(request.sampling)
    _check_counts(door, request)
    prompt = _prompt_ids(door, request)
    _check_context(door, len(prompt), request)
    decoding = door.model.decoding
    ids = prompt if decoding.start is None else [*prompt, decoding.start]
    # The last token that is generated is never run.
    plan = door.plan(request.interventions, [(ids, len(prompt))], grows=request.max_new_tokens > 1)
    captured = _captured(door, request.capture, len(prompt), request.max_new_tokens)
    work = GenerateWork(
        tokens=len(prompt) + request.max_new_tokens,
        interactive=True,
        stream=stream,
        demand=Demand(plan, Counts(), *captured),
        request=request,
        sampler=Sampler(request.sampling, decoding.banned),
        text=door.text.growing(request.stop),
        vocabulary=door.text,
        decoding=decoding,
    )
    work.given = len(ids)
    work.sequence = TokenSequence(
        ids,
        work,
        prompt_length=len(prompt),
        capacity=_capacity(door, len(prompt), request.max_new_tokens),
        atomic=door.two_sided,
    )
    work.pending.append(work.sequence)
    return work


def _capacity(door: Door, prompt: int, new: int) -> int:
    """Tokens that a slot must hold; an encoder-decoder keeps both sides in a slot, side by side."""
    return max(prompt, new + 1) if door.two_sided else prompt + new


def _prompt_ids(door: Door, request: GenerateRequest) -> list[int]:
    if request.token_ids is not None:
        for place, token in enumerate(request.token_ids):
            if not 0 <= token < door.text.size:
                raise InvalidRequest(
                    f"token {token} is out of range: the vocabulary has tokens 0 to {door.text.size - 1}",
                    reason="TOKEN_OUT_OF_RANGE",
                    field=f"token_ids.ids[{place}]",
                )
        ids = list(request.token_ids)
    elif request.chat is not None:
        ids = door.text.chat(request.chat)
    else:
        ids = door.text.prompt(request.prompt or "")
    if not ids:
        raise InvalidRequest("the prompt has no token", reason="EMPTY_PROMPT", field=_input_name(request))
    return ids


def _input_name(request: GenerateRequest) -> str:
    return "token_ids" if request.token_ids is not None else "chat" if request.chat is not None else "prompt"


def _check_counts(door: Door, request: GenerateRequest) -> None:
    limits = door.limits
    if request.max_new_tokens < 1:
        raise InvalidRequest("at least one new token", reason="LIMIT_EXCEEDED", field="max_new_tokens")
    at_most(len(request.stop), limits.stop_strings, "stop strings", "stop_strings", "stop")
    at_most(request.top_logprobs, limits.top_logprobs, "top log-probabilities", "top_logprobs", "top_logprobs")
    for place, stop in enumerate(request.stop):
        if not stop:
            raise InvalidRequest("a stop string is not empty", reason="EMPTY_STOP", field=f"stop[{place}]")


def _check_context(door: Door, prompt: int, request: GenerateRequest) -> None:
    limit, new = door.limits.context_tokens, request.max_new_tokens
    if door.two_sided:
        most_prompt, most_new, why = limit, limit - 1, "tokens, of which the first only starts the decoder,"
    else:
        most_prompt, most_new, why = limit - 1, limit - prompt, f"tokens and {prompt} of prompt"
    if prompt > most_prompt:
        raise InvalidRequest(
            f"the prompt has {prompt} tokens; context_tokens = {limit} are the limit"
            + ("" if door.two_sided else ", with at least one new token"),
            reason="PROMPT_TOO_LONG",
            field=_input_name(request),
        )
    if new > most_new:
        raise InvalidRequest(
            f"{new} new {why} are more than context_tokens = {limit}: at most {most_new} new tokens fit",
            reason="LIMIT_EXCEEDED",
            field="max_new_tokens",
        )


def _captured(door: Door, capture: Capture | None, prompt: int, new: int) -> tuple[tuple[Site, ...], tuple[Site, ...]]:
    """Sites captured of the prompt, and of the tokens that are generated."""
    if capture is None:
        return (), ()
    if not (capture.prompt or capture.generated):
        raise InvalidRequest(
            "a capture wants the prompt, the generated tokens or both", reason="EMPTY_CAPTURE", field="capture"
        )
    sites = door.expand(capture.sites, "capture.sites")
    of_prompt = tuple(site for site in sites if capture.prompt and site.reads_prompt)
    of_generated = tuple(site for site in sites if capture.generated and site.reads_generated)
    if lost := [site.name for site in sites if site not in of_prompt and site not in of_generated]:
        side = "prompt" if capture.prompt else "generated tokens"
        raise InvalidRequest(
            f"{lost[0]} does not read the {side}, of which alone this capture is",
            reason="EMPTY_CAPTURE",
            field="capture.sites",
        )
    for wanted, found, what in (
        (capture.prompt, of_prompt, "prompt"),
        (capture.generated, of_generated, "generated"),
    ):
        if wanted and not found:
            raise InvalidRequest(
                f"none of these sites reads what capture.{what} asks for",
                reason="EMPTY_CAPTURE",
                field=f"capture.{what}",
            )
    values = prompt * width_of(of_prompt)
    door.check_values(values + new * width_of(of_generated), capture.dtype, "capture", "capture_bytes")
    # What is captured of the prompt travels in one message.
    door.check_values(values, capture.dtype, "capture.prompt", "message_bytes")
    return of_prompt, of_generated


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
