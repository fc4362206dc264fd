"""What filters keep: the limits hold, draws are fair, and the same seed keeps the same units everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.sets.row_selection import RowFilter, RowSelection, Unit

Given = list[tuple[str, str]]

units = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "N", "V"])), max_size=40)
filters = st.builds(
    RowFilter,
    layer=st.just("upos"),
    labelled_only=st.booleans(),
    labels=st.frozensets(st.sampled_from(["N", "V", "X"])),
    per_label=st.integers(0, 6),
    per_word_type=st.integers(0, 6),
    seed=st.integers(0, 2**64 - 1),
)


def kept(rule: RowFilter, given: Given) -> list[int]:
    """Numbers of what is kept; five units make a sentence."""
    found = [Unit(number // 5, number % 5, *unit) for number, unit in enumerate(given)]
    selection = RowSelection.draw(rule, lambda: iter(found))
    return [number for number, unit in enumerate(found) if selection.keeps(unit)]


@given(filters, units)
def test_what_is_kept_fits_and_the_limits_are_met(rule: RowFilter, given: Given) -> None:
    fitting = [number for number, (_, label) in enumerate(given) if rule.fits(label)]
    found = kept(rule, given)
    assert set(found) <= set(fitting)
    by_word = Counter(given[number][0] for number in fitting)
    if rule.per_word_type:
        by_word = Counter({word: min(count, rule.per_word_type) for word, count in by_word.items()})
    words = Counter(given[number][0] for number in found)
    if rule.per_label:
        assert all(count <= rule.per_label for count in Counter(given[number][1] for number in found).values())
        assert all(words[word] <= by_word[word] for word in words)
    else:
        assert words == by_word  # as many as there are, up to the limit


@given(filters, units)
def test_of_each_label_as_many_as_the_word_types_leave(rule: RowFilter, given: Given) -> None:
    unlimited = replace(rule, per_label=0, labelled_only=rule.needs_layer)
    left = Counter(given[number][1] for number in kept(unlimited, given))
    expected = {label: min(count, rule.per_label or count) for label, count in left.items()}
    assert Counter(given[number][1] for number in kept(rule, given)) == expected


@pytest.mark.parametrize(
    ("label", "rule", "fits"),
    [
        ("", RowFilter(), True),
        ("N", RowFilter("upos"), True),
        ("", RowFilter("upos"), True),
        ("", RowFilter("upos", labelled_only=True), False),
        ("", RowFilter("upos", per_label=3), False),
        ("N", RowFilter("upos", per_label=3), True),
        ("N", RowFilter("upos", labels=frozenset({"V"})), False),
        ("V", RowFilter("upos", labels=frozenset({"V"})), True),
    ],
)
def test_fits(label: str, rule: RowFilter, fits: bool) -> None:
    assert rule.fits(label) is fits


@pytest.mark.parametrize("limit", ["per_label", "per_word_type"])
def test_every_unit_is_as_likely(limit: str) -> None:
    """20 units, 5 kept, 2,000 seeds: each is kept 500 ± 19 times; five standard deviations are allowed."""
    times = Counter(
        number
        for seed in range(2000)
        for number in kept(RowFilter("upos", seed=seed, **{limit: 5}), [("a", "N")] * 20)  # type: ignore[arg-type]
    )
    assert min(times.values()) > 500 - 97
    assert max(times.values()) < 500 + 97


def test_the_two_draws_are_independent() -> None:
    """Words in pairs of which one is kept: which labels go must not follow from which words went."""
    given = [(str(k // 2), "N") for k in range(400)]
    rule = RowFilter("upos", per_word_type=1, per_label=100, seed=1)
    first = [k % 2 for k in kept(rule, given)]
    assert len(first) == 100
    assert 25 < sum(first) < 75


def test_the_same_seed_keeps_the_same_whatever_the_hash_seed() -> None:
    code = (
        "from patchclamp_analysis.sets.row_selection import *\n"
        "units = [Unit(k // 9, k % 9, str(k % 7), 'NV'[k % 2]) for k in range(300)]\n"
        "drawn = RowSelection.draw(RowFilter('l', per_label=20, per_word_type=9, seed=5), lambda: units)\n"
        "print([k for k, unit in enumerate(units) if drawn.keeps(unit)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(printed) == 1
    assert printed != {b"[]\n"}


def many(count: int) -> Iterator[Unit]:
    """Units of two labels, the second rare; ten make a sentence."""
    return (
        Unit(number // 10, number % 10, str(number % 3), "V" if number % 5 == 0 else "N") for number in range(count)
    )


@pytest.mark.parametrize("limit", [255, 256, 257, 700, 1599, 1600, 1601, 6400, 10_000])
def test_large_and_small_limits_draw_alike(limit: int) -> None:
    """A draw of more keeps all that a draw of less does, and exactly as many as there may be."""
    less, more = (
        {
            (unit.sentence, unit.place)
            for selection in (RowSelection.draw(RowFilter("l", per_label=most, seed=7), lambda: many(8000)),)
            for unit in many(8000)
            if selection.keeps(unit)
        }
        for most in (200, limit)
    )
    assert less < more
    assert len(more) == min(limit, 6400) + min(limit, 1600)


def test_of_each_word_type_too() -> None:
    selection = RowSelection.draw(RowFilter(per_word_type=900, seed=3), lambda: many(8000))
    assert Counter(unit.word for unit in many(8000) if selection.keeps(unit)) == {"0": 900, "1": 900, "2": 900}


def test_a_very_large_limit_keeps_no_ticket_a_word_in_memory() -> None:
    """A Python integer and its place in a list take some 50 bytes."""
    count = 60_000
    tracemalloc.start()
    try:
        RowSelection.draw(RowFilter("l", per_label=count // 2), lambda: many(count))
        assert tracemalloc.get_traced_memory()[1] < 5 * count
    finally:
        tracemalloc.stop()
