"""How far an operation is, and how fast."""

from __future__ import annotations

import threading

import pytest
from patchclamp_service.jobs.progress import JobContext


class Clock:
    """Says what it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def context(clock: Clock) -> JobContext:
    return JobContext("operations/a", "things/a", 1, clock)


def rate_at(context: JobContext, clock: Clock, now: float, done: int, stage: str = "extracting") -> float:
    clock.now = now
    context.report(stage, done, 1000, "rows")
    return float(context.measured().rate)


def test_it_says_what_was_reported_last(context: JobContext) -> None:
    assert context.measured().stage == "starting"
    context.report("tokenising", 1, 2, "sentences")
    context.report("extracting", 3, 4, "rows")
    found = context.measured()
    assert (found.stage, found.done, found.total, found.unit) == ("extracting", 3, 4, "rows")


def test_the_rate_is_that_of_the_last_seconds(context: JobContext, clock: Clock) -> None:
    assert rate_at(context, clock, 0, 0) == 0
    assert rate_at(context, clock, 1, 100) == 100
    assert rate_at(context, clock, 2, 120) == 60
    for second in range(3, 14):
        rate = rate_at(context, clock, second, 120 + 5 * (second - 2))
    assert rate == 5
    for second in range(14, 30):
        rate = rate_at(context, clock, second, 175)
    assert rate == 0


def test_what_an_earlier_attempt_did_is_no_speed(context: JobContext, clock: Clock) -> None:
    assert rate_at(context, clock, 5, 900) == 0
    assert rate_at(context, clock, 6, 910) == 10


def test_a_stage_has_a_rate_of_its_own(context: JobContext, clock: Clock) -> None:
    rate_at(context, clock, 0, 0)
    rate_at(context, clock, 1, 100)
    assert rate_at(context, clock, 2, 0, "statistics") == 0
    assert rate_at(context, clock, 3, 7, "statistics") == 7


def test_going_back_begins_anew(context: JobContext, clock: Clock) -> None:
    rate_at(context, clock, 0, 500)
    assert rate_at(context, clock, 1, 400) == 0


def test_nonsense_is_kept_within_bounds(context: JobContext) -> None:
    context.report("extracting", -1, -5)
    assert (context.measured().done, context.measured().total) == (0, 0)


def test_reports_of_many_threads(context: JobContext) -> None:
    """Stage, done, total and unit always belong together."""

    def tell(number: int) -> None:
        for _ in range(2000):
            context.report(str(number), number, number, str(number))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = context.measured()
        assert found.stage == "starting" or found.stage == found.unit == str(found.done) == str(found.total)
    for thread in threads:
        thread.join()
