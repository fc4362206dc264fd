"""Concepts of labels and words, and selectivity for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods.concept_selectivity import ConceptSelectivity
from patchclamp_analysis.methods.concepts import Concepts

from tests.analysis.methods.planted import INFORMATIVE, NEURONS, SILENT, planted

LAYERS = {"upos": ["N", "V", "", "N"], "number": ["", "", "sg", "sg"]}
WORDS = ["cat", "saw", "the", "cat"]


def data(**options: object) -> Data:
    x = np.arange(4.0)[:, None]
    return Data.from_arrays(x, words=WORDS, **options)  # type: ignore[arg-type]


def test_the_classes_of_the_labels():
    found = Concepts.of(data(labels=LAYERS["upos"], annotations=LAYERS))
    assert found.names == ("N", "V")
    assert found.masks.tolist() == [[True, False], [False, True], [True, False]]


def test_every_label_of_every_layer_where_none_is_chosen():
    found = Concepts.of(data(annotations=LAYERS))
    assert found.names == ("upos=N", "upos=V", "number=sg")
    assert found.counts.tolist() == [2, 1, 2]
    assert found.masks.T.astype(int).tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_words_that_are_frequent_enough():
    assert Concepts.of(data(), word_rows=1).names == ("word=cat", "word=saw", "word=the")
    assert Concepts.of(data(), word_rows=2).masks.tolist() == [[True], [False], [False], [True]]
    assert Concepts.of(data(labels=LAYERS["upos"]), word_rows=2).names == ("N", "V", "word=cat")


def test_labels_without_rows_are_no_concepts():
    assert Concepts.of(data(annotations=LAYERS).take([2, 3])).names == ("upos=N", "number=sg")
    assert Concepts.of(data(labels=LAYERS["upos"], classes=["A", "V"])).names == ("V",)


@pytest.mark.parametrize(
    ("made", "word_rows", "message"),
    [
        (data(), 0, "there is no concept: no row has a label$"),
        (data(annotations={"upos": ["", "", "", ""]}), 0, "no row has a label$"),
        (data(), 3, "no row has a label, and no word has 3 rows"),
        (Data.from_arrays(np.ones((4, 1))), 1, "has no words"),
    ],
)
def test_refuses_data_without_concepts(made, word_rows, message):
    with pytest.raises(BadData, match=message):
        Concepts.of(made, word_rows=word_rows)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
def test_all_forms_say_the_same(seed, rows):
    draw = np.random.default_rng(seed)
    layers = {name: draw.choice(["", "a", "b", "c"], rows) for name in ("u", "v")}
    words = draw.choice(["x", "y", "z"], rows)
    found = Concepts.of(Data.from_arrays(np.ones((rows, 1)), words=words, annotations=layers), word_rows=1)
    for number, name in enumerate(found.names):
        layer, label = name.split("=")
        assert np.array_equal(found.masks[:, number], (words if layer == "word" else layers[layer]) == label)
    assert np.array_equal(found.members().toarray().T > 0, found.masks)
    assert found.counts.tolist() == found.masks.sum(axis=0).tolist()
    bits = np.unpackbits(found.packed(2**20).view(np.uint8), axis=1)[:, :rows]
    assert np.array_equal(bits.T > 0, found.masks)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["both", "positive", "negative"]))
def test_selectivity_by_definition(seed, sign):
    draw = np.random.default_rng(seed)
    rows = int(draw.integers(2, 120))
    x = (draw.standard_normal((rows, 4)) * 10 + 1000).astype(np.float32)
    x[:, 3] = 7.0
    layers = {name: draw.choice(["", "a", "b", "c"], rows) for name in ("u", "v")}
    layers["u"][0] = "a"
    data = Data.from_arrays({"p": x[:, :2], "q": x[:, 2:]}, annotations=layers)
    concepts = Concepts.of(data)
    found = ConceptSelectivity(top=100, sign=sign).find(data)
    assert [(neuron.site, neuron.index) for neuron in found] == [("p", 0), ("p", 1), ("q", 0), ("q", 1)]
    for neuron, column in zip(found, x.T.astype(np.float64), strict=True):
        wanted = {}
        for name, mask in zip(concepts.names, concepts.masks.T, strict=True):
            difference = 0.0 if mask.all() else column[mask].mean() - column[~mask].mean()
            wanted[name] = difference / (np.ptp(column) or 1.0)

        def turned(value: float) -> float:
            return abs(value) if sign == "both" else value if sign == "positive" else -value

        given = {concept.name: concept for concept in neuron.concepts}
        assert [turned(concept.selectivity) for concept in neuron.concepts] == sorted(
            (turned(concept.selectivity) for concept in neuron.concepts), reverse=True
        )
        for name, value in wanted.items():
            if turned(value) > 1e-5:
                assert given[name].selectivity == pytest.approx(value, abs=1e-5)
                mask = concepts.masks[:, concepts.names.index(name)]
                assert given[name].mean == pytest.approx(column[mask].mean(), rel=1e-5)
                assert given[name].count == mask.sum()
            elif turned(value) < -1e-5:
                assert name not in given


def test_finds_what_was_planted():
    data = planted()
    found = ConceptSelectivity(top=1).find(data)
    for number, name in enumerate(data.classes):
        assert found[INFORMATIVE[number]].concepts[0].name == name
        assert found[INFORMATIVE[number]].concepts[0].selectivity > 0.2
        assert found[SILENT[number]].concepts[0].name == name
        assert found[SILENT[number]].concepts[0].selectivity < -0.2
    assert found[NEURONS["dead"]].concepts == found[NEURONS["constant"]].concepts == ()


def test_silent_neurons_only():
    (found,) = ConceptSelectivity(top=1, sign="negative").find(planted(), [INFORMATIVE[1]])
    assert found.concepts[0].name != "noun"
    assert found.concepts[0].selectivity < 0


def test_a_concept_of_all_rows_is_not_selected():
    (found,) = ConceptSelectivity().find(Data.from_arrays(np.arange(3.0)[:, None], annotations={"u": ["a"] * 3}))
    assert found.concepts == ()


def test_less_memory_takes_more_passes_and_finds_the_same():
    draw = np.random.default_rng(0)
    x, words = draw.standard_normal((3000, 300)).astype(np.float32), [f"w{row}" for row in range(3000)]
    found = []
    for memory in (LEAST_MEMORY, 2**30):
        data = Data.from_arrays(x, words=words, memory_bytes=memory)
        found.append(ConceptSelectivity(word_rows=1).find(data))
    for one, other in zip(*found, strict=True):
        assert [concept.name for concept in one.concepts] == [concept.name for concept in other.concepts]
