"""ExtractActivations: from sentences to sequences, and from captured tensors to rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .door import Door, at_most, check_words, width_of
from .errors import EngineFailure, InvalidRequest, PatchclampError
from .plan import Counts
from .pooling import Pool, pool, to_numpy
from .programs import Demand
from .requests import ExtractRequest, Limits, Pooling, SentenceActivations
from .runners import Outcome
from .scheduler import Segment
from .site_map import Site
from .stream import Stream
from .text import Tokens
from .works import EngineWork

__all__ = ["ExtractWork", "extraction"]

# At most so many passes of sentences are sorted by length together: no result is held back for longer.
_WINDOW_PASSES = 64
_NOTHING = Tokens([], (), ())

Parts = dict[str, list[Tensor]]
"""What was captured of a sentence so far, by site."""


@dataclass(slots=True, eq=False)
class ExtractWork(EngineWork):
    """Sentences; what is captured is made into rows off the engine's thread and sent in the order of the request."""

    request: ExtractRequest = field(kw_only=True)
    sites: tuple[Site, ...] = field(kw_only=True)
    pooling: Pooling = field(kw_only=True)
    sentences: list[Tokens] = field(kw_only=True)
    targets: list[Tokens] = field(kw_only=True)
    """What a decoder reads beside each sentence; nothing where there is none."""
    parts: dict[int, Parts] = field(default_factory=dict, kw_only=True)
    ready: dict[int, SentenceActivations] = field(default_factory=dict, kw_only=True)
    next_sentence: int = field(default=0, kw_only=True)
    left: int = field(default=0, kw_only=True)

    def take(self, segments: Sequence[Segment], outcome: Outcome, off_thread: Executor) -> Future[None] | None:
        """Hands the sentences that a pass has completed to the other thread."""
        complete: list[tuple[int, Parts]] = []
        for segment in segments:
            number = segment.sequence.number
            parts = self.parts.setdefault(number, defaultdict(list))
            for site in self.sites:
                if outcome.captured.has(segment, site.name):
                    parts[site.name].append(outcome.captured.of(segment, site.name))
            if segment.ends:
                complete.append((number, self.parts.pop(number)))
        self.left -= len(complete)
        last = not self.left
        self.finished = last
        return off_thread.submit(self._send, complete, last) if complete else None

    @torch.inference_mode()
    def _send(self, complete: list[tuple[int, Parts]], last: bool) -> None:
        try:
            self._make_ready(complete)
            self._send_ready(last)
        except Exception as error:
            self.stream.put(error if isinstance(error, PatchclampError) else EngineFailure(str(error)))
            raise

    def _make_ready(self, complete: list[tuple[int, Parts]]) -> None:
        """Makes the rows of some sentences. They go through the pooling side by side: few large operations."""
        numbers = [number for number, _ in complete]
        pools = {
            reads: self._pool([tokens[number] for number in numbers], complete, reads)
            for reads, tokens in ((True, self.sentences), (False, self.targets))
        }
        arrays: list[dict[str, npt.NDArray[np.generic]]] = [{} for _ in complete]
        for site in self.sites:
            pooled, ends = pools[site.reads_prompt]
            parts = [part for _, found in complete for part in found[site.name]]
            rows = parts[0] if len(parts) == 1 else torch.cat(parts)
            values = to_numpy(pooled(rows), self.request.dtype, site.name)
            for mine, begin, end in zip(arrays, ends, ends[1:], strict=False):
                mine[site.name] = values[begin:end]
        for number, mine in zip(numbers, arrays, strict=True):
            self.ready[number] = self._sentence(number, mine)

    def _pool(
        self, sentences: Sequence[Tokens], complete: list[tuple[int, Parts]], reads_prompt: bool
    ) -> tuple[Pool, list[int]]:
        """The pooling of sentences side by side, and where the rows of each begin and end."""
        site = next((site for site in self.sites if site.reads_prompt is reads_prompt), None)
        if site is None:
            return pool((), self.pooling, torch.device("cpu")), [0]
        counts = [sum(map(len, parts[site.name])) for _, parts in complete]
        first = [0, *accumulate(counts)]
        groups = [
            tuple(start + place for place in group)
            for start, tokens in zip(first, sentences, strict=False)
            for group in tokens.rows
        ]
        device = complete[0][1][site.name][0].device
        return pool(groups, self.pooling, device), [0, *accumulate(len(tokens.rows) for tokens in sentences)]

    def _sentence(self, number: int, captured: dict[str, npt.NDArray[np.generic]]) -> SentenceActivations:
        tokens, target = self.sentences[number], self.targets[number]
        return SentenceActivations(
            number,
            tokens.names,
            captured,
            _masked(tokens),
            target_tokens=target.names,
            target_masked=_masked(target),
        )

    def _send_ready(self, last: bool) -> None:
        events = []
        while self.next_sentence in self.ready:
            events.append(self.ready.pop(self.next_sentence))
            self.next_sentence += 1
        if last:
            events[-1] = replace(events[-1], receipt=self.demand.plan.receipt(self.demand.counts))
            self.stream.put(*events, None)
        elif events:
            self.stream.put(*events)


