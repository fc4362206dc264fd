"""One thread owns the model: it schedules, runs and delivers, one pass after another."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch

from .admission import admitted
from .checks import check_patch
from .classifying import ClassifyWork
from .door import Door
from .errors import EngineFailure, Exhausted, InvalidRequest, NotReady, PatchclampError
from .extracting import ExtractWork
from .generating import GenerateWork
from .hosting import describe, fitted_limits, runner_of, text_of
from .mask_filling import FillMaskWork
from .model import LoadedModel
from .pace import Pace
from .preparing import check_sentence, prepared, token_rows
from .requests import (
    ExtractRequest,
    GenerateRequest,
    Head,
    Intervention,
    Limits,
    Load,
    Observer,
    Patch,
    Prepared,
    Request,
    SentenceActivations,
    Set,
    StepReport,
    TokenRows,
)
from .runners import Outcome, PackedRunner
from .sampling import choose
from .scheduler import Budget, Scheduler, Segment, Slot
from .scoring import ScoreWork
from .seq2seq_runner import Seq2SeqRunner
from .site_map import SiteMap
from .stream import Stream
from .text import Content
from .works import EngineWork

__all__ = ["Engine"]

_log = logging.getLogger(__name__)

# Passes whose captures may wait to be made into arrays.
_PASSES_AHEAD = 2
# Tokens of a background pass while others wait for theirs: about what a step of theirs takes.
_BACKGROUND_TOKENS = 64
# Seconds between looks whether background work may go on; another engine earns what it waits for.
_LOOK = 0.01


class Engine:
    """Runs one model for many callers at once.

    `submit` may be called from any event loop; everything else that touches the model happens on the engine's own
    thread. Errors a caller can mend are raised by `submit`, later ones by the stream it returns.
    """

    def __init__(
        self,
        model: LoadedModel,
        sites: SiteMap,
        limits: Limits | None = None,
        observer: Observer | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.limits = fitted_limits(limits or Limits(), model)
        self._observer = Observer()
        self._observer_when_warm = observer or Observer()
        self._runner = runner_of(model, sites)
        self.info = describe(model, sites, self.limits, packed=isinstance(self._runner, PackedRunner | Seq2SeqRunner))
        self._sites = sites
        self._door = Door(model, sites, text_of(model), self.limits, shares=self._runner.shares_prompts)
        self._scheduler = Scheduler(
            Budget(
                batch_tokens=self.limits.batch_tokens,
                prefill_tokens=self.limits.prefill_tokens,
                running=self.limits.running,
                cache_tokens=self.limits.cache_tokens,
            )
        )
        self._pace = pace or Pace()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued_tokens = 0
        self._tokens_per_second = 0.0
        self._draining = False
        self._stopping = False
        self._works: set[EngineWork] = set()
        # Threads of its own: a costly request at the door keeps nobody waiting elsewhere.
        self._at_door = ThreadPoolExecutor(2, thread_name_prefix="patchclamp-door")
        self._off_thread = ThreadPoolExecutor(1, thread_name_prefix="patchclamp-rows")
        self._rows_ahead: deque[Future[None]] = deque()
        self._thread = threading.Thread(target=self._run, name="patchclamp-engine", daemon=True)

    # --- for callers, from any thread

    def start(self) -> None:
        """Starts the thread and runs the model once, so that the first caller need not wait for it. Blocks."""
        self._thread.start()
        # In a thread of its own, since the caller's may have an event loop that runs.
        with ThreadPoolExecutor(1) as warming:
            warming.submit(lambda: asyncio.run(self._warm_up())).result()
        self._observer = self._observer_when_warm

    async def _warm_up(self) -> None:
        request: Request
        if self.info.head is Head.LANGUAGE:
            request = GenerateRequest(token_ids=(1,), max_new_tokens=2)
        else:
            request = ExtractRequest(("a",), (self.info.sites[0].name,))
        async for _ in await self.submit(request):
            pass

    async def submit(self, request: Request) -> Stream:
        """Checks a request and takes it in; its events come out of the stream.

        Raises:
            InvalidRequest: the request is wrong for this model; names the field.
            Unsupported: this kind of model cannot do it.
            Exhausted: the queue is full; says when to try again.
            NotReady: the engine is draining.
        """
        slot: list[EngineWork] = []
        stream = Stream(lambda: self._post(lambda: self._cancel(slot[0])), lambda: self._post(lambda: None))
        slot.append(await self._admitted(request, stream))
        self._enter(slot[0])
        return stream

    async def check(self, request: Request) -> None:
        """Raises what `submit` would, whether the queue is full or not; takes nothing in."""
        await self._admitted(request, Stream(lambda: None, lambda: None))

    async def _admitted(self, request: Request, stream: Stream) -> EngineWork:
        self._check_open()
        if any(isinstance(edit.edit, Patch) for edit in request.interventions[: self.limits.interventions]):
            request = replace(request, interventions=await self._resolved(request.interventions))
        return await asyncio.get_running_loop().run_in_executor(self._at_door, admitted, self._door, request, stream)

    async def prepare(self, sites: Sequence[str], interventions: tuple[Intervention, ...]) -> Prepared:
        """Checks sites and edits of extractions to come, as `submit` does, and resolves what edits refer to.

        Raises: as `submit`; of what depends on the sentences, nothing.
        """
        self._check_open()
        if any(isinstance(edit.edit, Patch) for edit in interventions[: self.limits.interventions]):
            interventions = await self._resolved(interventions)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._at_door, prepared, self._door, sites, interventions)

    def check_sentence(self, content: Content, *, target: bool = False) -> None:
        """InvalidRequest if a sentence (or what a decoder reads) cannot be run. Works where it is called, on any
        thread."""
        check_sentence(self._door, content, target=target)

    def token_rows(self, content: Content, *, include_special: bool = False, target: bool = False) -> TokenRows:
        """The rows that a sentence has without pooling; else the same."""
        return token_rows(self._door, content, include_special=include_special, target=target)

    async def _resolved(self, interventions: Sequence[Intervention]) -> tuple[Intervention, ...]:
        """Runs the sources of patches, without interventions, and sets the neurons to what they were there."""
        found = list(interventions)
        for number, edit in enumerate(interventions):
            if isinstance(edit.edit, Patch):
                check_patch(edit, number, self._sites)
                site = self._sites.find(edit.site, "site").name
                values = await self._source_values(replace(edit, site=site), edit.edit, number)
                found[number] = replace(edit, edit=Set(values))
        return tuple(found)

    async def _source_values(self, edit: Intervention, patch: Patch, number: int) -> tuple[float, ...]:
        field = f"interventions[{number}].patch"
        try:
            stream = await self.submit(ExtractRequest((patch.source_text,), (edit.site,), include_special_tokens=True))
        except InvalidRequest as error:
            raise InvalidRequest(error.message, reason=error.reason, field=f"{field}.source_text") from error
        async with stream:
            event = await anext(stream)
        assert isinstance(event, SentenceActivations)
        rows = event.captured[edit.site]
        if not -len(rows) <= patch.source_position < len(rows):
            raise InvalidRequest(
                f"position {patch.source_position} is out of range: the source has {len(rows)} tokens, "
                f"{-len(rows)} to {len(rows) - 1}",
                reason="POSITION_OUT_OF_RANGE",
                field=f"{field}.source_position",
            )
        row = rows[patch.source_position]
        return tuple(float(value) for value in (row[list(edit.indices)] if edit.indices else row))

    @property
    def pace(self) -> Pace:
        """How much background work may slow the rest, for what callers do on threads of their own."""
        return self._pace

    def load(self) -> Load:
        """What the engine holds at this moment."""
        works = list(self._works)
        waiting = sum(not work.started for work in works)
        edits = sum(len(work.demand.plan.interventions) for work in works)
        return Load(waiting, len(works) - waiting, self._queued_tokens, edits)

    async def drain(self, seconds: float) -> None:
        """Takes no more requests, lets those running finish for so long, then stops."""
        self._draining = True
        end = time.monotonic() + seconds
        while self._works and time.monotonic() < end:  # noqa: ASYNC110 - the works end on another thread
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Stops the thread; requests that still run fail with NotReady."""
        with self._lock:
            self._draining = True
        self._post(self._begin_stop)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        self._off_thread.shutdown()
        self._at_door.shutdown(wait=False, cancel_futures=True)

    def _begin_stop(self) -> None:
        self._stopping = True

    def _check_open(self) -> None:
        if self._draining:
            raise NotReady("the server is shutting down", reason="DRAINING", retry_after=5.0)

    def _enter(self, work: EngineWork) -> None:
        """Counts a work in, or says at once that the queue is full."""
        with self._lock:
            self._check_open()
            limit = self.limits.queued_tokens
            if self._works and self._queued_tokens + work.tokens > limit:
                raise Exhausted(
                    f"the queue is full: {self._queued_tokens} of {limit} tokens are taken, {work.tokens} asked for",
                    reason="QUEUE_FULL",
                    retry_after=self._retry_after(),
                    quota="queued_tokens",
                )
            self._queued_tokens += work.tokens
            self._works.add(work)
        if not work.background:
            self._pace.arrive()
        self._post(lambda: self._scheduler.add(work))

    def _retry_after(self) -> float:
        rate = self._tokens_per_second or 100.0
        return min(60.0, max(0.5, self._queued_tokens / rate))

    def _post(self, action: Callable[[], None]) -> None:
        self._inbox.put(action)

    # --- on the engine's thread

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while self._go_on():
                self._pause_slow_readers()
                if background := self._background_pass():
                    self._pace.spend(self._step(background))
                elif segments := self._scheduler.next_pass():
                    self._pace.earn(self._step(segments))
                elif self._scheduler.blocked and (background := self._scheduler.background_pass()):
                    self._pace.spend(self._step(background))
                else:
                    self._rest()
        except BaseException:
            _log.exception("the engine's thread ended")
        with self._lock:
            self._draining = True
        for work in list(self._works):
            self._fail(work, NotReady("the server was shut down", reason="DRAINING", retry_after=5.0))
        self._runner.clear()

    def _go_on(self) -> bool:
        self._receive()
        return not self._stopping

    def _receive(self) -> None:
        """Does what callers have posted since the last pass."""
        for _ in range(self._inbox.qsize()):
            self._inbox.get()()

    def _background_pass(self) -> list[Segment]:
        if not self._pace.allows:
            return []
        return self._scheduler.background_pass(None if self._pace.free else _BACKGROUND_TOKENS)

    def _rest(self) -> None:
        """Nothing to run: the model is left as it was found, until somebody calls."""
        if not self._works:
            self._runner.clear()
        with suppress(queue.Empty):
            self._inbox.get(timeout=_LOOK if self._scheduler.has_background else None)()

    def _step(self, segments: list[Segment]) -> float:
        """One pass: run, take what it gave, deliver. Returns the seconds it took."""
        began = time.perf_counter()
        works = self._starting(segments)
        edited = new = 0
        try:
            wanted = {id(segment): _work(segment).wanted(segment) for segment in segments}
            demands = [(segment, _work(segment).demand) for segment in segments]
            for outcome in self._runner.run(demands, wanted):
                new += self._take(outcome)
                edited += outcome.positions_edited
        except Exception as error:
            _log.exception("a pass failed")
            for work in works:
                self._fail(work, EngineFailure(str(error)))
        seconds = time.perf_counter() - began
        self._report(segments, seconds, new, edited)
        return seconds

    def _starting(self, segments: list[Segment]) -> list[EngineWork]:
        works = list({id(segment.sequence.work): _work(segment) for segment in segments}.values())
        for work in works:
            if not work.started:
                work.started = True
                self._observer.on_start(time.perf_counter() - work.arrived)
        return works

    def _pause_slow_readers(self) -> None:
        """An extraction waits while its reader has this much to read, until everything is read."""
        for work in list(self._works):
            if isinstance(work, ExtractWork):
                waiting = work.stream.buffered_bytes
                paused = waiting > (0 if work.paused else self.limits.buffered_bytes)
                if paused != work.paused:
                    self._pause(work, paused=paused)

    def _pause(self, work: EngineWork, *, paused: bool) -> None:
        """A work that waits for its reader slows nobody, and nobody's background work waits for it."""
        work.paused = paused
        if not work.background:
            (self._pace.leave if paused else self._pace.arrive)()

    def _report(self, segments: list[Segment], seconds: float, new: int, edited: int) -> None:
        decode = sum(segment.sequence.decoding for segment in segments)
        tokens = sum(segment.count for segment in segments)
        rate = tokens / max(seconds, 1e-9)
        self._tokens_per_second += 0.1 * (rate - self._tokens_per_second) if self._tokens_per_second else rate
        self._observer.on_step(StepReport(seconds, decode, tokens - decode, new, edited))

    def _take(self, outcome: Outcome) -> int:
        """Books the segments of one forward pass and hands its results to their works; the tokens it generated."""
        # A work may have failed over what another forward pass of the same pass gave.
        segments = [segment for segment in outcome.segments if _work(segment) in self._works]
        self._scheduler.done(segments)
        choosing: list[Segment] = []
        extracting: dict[ExtractWork, list[Segment]] = {}
        for segment in segments:
            match _work(segment):
                case GenerateWork() as work:
                    work.keep_prompt(segment, outcome.captured)
                    if id(segment) in outcome.logits:
                        choosing.append(segment)
                case ScoreWork() | ClassifyWork() | FillMaskWork() as work:
                    if id(segment) in outcome.logits and not work.finished:
                        self._guarded(work, partial(work.take, segment, outcome.logits_of(segment)))
                case ExtractWork() as work:
                    extracting.setdefault(work, []).append(segment)
        if choosing:
            self._choose(choosing, outcome)
        for extract, extracted in extracting.items():
            self._extract(extract, extracted, outcome)
        return len(choosing)

    def _guarded(self, work: EngineWork, action: Callable[[], None]) -> None:
        """An error of one work is its own."""
        try:
            action()
        except PatchclampError as error:
            self._fail(work, error)
        except Exception as error:
            _log.exception("what a request was given could not be used")
            self._fail(work, EngineFailure(str(error)))
        else:
            if work.finished:
                self._forget(work)

    def _choose(self, segments: list[Segment], outcome: Outcome) -> None:
        works = [_generating(segment) for segment in segments]
        chosen = choose(
            torch.cat([outcome.logits_of(segment) for segment in segments]),
            [work.sampler for work in works],
            [work.seen for work in works],
            [work.request.top_logprobs for work in works],
            [work.forced for work in works],
        )
        for row, (segment, work) in enumerate(zip(segments, works, strict=True)):
            captured = {site.name: outcome.captured.of(segment, site.name)[-1:] for site in work.demand.choosing_sites}
            self._guarded(work, partial(work.take, chosen, row, captured))

    def _extract(self, work: ExtractWork, segments: list[Segment], outcome: Outcome) -> None:
        future = work.take(segments, outcome, self._off_thread)
        if future:
            future.add_done_callback(lambda done: self._give_up(work) if done.exception() else None)
            self._rows_ahead.append(future)
        while len(self._rows_ahead) > _PASSES_AHEAD:
            self._rows_ahead.popleft().exception()
        if work.finished:
            self._forget(work)

    def _give_up(self, work: ExtractWork) -> None:
        """Its rows could not be made, which its reader has been told."""
        self._post(lambda: self._cancel(work))

    def _cancel(self, work: EngineWork) -> None:
        work.cancelled = True
        self._forget(work)

    def _fail(self, work: EngineWork, error: PatchclampError) -> None:
        if not work.finished:
            work.finished = True
            work.stream.put(error)
        self._forget(work)

    def _forget(self, work: EngineWork) -> None:
        """Takes a work out: its slots are free, its tokens no longer count."""
        if work not in self._works:
            return
        slots = self._scheduler.remove(work)
        for sequence in work.held():
            self._runner.ended(sequence)
        for slot in slots:
            self._close_gap(slot)
        if not (work.background or work.paused):
            self._pace.leave()
        with self._lock:
            self._works.discard(work)
            self._queued_tokens -= work.tokens

    def _close_gap(self, gap: Slot) -> None:
        """Moves the last decoding sequence of a pool into a slot that has become free, so that those that decode
        stay side by side."""
        pool = [
            sequence
            for sequence in self._scheduler.decoding
            if sequence.slot and sequence.slot.capacity == gap.capacity and sequence.slot.index > gap.index
        ]
        if pool:
            last = pool[-1]
            assert last.slot is not None
            self._runner.moved(last.slot, gap, last.computed)
            self._scheduler.move(last, gap)


def _work(segment: Segment) -> EngineWork:
    work = segment.sequence.work
    assert isinstance(work, EngineWork)
    return work


def _generating(segment: Segment) -> GenerateWork:
    work = segment.sequence.work
    assert isinstance(work, GenerateWork)
    return work
