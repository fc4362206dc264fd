"""Formulas of concepts, against all that there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.data.bits import overlaps, packed, sizes
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.compositional import Compositional
from patchclamp_analysis.methods.concepts import Concepts
from patchclamp_analysis.methods.formula_search import Formula
from patchclamp_analysis.methods.iou import Iou
from patchclamp_analysis.progress import Progress

Masks = NDArray[np.bool_]


def annotated(rows: int = 3000, layers: int = 3, seed: int = 0) -> dict[str, NDArray[np.object_]]:
    """Layers of four labels each; some rows are unlabelled."""
    draw = np.random.default_rng(seed)
    return {
        f"l{layer}": np.array(["", "a", "b", "c", "d"], object)[draw.integers(0, 5, rows)] for layer in range(layers)
    }


def holds(formula: Formula, masks: Masks) -> Masks:
    found = masks[:, formula.parts[0]]
    for operator, concept in zip(formula.parts[1::2], formula.parts[2::2], strict=True):
        other = masks[:, concept]
        found = (found | other, found & other, found & ~other)[operator]
    return found


def all_formulas(count: int, length: int) -> list[Formula]:
    steps = list(product(range(3), range(count)))
    return [
        Formula((first, *(part for step in joined for part in step)))
        for number in range(length)
        for joined in product(steps, repeat=number)
        for first in range(count)
    ]


def iou(one: Masks, other: Masks) -> float:
    return float(np.sum(one & other)) / max(float(np.sum(one | other)), 1.0)


def test_finds_what_was_planted():
    layers = annotated()
    draw = np.random.default_rng(1)
    fires = ((layers["l0"] == "a") | (layers["l1"] == "b")) & (layers["l1"] != "c") & (layers["l2"] != "d")
    x = np.where(fires, 1.0, -1.0)[:, None] * draw.uniform(0.5, 2.0, (3000, 1))
    (found,) = Compositional().find(Data.from_arrays(x, annotations=layers))
    (formula,) = found.formulas
    assert formula.iou == 1.0
    assert formula.length <= 4
    assert formula.count == fires.sum()


def test_joins_a_concept_on_which_the_neuron_never_fires():
    """(c0 OR c5) AND NOT c7 of twelve concepts of one's own layer each, of which c7 alone has an IoU of 0."""
    draw = np.random.default_rng(0)
    masks = draw.random((4000, 12)) < 0.3
    fires = (masks[:, 0] | masks[:, 5]) & ~masks[:, 7]
    layers = {f"l{number:02}": np.where(mask, f"c{number}", "") for number, mask in enumerate(masks.T)}
    data = Data.from_arrays(np.where(fires, 1.0, -1.0)[:, None], annotations=layers)
    (found,) = Compositional().find(data)
    assert [formula.text for formula in found.formulas] == ["(l00=c0 OR l05=c5) AND NOT l07=c7"]
    assert found.formulas[0].score == pytest.approx(0.99**2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_beam_that_holds_all_finds_the_best_of_all(seed, length, penalty):
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(2, 40))
    layers = {name: draw.choice(["", "a", "b"], rows) for name in ("u", "v")}
    layers["u"][0] = "a"
    x = draw.integers(-2, 3, (rows, 3)).astype(np.float32)
    data = Data.from_arrays(x, annotations=layers)
    concepts = Concepts.of(data)
    formulas = all_formulas(len(concepts), length)
    for column, found in zip(x.T, Compositional(length, 10_000, penalty).find(data), strict=True):
        fires = column > 0
        best = max(
            ((penalty ** (len(formula) - 1) * iou(holds(formula, concepts.masks), fires)) for formula in formulas),
            default=0.0,
        )
        if not fires.any() or fires.all() or not best:
            assert not found.formulas
        else:
            assert found.formulas[0].score == pytest.approx(best, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_is_said_of_a_formula_is_so(seed):
    layers = annotated(200, seed=seed)
    x = np.random.default_rng(seed).standard_normal((200, 2))
    data = Data.from_arrays(x, annotations=layers)
    concepts = Concepts.of(data)
    by_text = {formula.text(concepts.names): formula for formula in all_formulas(len(concepts), 2)}
    for column, found in zip(x.T, Compositional(length=2, top=50).find(data), strict=True):
        sets = [holds(by_text[formula.text], concepts.masks) for formula in found.formulas]
        assert len({rows.tobytes() for rows in sets}) == len(sets) > 0
        for formula, rows in zip(found.formulas, sets, strict=True):
            assert formula.count == rows.sum()
            assert formula.iou == iou(rows, column > 0)
            assert formula.score == 0.99 ** (formula.length - 1) * formula.iou
        assert [f.score for f in found.formulas] == sorted((f.score for f in found.formulas), reverse=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"threshold": 0.3}, {"share": 0.1}, {"share": 1.0}, {"sign": "negative"}, {"sign": "absolute", "share": 0.2}],
)
def test_formulas_of_one_concept_are_as_iou(options):
    draw = np.random.default_rng(0)
    x, labels = draw.standard_normal((700, 5)).astype(np.float32), draw.choice(list("abcd"), 700)
    x[:, 0] += labels == "b"
    data = Data.from_arrays(x, labels)
    wanted = Iou(**options).rank(data)
    for neuron, found in enumerate(Compositional(length=1, top=4, **options).find(data)):
        given = {formula.text: formula.iou for formula in found.formulas}
        if options.get("share") != 1.0:
            assert given == {name: wanted.scores_of(name)[neuron] for name in "abcd"}
        else:
            assert not given