def _masked(tokens: Tokens) -> tuple[int, ...]:
    return tuple(row for row, places in enumerate(tokens.rows) if not places)


def extraction(door: Door, request: ExtractRequest, stream: Stream) -> ExtractWork:
    """Sentences to read, checked."""
    at_most(len(request.sentences), door.limits.sentences, "sentences", "sentences", "sentences")
    sites = door.expand(request.sites, "sites")
    pooling = request.pooling or (Pooling.AVERAGE if isinstance(request.sentences[0], tuple) else Pooling.NONE)
    sentences = [_sentence(door, request, pooling, place) for place in range(len(request.sentences))]
    targets = _targets(door, request, pooling, sites)
    door.check_tokens(sum(len(each.ids) for each in (*sentences, *targets)), "sentences")
    _check_size(door, request, sites, sentences, targets)
    runs = [replace(one, ids=[*one.ids, *other.ids]) for one, other in zip(sentences, targets, strict=True)]
    texts = [(run.ids, len(sentence.ids)) for run, sentence in zip(runs, sentences, strict=True)]
    work = ExtractWork(
        tokens=sum(len(run.ids) for run in runs),
        background=request.background,
        stream=stream,
        demand=Demand(
            door.plan(request.interventions, texts, grows=False, part=request.part),
            Counts(),
            prompt_sites=tuple(site for site in sites if site.reads_prompt),
            target_sites=tuple(site for site in sites if not site.reads_prompt),
        ),
        request=request,
        sites=sites,
        pooling=pooling,
        sentences=sentences,
        targets=targets,
        left=len(sentences),
    )
    for place in _by_length(runs, sites, door.limits):
        sequence = door.whole(runs[place], work, place)
        sequence.prompt_length = len(sentences[place].ids)
        work.pending.append(sequence)
    return work


def _sentence(door: Door, request: ExtractRequest, pooling: Pooling, place: int) -> Tokens:
    content = request.sentences[place]
    check_words(content, f"sentences[{place}]")
    tokens = door.text.read(content, pooling, include_special=request.include_special_tokens)
    door.check_sentence(tokens.ids, f"sentences[{place}]")
    return tokens


def _targets(door: Door, request: ExtractRequest, pooling: Pooling, sites: Sequence[Site]) -> list[Tokens]:
    """What the decoder reads, sentence by sentence; nothing where nobody asks for the decoder."""
    of_decoder = [site.name for site in sites if not site.reads_prompt]
    if request.targets and not door.two_sided:
        raise InvalidRequest(
            "a target is what the decoder of an encoder-decoder reads; this model has no such decoder",
            reason="TARGET_NOT_READ",
            field="sentences[0].target",
        )
    if len(request.targets) != len(request.sentences) and (request.targets or of_decoder):
        missing = min(len(request.targets), len(request.sentences) - 1)
        raise InvalidRequest(
            f"{len(request.targets)} targets for {len(request.sentences)} sentences: "
            f"{of_decoder[0] if of_decoder else 'the decoder'} reads the target of each",
            reason="TARGET_NEEDED",
            field=f"sentences[{missing}].target",
        )
    if not (of_decoder or (request.targets and request.interventions)):
        return [_NOTHING] * len(request.sentences)
    return [_target(door, request, pooling, place) for place in range(len(request.targets))]


def _target(door: Door, request: ExtractRequest, pooling: Pooling, place: int) -> Tokens:
    content, field = request.targets[place], f"sentences[{place}].target"
    check_words(content, field)
    tokens = door.text.target(content, pooling, include_special=request.include_special_tokens)
    if len(tokens.ids) == len(door.text.decoder_prefix):
        raise InvalidRequest("the target has no token", reason="TARGET_NEEDED", field=field)
    door.check_sentence(tokens.ids, field)
    return tokens


def _check_size(
    door: Door,
    request: ExtractRequest,
    sites: Sequence[Site],
    sentences: Sequence[Tokens],
    targets: Sequence[Tokens],
) -> None:
    read = width_of(site for site in sites if site.reads_prompt)
    written = width_of(sites) - read
    pairs = list(zip(sentences, targets, strict=True))
    values = sum(len(one.rows) * read + len(other.rows) * written for one, other in pairs)
    door.check_values(values, request.dtype, "sites", "capture_bytes")
    # Before words are made of them, all tokens of a sentence are held in float32.
    largest = max(len(one.ids) * read + len(other.ids) * written for one, other in pairs)
    door.check_values(largest, "float32", "sites", "capture_bytes")


def _by_length(tokens: Sequence[Tokens], sites: Sequence[Site], limits: Limits) -> list[int]:
    """Sentences in the order they run: sorted by length, within what may wait for earlier sentences."""
    waiting = min(limits.buffered_bytes // (4 * width_of(sites)), _WINDOW_PASSES * limits.batch_tokens)
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
