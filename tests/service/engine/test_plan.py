"""Folding edits into four numbers is the same as applying them one after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_service.engine.interventions import Task, build_operations
from patchclamp_service.engine.plan import Counts, Plan, Vocabulary
from patchclamp_service.engine.requests import (
    Ablate,
    Add,
    Clip,
    Condition,
    Edit,
    Intervention,
    MoveTo,
    Positions,
    ProjectOut,
    Scale,
    Set,
)

WIDTH = 9
VOCABULARY = Vocabulary(np.arange(20) < 2, lambda text: np.asarray([int(text)]))

numbers = st.floats(-4, 4, width=32)
edits = st.one_of(
    st.just(Ablate()),
    st.builds(lambda value: Set((value,)), numbers),
    st.builds(Scale, numbers),
    st.builds(lambda value: Add((value,)), numbers),
    st.builds(lambda low, size: Clip(low, low + size), numbers, st.floats(0, 3, width=32)),
    st.builds(lambda low: Clip(low, None), numbers),
    st.builds(lambda value, weight: MoveTo((value,), weight), numbers, st.floats(0.125, 1, width=32)),
)
positions = st.builds(
    Positions,
    prompt=st.booleans(),
    generated=st.booleans(),
    indices=st.lists(st.integers(-3, 2), max_size=2).map(tuple),
    tokens=st.lists(st.sampled_from(["3", "4"]), max_size=1).map(tuple),
    exclude_special_tokens=st.booleans(),
)
interventions = st.builds(
    Intervention,
    site=st.just("a"),
    edit=edits,
    indices=st.sets(st.integers(0, WIDTH - 1), max_size=WIDTH).map(lambda found: tuple(sorted(found))),
    positions=positions,
    condition=st.one_of(st.none(), st.builds(Condition, st.just("a"), st.integers(0, WIDTH - 1), above=numbers)),
)


def changed(edit: Edit, x: float) -> float:
    match edit:
        case Ablate():
            return 0.0
        case Set((value,)):
            return value
        case Scale(factor):
            return factor * x
        case Add((value,)):
            return x + value
        case Clip(low, high):
            return float(np.clip(x, low, high if high is not None else np.inf))
        case MoveTo((value,), weight):
            return (1 - weight) * x + weight * value
    raise AssertionError(edit)


def selects(edit: Intervention, token: int, place: int, prompt: int) -> bool:
    wanted = edit.positions
    if wanted.exclude_special_tokens and token < 2:
        return False
    in_prompt = place < prompt
    return (
        wanted.everywhere
        or (wanted.prompt and in_prompt)
        or (wanted.generated and not in_prompt)
        or (in_prompt and place in [index % prompt for index in wanted.indices])
        or str(token) in wanted.tokens
    )


def one_by_one(edits: list[Intervention], values: np.ndarray, ids: list[int], prompt: int) -> np.ndarray:
    values = values.copy()
    for place, token in enumerate(ids):
        for edit in edits:
            if not selects(edit, token, place, prompt):
                continue
            gate = edit.condition
            if gate and not values[place, gate.index] > np.float32(gate.above):
                continue
            for neuron in edit.indices or range(WIDTH):
                values[place, neuron] = changed(edit.edit, values[place, neuron])
    return values


def applied(edits: list[Intervention], values: np.ndarray, ids: list[int], prompt: int) -> np.ndarray:
    plan = Plan(edits, {"a": WIDTH}, VOCABULARY)
    depths: list[list[Task]] = []
    for variant, where in plan.at(ids, 0, prompt):
        rows = list(range(len(ids))) if where is None else where.tolist()
        for depth, stage in enumerate(variant.stages["a"]):
            depths += [[] for _ in range(depth + 1 - len(depths))]
            depths[depth].append((stage, rows, Counts()))
    tensor = torch.from_numpy(values.copy())
    for operation in build_operations(depths, WIDTH, torch.device("cpu")):
        operation(tensor, lambda gate, rows: tensor[rows, gate.index].clone())
    return tensor.numpy()


@settings(deadline=None, max_examples=400)
@given(st.lists(interventions, min_size=1, max_size=5), st.lists(st.integers(0, 6), min_size=3, max_size=6))
def test_folded_edits_equal_edits_one_by_one(edits: list[Intervention], ids: list[int]) -> None:
    values = np.random.default_rng(0).normal(size=(len(ids), WIDTH)).astype(np.float32) * 2
    expected = one_by_one(edits, values, ids, 3)
    np.testing.assert_allclose(applied(edits, values, ids, 3), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("edit", [Ablate(), Set((1.5,)), Scale(0.0), MoveTo((1.5,))])
@pytest.mark.parametrize("indices", [(2,), tuple(range(WIDTH))])
def test_what_is_written_does_not_depend_on_what_was_there(edit: Edit, indices: tuple[int, ...]) -> None:
    values = np.full((2, WIDTH), np.inf, dtype=np.float32)
    values[1] = np.nan
    got = applied([Intervention("a", edit, indices)], values, [5, 5], 2)
    assert (got[:, list(indices)] == (1.5 if isinstance(edit, Set | MoveTo) else 0.0)).all()


def test_a_direction_is_removed_whatever_its_length() -> None:
    direction = np.arange(WIDTH, dtype=np.float32) * 100
    values = np.random.default_rng(1).normal(size=(3, WIDTH)).astype(np.float32)
    got = applied([Intervention("a", ProjectOut(direction))], values, [5, 5, 5], 3)
    unit = direction / np.linalg.norm(direction)
    np.testing.assert_allclose(got @ unit, 0, atol=1e-5)
    np.testing.assert_allclose(got, values - np.outer(values @ unit, unit), atol=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (Intervention("a", Ablate(), (1, 3)), Intervention("a", Ablate(), (3, 1)), True),
        (Intervention("a", Ablate(), (1,)), Intervention("a", Set((0.0,)), (1,)), True),
        (Intervention("a", Set((1.0, 2.0)), (1, 3)), Intervention("a", Set((2.0, 1.0)), (3, 1)), True),
        (Intervention("a", Ablate()), Intervention("a", Ablate(), tuple(range(WIDTH))), True),
        (Intervention("a", MoveTo((1.5,)), (1,)), Intervention("a", Set((1.5,)), (1,)), True),
        (Intervention("a", MoveTo((1.5,), 0.5), (1,)), Intervention("a", MoveTo((1.5,), 0.25), (1,)), False),
        (Intervention("a", Ablate(), (1,)), Intervention("a", Ablate(), (2,)), False),
        (Intervention("a", Scale(2.0), (1,)), Intervention("a", Scale(2.5), (1,)), False),
        (
            Intervention("a", Scale(2.0), (1,)),
            Intervention("a", Scale(2.0), (1,), positions=Positions(prompt=True)),
            False,
        ),
    ],
)
def test_equal_edits_have_equal_digests(one: Intervention, other: Intervention, equal: bool) -> None:
    first, second = (Plan([edit], {"a": WIDTH}, VOCABULARY).digest for edit in (one, other))
    assert (first == second) is equal
    assert len(first) == 64


def test_no_edits_have_no_digest() -> None:
    assert Plan([], {}, VOCABULARY).digest == ""
