"""Edits: what each function puts on the wire, and their notation."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from patchclamp import (
    Condition,
    Intervention,
    Interventions,
    Neurons,
    NotationError,
    Positions,
    ablate,
    add,
    clip,
    interventions_from_json,
    interventions_to_json,
    parse_intervention,
    patch,
    project_out,
    scale,
    set_,
    set_to_mean,
)
from patchclamp._intervention_lists import flatten
from patchclamp.v1 import common_pb2, intervention_pb2

N = "layers.1.neurons[2,5]"
WIRE_N = 'neurons { site: "layers.1.neurons" indices: 2 indices: 5 }'

CASES: list[tuple[Intervention, str, str]] = [
    (ablate(N), "ablate {}", "ablate layers.1.neurons[2,5]"),
    (set_(N, 2), "set { values: 2 }", "set layers.1.neurons[2,5] 2"),
    (set_(N, [2, -0.5]), "set { values: [2, -0.5] }", "set layers.1.neurons[2,5] 2 -0.5"),
    (scale(N, 0.1), "scale { factor: 0.1 }", "scale layers.1.neurons[2,5] 0.1"),
    (add(N, np.array([1.5, 2])), "add { values: [1.5, 2] }", "add layers.1.neurons[2,5] 1.5 2"),
    (clip(N, min=-1, max=1), "clip { min: -1 max: 1 }", "clip layers.1.neurons[2,5] -1 1"),
    (clip(N, max=0), "clip { max: 0 }", "clip layers.1.neurons[2,5] -inf 0"),
    (
        set_to_mean(N, "activationSets/a", label="noun", weight=0.5),
        'set_to_mean { activation_set: "activationSets/a" label: "noun" weight: 0.5 }',
        'set_to_mean layers.1.neurons[2,5] "activationSets/a" "noun" 0.5',
    ),
    (
        patch(N, 'He said "no"'),
        "patch { source_text: 'He said \"no\"' source_position: -1 }",
        r'patch layers.1.neurons[2,5] "He said \"no\"" -1',
    ),
    (
        ablate(N, positions=Positions(prompt=True, generated=True)),
        "ablate {} positions { prompt: true generated: true }",
        "ablate layers.1.neurons[2,5] @prompt @generated",
    ),
    (
        ablate(N, positions=Positions(indices=[0, -1], tokens=[" she", "]"], exclude_special_tokens=True)),
        'ablate {} positions { indices: [0, -1] tokens: [" she", "]"] exclude_special_tokens: true }',
        'ablate layers.1.neurons[2,5] @indices[0,-1] @tokens[" she","]"] @no-special',
    ),
    (ablate(N, positions=Positions()), "ablate {} positions {}", "ablate layers.1.neurons[2,5] @all"),
    (
        scale(N, -3, when=Condition("layers.0.mlp[7]", above=1.0)),
        'scale { factor: -3 } condition { neurons { site: "layers.0.mlp" indices: 7 } above: 1 }',
        "scale layers.1.neurons[2,5] -3 when layers.0.mlp[7] > 1",
    ),
    (
        ablate(N, positions=Positions(prompt=True), when=Condition("layers.0.mlp[7]", above=0, below=1e-5)),
        "ablate {} positions { prompt: true } "
        'condition { neurons { site: "layers.0.mlp" indices: 7 } above: 0 below: 1e-5 }',
        "ablate layers.1.neurons[2,5] @prompt when layers.0.mlp[7] > 0 < 1e-05",
    ),
]


@pytest.mark.parametrize(("intervention", "wire", "text"), CASES, ids=[text for _, _, text in CASES])
def test_wire_and_notation(intervention: Intervention, wire: str, text: str) -> None:
    assert intervention.to_proto() == text_format.Parse(f"{WIRE_N} {wire}", intervention_pb2.Intervention())
    assert str(intervention) == text
    assert parse_intervention(text) == intervention


def test_a_direction_goes_as_a_tensor() -> None:
    intervention = project_out("layers.1.residual", np.array([0.5, -1, 2], np.float64))
    direction = intervention.to_proto().project_out.direction
    assert (direction.dtype, list(direction.shape)) == (common_pb2.FLOAT32, [3])
    assert np.frombuffer(direction.data, "<f4").tolist() == [0.5, -1, 2]
    assert str(intervention) == "project_out layers.1.residual 0.5 -1 2"
    assert parse_intervention(str(intervention)) == intervention


# protobuf writes the largest floats to JSON so rounded that it does not read them back.
NUMBERS = st.floats(-(2.0**127), 2.0**127, width=32)
WEIGHTS = st.floats(0, 1, width=32, exclude_min=True)
# Text that JSON and protobuf can both carry: no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NEURONS = st.builds(
    Neurons,
    st.sampled_from(["layers.1.neurons", "embeddings", "module:a.b.input"]),
    st.lists(st.integers(0, 99), unique=True),
)
WHERE = st.fixed_dictionaries(
    {},
    optional={
        "positions": st.builds(
            Positions,
            prompt=st.booleans(),
            generated=st.booleans(),
            indices=st.lists(st.integers(-999_999, 999_999), max_size=4),
            tokens=st.lists(TEXTS, max_size=3),
            exclude_special_tokens=st.booleans(),
        ),
        "when": st.one_of(
            st.builds(Condition, NEURONS, above=NUMBERS),
            st.builds(Condition, NEURONS, above=st.none() | NUMBERS, below=NUMBERS),
        ),
    },
)
ARGUMENTS: list[tuple[Any, st.SearchStrategy[dict[str, Any]]]] = [
    (ablate, st.just({})),
    (set_, st.fixed_dictionaries({"values": st.lists(NUMBERS, min_size=1, max_size=4)})),
    (scale, st.fixed_dictionaries({"factor": NUMBERS})),
    (add, st.fixed_dictionaries({"offsets": st.lists(NUMBERS, min_size=1, max_size=4)})),
    (clip, st.fixed_dictionaries({"min": st.none() | NUMBERS, "max": st.none() | NUMBERS})),
    (set_to_mean, st.fixed_dictionaries({"activation_set": TEXTS, "label": TEXTS, "weight": WEIGHTS})),
    (patch, st.fixed_dictionaries({"source_text": TEXTS, "source_position": st.integers(-999, 999)})),
]
EDITS = st.one_of(
    *(
        st.builds(lambda make, n, arguments, where: make(n, **arguments, **where), st.just(make), NEURONS, given, WHERE)
        for make, given in ARGUMENTS
    )
)


@given(EDITS)
def test_the_notation_loses_nothing(intervention: Intervention) -> None:
    assert parse_intervention(str(intervention)) == intervention


@given(st.lists(EDITS, max_size=3))
def test_json_loses_nothing(interventions: list[Intervention]) -> None:
    assert interventions_from_json(interventions_to_json(interventions)) == interventions


@given(EDITS)
def test_interventions_are_values(intervention: Intervention) -> None:
    copy = Intervention(intervention.to_proto())
    assert copy == intervention
    assert hash(copy) == hash(intervention)
    assert pickle.loads(pickle.dumps(intervention)) == intervention


def test_what_was_handed_out_cannot_change_an_intervention() -> None:
    intervention = ablate(N)
    intervention.to_proto().neurons.site = "elsewhere"
    assert intervention == ablate(N)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "an edit: ablate, set"),
        ("ablat layers.1.mlp", 1, "did you mean 'ablate'?"),
        ("ablate", 7, "the notation of neurons"),
        ("ablate layers.1.mlp[x]", 21, "'x' is no index"),
        ("ablate layers.1.mlp 3", 21, "should end here"),
        ("scale layers.1.mlp", 19, "a factor is missing"),
        ("scale layers.1.mlp much", 20, "'much' is not a factor"),
        ("scale layers.1.mlp nan", 20, "finite in float32"),
        ("scale layers.1.mlp 1e39", 20, "finite in float32"),
        ("set layers.1.mlp", 17, "a value is missing"),
        ("clip layers.1.mlp -inf 1e39", 24, "finite in float32"),
        ("clip layers.1.mlp 1", 20, "the upper bound"),
        ("patch layers.1.mlp", 19, "the source text"),
        ('patch layers.1.mlp "a', 20, "'\"' is never closed"),
        ("ablate layers.1.mlp[1", 20, "'[' is never closed"),
        (r'patch layers.1.mlp "\q"', 20, "string as in JSON"),
        ("patch layers.1.mlp a b", 22, "a position in the source text"),
        ("ablate layers.1.mlp @promt", 21, "a selector: @prompt"),
        ("ablate layers.1.mlp @indices", 21, "a selector: @prompt"),
        ("ablate layers.1.mlp @indices[a]", 21, "a list as in JSON"),
        ("ablate layers.1.mlp @tokens[1]", 21, "a list as in JSON"),
        ("ablate layers.1.mlp when layers.0.mlp[1]", 41, "'>' or '<' and a bound"),
        ("ablate layers.1.mlp when layers.0.mlp[1] > big", 44, "'big' is not a bound"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, column: int, says: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse_intervention(text)
    assert (caught.value.column, says in caught.value.message) == (column, True), str(caught.value)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ablate layers.1.mlp when layers.0.mlp[1]>1.5<2", "ablate layers.1.mlp when layers.0.mlp[1] > 1.5 < 2"),
        ("  scale  layers.1.mlp[1, 2]  2.0 ", "scale layers.1.mlp[1,2] 2"),
        ("patch layers.1.mlp He", 'patch layers.1.mlp "He" -1'),
        ("set_to_mean layers.1.mlp activationSets/a", 'set_to_mean layers.1.mlp "activationSets/a" "" 1'),
        ("ablate layers.1.mlp @indices[0] @indices[3]", "ablate layers.1.mlp @indices[0,3]"),
    ],
)
def test_what_people_write_may_be_looser_than_what_is_printed(text: str, same: str) -> None:
    assert str(parse_intervention(text)) == same


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_values_that_float32_cannot_hold_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is not a finite float32"):
        scale(N, value)


def test_a_string_is_no_list_of_tokens() -> None:
    with pytest.raises(TypeError, match="give a list"):
        Positions(tokens=" she")


def test_nested_lists_of_every_form_flatten_in_order() -> None:
    nested: Interventions = [ablate(N), [[scale(N, 2).to_proto()], "add layers.1.mlp 1"], ()]
    assert [str(Intervention(message)) for message in flatten(nested)] == [
        "ablate layers.1.neurons[2,5]",
        "scale layers.1.neurons[2,5] 2",
        "add layers.1.mlp 1",
    ]


def test_json_items_may_be_notation() -> None:
    assert interventions_from_json('["ablate layers.1.neurons[2,5]"]') == [ablate(N)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "this is no JSON"),
        ("{}", "a JSON list"),
        ('[{"neurons": {"sites": "x"}}]', "item 0 is no intervention"),
        ("[1]", "item 0 is no object"),
    ],
)
def test_json_that_is_no_list_of_edits_is_refused(text: str, says: str) -> None:
    with pytest.raises(NotationError, match=says):
        interventions_from_json(text)
