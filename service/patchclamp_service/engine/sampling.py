"""Choosing the next token of every row."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .requests import Sampling

__all__ = ["Chosen", "Sampler", "choose"]

# Truncated distributions seldom keep more tokens than this; when one does, the whole vocabulary is sorted.
_CANDIDATES = 1024


class Sampler:
    """The random draws of one request: the n-th draw depends on the seed and n alone."""

    def __init__(self, sampling: Sampling, banned: Sequence[int] = ()) -> None:
        self.settings = sampling
        self.banned = list(banned)
        """Tokens that are never chosen."""
        self.greedy = sampling.temperature == 0
        drawn = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self.seed = 0 if self.greedy else drawn
        self._random = np.random.Generator(np.random.Philox(drawn))

    def draw(self) -> float:
        """The next uniform number in [0, 1)."""
        return float(self._random.random())


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The tokens of the rows, their log-probabilities under the model, and the best ones beside them."""

    tokens: list[int]
    logprobs: list[float]
    finite: list[bool]
    top: list[list[tuple[int, float]]] = field(default_factory=list)


def choose(
    logits: Tensor,
    samplers: Sequence[Sampler],
    seen: Sequence[Sequence[int]],
    top: Sequence[int],
    forced: Sequence[int | None] = (),
) -> Chosen:
    """Chooses a token for every row of `logits` [rows, vocabulary].

    `seen[k]` are the tokens of row k so far, for the repetition penalty; `top[k]` is how many of the best tokens to
    return; `forced[k]` is its token if that is not chosen. Log-probabilities are those of the unmodified logits. A row
    that is not finite is reported as such.
    """
    logits = logits.float()
    normalisers = torch.logsumexp(logits, -1)
    allowed = _allowed(logits, samplers)
    best = allowed.argmax(-1).tolist()
    tokens = [
        best[row] if sampler.greedy and sampler.settings.repetition_penalty == 1 else -1
        for row, sampler in enumerate(samplers)
    ]
    finite = torch.isfinite(normalisers).tolist()
    for row, sampler in enumerate(samplers):
        if tokens[row] < 0:
            tokens[row] = _choose_one(allowed[row], sampler, seen[row]) if finite[row] else best[row]
    for row, token in enumerate(forced):
        tokens[row] = tokens[row] if token is None else token
    picked = logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
    return Chosen(tokens, (picked - normalisers).tolist(), finite, _best(logits, normalisers, top))


def _allowed(logits: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """The logits without the tokens that may not be chosen."""
    rows = [row for row, sampler in enumerate(samplers) for _ in sampler.banned]
    if not rows:
        return logits
    banned = [token for sampler in samplers for token in sampler.banned]
    allowed = logits.clone()
    allowed[rows, banned] = -torch.inf
    return allowed


def _best(logits: Tensor, normalisers: Tensor, top: Sequence[int]) -> list[list[tuple[int, float]]]:
    most = max(top, default=0)
    if not most:
        return [[] for _ in top]
    values, ids = torch.topk(logits, min(most, logits.shape[-1]), dim=-1)
    logprobs = (values - normalisers[:, None]).tolist()
    return [
        list(zip(row_ids[:count], row_logprobs[:count], strict=True))
        for row_ids, row_logprobs, count in zip(ids.tolist(), logprobs, top, strict=True)
    ]


def _choose_one(logits: Tensor, sampler: Sampler, seen: Sequence[int]) -> int:
    settings = sampler.settings
    if settings.repetition_penalty != 1:
        logits = _penalised(logits, seen, settings.repetition_penalty)
    if sampler.greedy:
        return int(logits.argmax())
    # The largest becomes 0 first, so that a tiny temperature cannot make infinities of all.
    logits = (logits - logits.max()) / settings.temperature
    if not (settings.top_k or settings.top_p < 1 or settings.min_p):
        probabilities = torch.softmax(logits, -1)
        return _draw(probabilities, torch.arange(len(logits), device=logits.device), sampler)
    ids = _kept(logits, settings)
    # In the order of ids, so that nearly equal logits do not change places when the neighbours of a row change.
    ids = ids.sort().values
    return _draw(torch.softmax(logits[ids], -1), ids, sampler)


def _draw(probabilities: Tensor, ids: Tensor, sampler: Sampler) -> int:
    cumulative = probabilities.double().cumsum(0)
    place = int(torch.searchsorted(cumulative, sampler.draw() * float(cumulative[-1]), right=True))
    return int(ids[min(place, len(ids) - 1)])


def _penalised(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    at = torch.tensor(sorted(set(seen)), device=logits.device)
    values = logits[at]
    return logits.index_copy(0, at, torch.where(values > 0, values / penalty, values * penalty))


def _kept(logits: Tensor, settings: Sampling) -> Tensor:
    """The ids that top_k, top_p and min_p leave, in that order, most probable first."""
    limit = min(settings.top_k or len(logits), len(logits))
    count = min(limit, _CANDIDATES)
    while True:
        values, ids = torch.topk(logits, count)
        whole = torch.logsumexp(values if count == limit else logits, -1)
        probabilities = (values - whole).exp()
        keep = torch.ones_like(probabilities, dtype=torch.bool)
        if settings.top_p < 1:
            before = probabilities.double().cumsum(0) - probabilities
            keep &= before < settings.top_p
        if settings.min_p:
            keep &= probabilities >= settings.min_p * probabilities[0]
        if count == limit or (settings.top_k == 0 and not bool(keep[-1])):
            keep[0] = True
            return ids[keep]
        count = limit
