from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.errors import Cancelled
from patchclamp_analysis.progress import QUIET, Progress


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_parts_add_up_to_the_whole(lengths):
    seen: list[float] = []
    whole = Progress(seen.append)
    for number, length in enumerate(lengths):
        part = whole.part(number / len(lengths), (number + 1) / len(lengths))
        assert list(part.each(range(length))) == list(range(length))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_parts_of_parts():
    seen: list[float] = []
    Progress(seen.append).part(0.5, 1.0).part(0.0, 0.5).at(1, 2)
    assert seen == [0.625]


def test_cancelled_before_anything_is_done():
    with pytest.raises(Cancelled):
        next(Progress(cancelled=lambda: True).each([1]))


def test_quiet_reports_nothing():
    assert list(QUIET.each([1, 2])) == [1, 2]
