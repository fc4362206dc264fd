from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods import RANKING_METHODS
from patchclamp_analysis.results import Ranking, ScoredNeuron

from tests.analysis.methods.planted import method, planted


def ranking(**changes: object) -> Ranking:
    made = Ranking(
        "probeless",
        Neurons.all_of([Site("a", 2), Site("b", 3)]),
        np.array([1.0, 3.0, 2.0, 3.0, 0.0]),
        ("noun", "verb"),
        np.array([[0.0, 1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0, 5.0]]),
        label="upos",
        parameters={"scale": True, "grid": [0.1]},
        details={"mi": np.array([0.5, 0.25])},
        notes=("classes with no row: adverb",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_order_is_best_first_and_ties_keep_the_lower_place():
    assert ranking().order().tolist() == [1, 3, 2, 0, 4]
    assert ranking().order("verb").tolist() == [0, 1, 2, 3, 4]


@given(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5]), min_size=1, max_size=30))
def test_order_is_a_stable_sort(scores):
    neurons = Neurons.all_of([Site("a", len(scores))])
    made = Ranking("x", neurons, np.array(scores), (), np.zeros((0, len(scores))))
    assert made.order().tolist() == sorted(range(len(scores)), key=lambda place: -scores[place])


def test_top_and_bottom():
    assert ranking().top(2) == (ScoredNeuron("a", 1, 3.0), ScoredNeuron("b", 1, 3.0))
    assert ranking().top(1, "noun") == (ScoredNeuron("b", 2, 4.0),)
    assert ranking().bottom(2) == (ScoredNeuron("b", 2, 0.0), ScoredNeuron("a", 0, 1.0))
    assert len(ranking().top(100)) == 5
    for end in (ranking().top, ranking().bottom):
        with pytest.raises(BadData, match="count: -1 is no number of neurons"):
            end(-1)


def test_distribution_over_sites():
    assert ranking().distribution(3) == {"a": 1, "b": 2}
    assert ranking().distribution(1, "noun") == {"a": 0, "b": 1}


def test_unknown_class():
    with pytest.raises(BadData, match="adverb: no such class; there are noun, verb"):
        ranking().order("adverb")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros(4)}, r"scores: has shape \(4,\), not \(5,\)"),
        ({"class_scores": np.zeros((1, 5))}, r"class_scores: has shape \(1, 5\), not \(2, 5\)"),
        ({"scores": np.array([1.0, np.nan, 0, 0, 0])}, "scores: a score is not finite"),
    ],
)
def test_scores_must_fit(changes, message):
    with pytest.raises(BadData, match=message):
        ranking(**changes)


def test_scores_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        ranking().scores[0] = 1.0


def same(one: Ranking, other: Ranking) -> bool:
    return (
        (one.method, one.classes, one.label, one.notes) == (other.method, other.classes, other.label, other.notes)
        and one.neurons == other.neurons
        and np.array_equal(one.scores, other.scores)
        and np.array_equal(one.class_scores, other.class_scores)
        and json.loads(json.dumps(one.parameters)) == other.parameters
        and one.details.keys() == other.details.keys()
        and all(np.array_equal(one.details[name], other.details[name]) for name in one.details)
    )


def test_saved_and_loaded(tmp_path):
    ranking().save(tmp_path / "ranking.npz")
    assert same(ranking(), Ranking.load(tmp_path / "ranking.npz"))
    assert [file.name for file in tmp_path.iterdir()] == ["ranking.npz"]


@pytest.mark.parametrize("name", RANKING_METHODS)
def test_every_method_s_ranking_is_saved_and_loaded(tmp_path, name):
    made = method(name).rank(planted())
    made.save(tmp_path / "ranking.npz")
    assert same(made, Ranking.load(tmp_path / "ranking.npz"))


NEITHER = r"ranking\.npz: this is no ranking: it is neither \.npz, as `save` writes it, nor JSON"


@pytest.mark.parametrize("content", [b"", b"no npz", b"PK\x03\x04 broken"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "ranking.npz").write_bytes(content)
    with pytest.raises(BadData, match=NEITHER):
        Ranking.load(tmp_path / "ranking.npz")


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "ranking.npz", description=np.array([{"format": 1}], dtype=object))
    with pytest.raises(BadData, match=NEITHER):
        Ranking.load(tmp_path / "ranking.npz")


def test_other_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "ranking.npz", x=np.zeros(3))
    with pytest.raises(BadData, match="this is no ranking: there is no 'description' in it"):
        Ranking.load(tmp_path / "ranking.npz")


def test_a_damaged_file_is_refused_or_the_same(tmp_path):
    ranking().save(tmp_path / "ranking.npz")
    content = (tmp_path / "ranking.npz").read_bytes()
    for place in range(0, len(content), 5):
        (tmp_path / "ranking.npz").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            found = Ranking.load(tmp_path / "ranking.npz")
        except BadData:
            continue
        assert same(ranking(), found)


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a"])
def test_is_not_saved_as_what_it_is_not(tmp_path, name):
    with pytest.raises(BadData, match=rf"{name}: a ranking is saved as \.npz; to_csv and to_json"):
        ranking().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_shows_itself_in_a_line():
    assert repr(ranking()) == "<Ranking probeless of upos: 5 neurons, 2 classes>"
    assert repr(ranking(label="").neurons) == "<Neurons: 5 of 2 sites>"


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path):
    ranking().save(tmp_path / "ranking.npz")
    with pytest.raises(TypeError):
        ranking(parameters={"scale": object()}).save(tmp_path / "ranking.npz")
    assert same(ranking(), Ranking.load(tmp_path / "ranking.npz"))


def test_as_a_table(tmp_path):
    table = ranking().to_pandas()
    assert list(table.columns) == ["site", "index", "score", "score noun", "score verb"]
    assert table.iloc[0].tolist() == ["a", 1, 3.0, 1.0, 5.0]
    ranking().to_csv(tmp_path / "ranking.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "ranking.csv"), table, check_dtype=False)


def test_as_json():
    content = json.loads(ranking().to_json(2))
    assert content["neurons"] == [["a", 1, 3.0], ["b", 1, 3.0]]
    assert content["classes"]["noun"] == [["b", 2, 4.0], ["b", 1, 3.0]]
    assert content["method"] == "probeless"
    assert len(json.loads(ranking().to_json())["neurons"]) == 5


def test_json_of_all_neurons_is_read_back(tmp_path):
    made = ranking()
    (tmp_path / "ranking.json").write_text(made.to_json(), encoding="utf-8")
    found = Ranking.load(tmp_path / "ranking.json")
    assert found.neurons == made.neurons
    assert np.array_equal(found.scores, made.scores)
    assert np.array_equal(found.class_scores, made.class_scores)
    assert (found.method, found.label, found.classes, found.parameters, found.notes) == (
        made.method,
        made.label,
        made.classes,
        made.parameters,
        made.notes,
    )


@pytest.mark.parametrize("classes", [(), ("noun", "verb")])
def test_json_of_some_neurons_is_none(tmp_path, classes):
    made = ranking(classes=classes, class_scores=np.zeros((len(classes), 5)))
    (tmp_path / "ranking.json").write_text(made.to_json(2), encoding="utf-8")
    with pytest.raises(BadData, match=r"ranking\.json: this is no ranking of all its neurons: not all neurons"):
        Ranking.load(tmp_path / "ranking.json")


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"format": "patchclamp ranking 2"}', '{"format": "patchclamp ranking 1"}']
)
def test_other_json_is_none(text):
    with pytest.raises(BadData, match="this is no ranking"):
        Ranking.from_json(text)