def test_formulas_that_hold_for_the_same_rows_are_one():
    labels = np.array(["x", "y", "z"] * 20)
    data = Data.from_arrays(np.where(labels == "z", -1.0, 1.0)[:, None], annotations={"one": labels, "two": labels})
    (found,) = Compositional(length=2, top=20).find(data)
    wanted = ["one=x OR one=y", "one=x", "one=y", "one=x OR one=z", "one=y OR one=z"]
    assert [formula.text for formula in found.formulas] == wanted


def test_equal_scores_keep_the_order_of_concepts():
    labels = np.array(["x", "y", "z", "z"] * 10)
    (found,) = Compositional(length=1, top=3).find(
        Data.from_arrays(np.where(labels == "z", -1.0, 1.0)[:, None], labels)
    )
    assert [formula.text for formula in found.formulas] == ["x", "y"]


def test_neurons_that_fire_always_or_never_have_none():
    x = np.column_stack((np.full(30, 0.7), np.zeros(30), np.full(30, -1.0)))
    found = Compositional().find(Data.from_arrays(x, ["a", "b"] * 15))
    assert [neuron.formulas for neuron in found] == [(), (), ()]


def test_words_are_concepts_on_request():
    words = ["the", "cat", "the", "dog"] * 10
    data = Data.from_arrays(np.array([[1.0], [-1.0]] * 20), ["D", "N"] * 20, words=words)
    assert Compositional().find(data)[0].formulas[0].text == "D"
    (found,) = Compositional(length=1, top=9, word_rows=11).find(data)
    assert [formula.text for formula in found.formulas] == ["D"]
    data = Data.from_arrays(np.array([[1.0], [-1.0]] * 20), words=words)
    assert Compositional(word_rows=11).find(data)[0].formulas[0].text == "word=the"


def test_some_neurons():
    layers = annotated(300)
    data = Data.from_arrays(np.random.default_rng(0).standard_normal((300, 6)), annotations=layers)
    everything = Compositional(length=2).find(data)
    assert Compositional(length=2).find(data, [4, 1]) == (everything[1], everything[4])


def test_refuses_more_concepts_than_memory_holds():
    words = [f"w{row}" for row in range(8000)]
    data = Data.from_arrays(np.ones((8000, 1)), words=words, memory_bytes=LEAST_MEMORY)
    with pytest.raises(BadData, match="8000 concepts of 8000 rows need 8000000 bytes of 4194304"):
        Compositional(word_rows=1).find(data)


def test_can_be_cancelled_before_each_neuron():
    data = Data.from_arrays(np.random.default_rng(0).standard_normal((300, 6)), annotations=annotated(300))
    seen: list[float] = []
    with pytest.raises(Cancelled):
        Compositional().find(data, progress=Progress(seen.append, lambda: len(seen) == 3))
    assert seen == [1 / 6, 2 / 6, 3 / 6]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 6), st.integers(1, 6))
def test_bits_are_sets(seed, rows, some, others):
    draw = np.random.default_rng(seed)
    one, other = draw.random((some, rows)) < 0.4, draw.random((others, rows)) < 0.4
    assert sizes(packed(one)).tolist() == one.sum(axis=1).tolist()
    assert np.array_equal(overlaps(packed(one), packed(other)), one.astype(int) @ other.T.astype(int))


def test_a_formula_as_text():
    formula = Formula((2, 0, 0, 2, 1, 1, 3))
    assert formula.text(["a", "b", "c", "d"]) == "((c OR a) AND NOT b) AND d"
    assert len(formula) == 4
