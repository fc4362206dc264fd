"""Background work spends what foreground work earns."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_service.engine.pace import Pace

SECONDS = st.floats(0.001, 0.5)


def test_it_runs_freely_while_nobody_is_there() -> None:
    pace = Pace(0.0)
    pace.spend(100.0)
    assert pace.free
    assert pace.allows


def test_nothing_runs_beside_others_without_a_share() -> None:
    pace = Pace(0.0)
    pace.arrive()
    pace.earn(100.0)
    assert not pace.allows
    pace.leave()
    assert pace.allows


@given(st.floats(0.01, 1.0), st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=200))
def test_others_are_slowed_by_the_share_and_one_pass_at_most(share: float, turns: list[tuple[float, float]]) -> None:
    pace = Pace(share)
    pace.arrive()
    foreground = background = 0.0
    for earned, spent in turns:
        if pace.allows:
            pace.spend(spent)
            background += spent
        pace.earn(earned)
        foreground += earned
        assert background <= share * foreground + 0.5


def test_it_goes_on_after_a_slow_pass() -> None:
    pace = Pace(0.5)
    pace.arrive()
    pace.earn(0.1)
    pace.spend(1000.0)
    pace.earn(4.1)
    assert pace.allows


@given(share=st.floats(0.01, 1.0), seconds=SECONDS)
def test_work_beside_the_passes_takes_its_share_of_the_time(share: float, seconds: float) -> None:
    pace = Pace(share)
    assert pace.rest(seconds) == 0
    pace.arrive()
    assert pace.rest(seconds) * share == pytest.approx(seconds)
    pace.leave()
    assert pace.rest(seconds) == 0


def test_work_beside_the_passes_leaves_less_for_background_passes() -> None:
    pace = Pace(0.5)
    pace.arrive()
    pace.rest(0.01)
    pace.earn(0.02)
    assert not pace.allows
    pace.earn(0.02)
    assert pace.allows


def test_without_a_share_it_rests_until_nobody_is_there() -> None:
    pace = Pace(0.0)
    pace.arrive()
    assert pace.rest(0.01) == math.inf


def test_a_slow_step_does_not_rest_for_ever() -> None:
    pace = Pace(0.25)
    pace.arrive()
    assert pace.rest(1000.0) == 8.0
