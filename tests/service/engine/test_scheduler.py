"""Nothing is lost, none starves, the budget is kept: whatever comes and whenever."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_service.engine.scheduler import Budget, Scheduler, Segment, Sequence, Work, pool_capacity


@dataclass(eq=False)
class Job:
    """One request of a simulation and what has been run of it."""

    work: Work
    sequences: list[Sequence]
    new_tokens: int = 0
    run: dict[int, list[int]] = field(default_factory=dict)


def generation(prompt: int, new: int, *, atomic: bool = False) -> Job:
    work = Work(tokens=prompt + new, interactive=True)
    sequence = Sequence(list(range(prompt)), work, prompt_length=prompt, capacity=prompt + new, atomic=atomic)
    work.pending.append(sequence)
    return Job(work, [sequence], new)


def bulk(lengths: list[int], *, atomic: bool, background: bool = False) -> Job:
    work = Work(tokens=sum(lengths), background=background)
    sequences = [Sequence(list(range(n)), work, prompt_length=n, atomic=atomic) for n in lengths]
    work.pending.extend(sequences)
    return Job(work, sequences)


def scored(prompt: int, continuations: list[int], *, atomic: bool = False) -> Job:
    work = Work(tokens=prompt + sum(continuations))
    parent = Sequence(list(range(prompt)), work, prompt_length=prompt, atomic=atomic)
    parent.children = [Sequence(list(range(n)), work, prompt_length=0, parent=parent) for n in continuations]
    work.pending.append(parent)
    return Job(work, [parent, *parent.children])


jobs = st.one_of(
    st.builds(generation, st.integers(1, 90), st.integers(1, 8), atomic=st.booleans()),
    st.builds(
        bulk, st.lists(st.integers(1, 90), min_size=1, max_size=6), atomic=st.booleans(), background=st.booleans()
    ),
    st.builds(scored, st.integers(1, 90), st.lists(st.integers(1, 30), max_size=4), atomic=st.booleans()),
)
budgets = st.builds(
    Budget,
    batch_tokens=st.integers(1, 64),
    prefill_tokens=st.integers(1, 32),
    running=st.integers(1, 4),
    cache_tokens=st.sampled_from([512, 1024, 2048]),
)


def finished(job: Job) -> bool:
    if job.work.interactive:
        return len(job.sequences[0].ids) >= job.sequences[0].prompt_length + job.new_tokens
    return all(not sequence.remaining for sequence in job.sequences)


def check_pass(segments: list[Segment], budget: Budget) -> None:
    decode = [segment for segment in segments if segment.sequence.decoding]
    prompts = [segment for segment in segments if not segment.sequence.decoding]
    assert len(decode) <= budget.running
    room = budget.prefill_tokens if decode else budget.batch_tokens
    tokens = sum(segment.count for segment in prompts)
    uncut = len(prompts) == 1 and (prompts[0].sequence.atomic or prompts[0].sequence.parent)
    assert tokens <= room or uncut
    slots = [segment.sequence.slot for segment in segments if segment.sequence.slot]
    assert len({(slot.capacity, slot.index) for slot in slots}) == len({id(slot) for slot in slots})


def run(schedule: list[Job], budget: Budget, cancelled: set[int]) -> int:
    scheduler = Scheduler(budget)
    for job in schedule:
        scheduler.add(job.work)
    for number in cancelled:
        if number < len(schedule):
            scheduler.remove(schedule[number].work)
    left = [job for number, job in enumerate(schedule) if number not in cancelled]
    passes = 0
    while left:
        # As the engine does: background work has its turn by allowance, or when all else waits for room.
        allowed = passes % 3 == 2
        segments = (scheduler.background_pass(8) if allowed else []) or scheduler.next_pass()
        segments = segments or scheduler.background_pass()
        assert len({segment.sequence.work.background for segment in segments}) == 1
        assert segments, "work is left and nothing runs"
        check_pass(segments, budget)
        passes += 1
        for segment in segments:
            assert segment.start == segment.sequence.computed
            assert not segment.sequence.atomic or segment.ends
            if segment.sequence.parent:
                parent = segment.sequence.parent
                ahead = [other for other in segments if other.sequence is parent]
                assert not parent.remaining or (ahead and ahead[0].ends)
        scheduler.done(segments)
        for segment in segments:
            sequence = segment.sequence
            if sequence.decoding and not sequence.remaining:
                sequence.ids.append(0)
        for job in list(left):
            if finished(job):
                left.remove(job)
                scheduler.remove(job.work)
    assert scheduler.idle
    assert scheduler.cache_tokens_used == 0
    return passes


@settings(deadline=None, max_examples=300)
@given(st.lists(jobs, min_size=1, max_size=8), budgets, st.sets(st.integers(0, 7), max_size=3))
def test_everything_is_run_once_and_in_order(schedule: list[Job], budget: Budget, cancelled: set[int]) -> None:
    run(schedule, budget, cancelled)
    for number, job in enumerate(schedule):
        if number not in cancelled and not job.work.interactive:
            assert all(sequence.computed == len(sequence.ids) for sequence in job.sequences)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 16))
def test_a_small_work_does_not_wait_for_large_ones(others: int, room: int) -> None:
    scheduler = Scheduler(Budget(batch_tokens=room, prefill_tokens=room))
    for _ in range(others):
        scheduler.add(bulk([room] * 50, atomic=False).work)
    small = bulk([1], atomic=False)
    scheduler.add(small.work)
    for _ in range(others + 1):
        scheduler.done(scheduler.next_pass())
    assert not small.sequences[0].remaining


def test_a_long_prompt_is_cut_beside_others_that_decode() -> None:
    scheduler = Scheduler(Budget(batch_tokens=64, prefill_tokens=8))
    quick, long = generation(4, 100), generation(200, 4)
    scheduler.add(quick.work)
    scheduler.done(scheduler.next_pass())
    quick.sequences[0].ids.append(0)
    scheduler.add(long.work)
    segments = scheduler.next_pass()
    assert [(segment.sequence.decoding, segment.count) for segment in segments] == [(True, 1), (False, 8)]


def test_background_work_waits_for_a_pass_of_its_own() -> None:
    scheduler = Scheduler(Budget(batch_tokens=64))
    background, other = bulk([10, 10, 10], atomic=False, background=True), bulk([5], atomic=False)
    scheduler.add(background.work)
    scheduler.add(other.work)
    assert [segment.sequence for segment in scheduler.next_pass()] == other.sequences
    assert [segment.sequence for segment in scheduler.background_pass(20)] == background.sequences[:2]
    assert scheduler.has_background


def test_a_background_work_that_asks_for_room_is_passed_by() -> None:
    scheduler = Scheduler(Budget(cache_tokens=1024, batch_tokens=64, prefill_tokens=16))
    scheduler.add(generation(4, 40).work)
    scheduler.done(scheduler.next_pass())
    scheduler.add(bulk([600], atomic=False, background=True).work)
    assert not scheduler.background_pass(64)
    second = generation(4, 40)
    scheduler.add(second.work)
    assert second.sequences[0] in [segment.sequence for segment in scheduler.next_pass()]


def test_a_paused_work_gives_way_and_goes_on() -> None:
    scheduler = Scheduler(Budget())
    job = bulk([5, 5], atomic=False)
    scheduler.add(job.work)
    job.work.paused = True
    assert scheduler.next_pass() == []
    job.work.paused = False
    assert len(scheduler.next_pass()) == 2


@pytest.mark.parametrize(("tokens", "capacity"), [(1, 512), (512, 512), (513, 2048), (8192, 8192), (8193, 32768)])
def test_pools_are_few(tokens: int, capacity: int) -> None:
    assert pool_capacity(tokens) == capacity


def test_who_asks_for_much_of_the_cache_is_not_passed_by_for_ever() -> None:
    scheduler = Scheduler(Budget(cache_tokens=2048, batch_tokens=64, prefill_tokens=16))
    small = [generation(4, 40 + 7 * k) for k in range(4)]
    for job in small:
        scheduler.add(job.work)
    long = bulk([600], atomic=False)
    for number in range(400):
        if number == 1:
            scheduler.add(long.work)
        segments = scheduler.next_pass()
        scheduler.done(segments)
        for segment in segments:
            if segment.sequence.decoding and not segment.sequence.remaining:
                segment.sequence.ids.append(0)
        for job in list(small):
            if finished(job):
                small.remove(job)
                scheduler.remove(job.work)
                small.append(generation(4, 40))
                scheduler.add(small[-1].work)
    assert not long.sequences[0].remaining
