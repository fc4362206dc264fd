"""Comparisons as tables and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.evaluation import Comparison, Evaluation, RankingEvaluation, Score, compare_rankings
from patchclamp_analysis.methods import build
from patchclamp_analysis.plots import accuracy_plot, image, layers_plot, overlap_plot
from patchclamp_analysis.report import html_report
from patchclamp_analysis.tables import Tables

from tests.analysis.methods.planted import method, planted

HOW = Evaluation(counts=(3, 0.5), seeds=2, epochs=5, code_length=True)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    train, test = planted(400).split(0.3)
    rankings = [method(name).rank(train) for name in ("probeless", "mean_select", "variance")]
    return replace(compare_rankings(rankings, train, test, HOW), notes=("judged by few rows",))


names = st.text(st.characters(codec="utf-8"), max_size=5)
shares = st.floats(-1e6, 1e6)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    methods, sites = (draw(st.lists(names, min_size=1, max_size=3, unique=True)) for _ in range(2))
    counts = draw(st.lists(st.integers(1, 100), min_size=1, max_size=3, unique=True))
    seeds = draw(st.integers(1, 3))

    def score(measure: str, which: str, count: int) -> Score:
        values = tuple(draw(shares) for _ in range(seeds if measure != "information" else 1))
        return Score(measure, which, count, values)  # type: ignore[arg-type]

    def evaluation(name: str) -> RankingEvaluation:
        scores = [score("accuracy", "all", 200)]
        scores += [score(measure, "top", count) for count in counts for measure in ("accuracy", "information")]
        layers = {count: {site: draw(st.integers(0, 9)) for site in sites} for count in counts}
        spread = draw(st.dictionaries(names, st.integers(0, 9), max_size=3))
        return RankingEvaluation(name, label, 200, 30, 4, 0.5, tuple(scores), layers, spread, notes=draw(notes))

    label, notes = draw(names), st.lists(names, max_size=3).map(tuple)
    shape = (len(counts), len(methods)) if len(methods) > 1 else (0, 1)
    overlaps, average, vote = (
        np.array([draw(shares) for _ in range(int(np.prod(of)))]).reshape(of)
        for of in ((*shape, shape[1]), shape, shape)
    )
    parameters = {"counts": tuple(draw(st.lists(shares, max_size=2))), "seeds": seeds}
    return Comparison(tuple(map(evaluation, methods)), overlaps, average, vote, parameters, draw(notes))


def same(one: Comparison, other: Comparison) -> None:
    assert one.evaluations == other.evaluations
    for name in ("overlaps", "average_overlap", "neuron_vote"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert (one.parameters, one.notes) == (other.parameters, other.notes)


@settings(deadline=None)  # the first example imports pandas
@given(wanted=comparisons())
def test_tables_lose_nothing(wanted: Comparison, tmp_path_factory: pytest.TempPathFactory):
    tables = wanted.to_tables()
    same(Comparison.from_tables(tables), wanted)
    path = tmp_path_factory.mktemp("tables") / "comparison.json"
    tables.save(path)
    same(Comparison.from_tables(Tables.load(path)), wanted)


def test_what_the_tables_hold(comparison: Comparison):
    tables = comparison.to_tables()
    assert (tables.method, tables.label, tables.notes) == ("evaluation", "upos", comparison.all_notes)
    assert tables.notes[0] == "judged by few rows"
    assert build(Evaluation, tables.parameters) == HOW
    assert list(tables) == ["summary", "scores", "layers", "spread", "overlap", "agreement", "data", "notes"]
    assert tables["summary"].equals(comparison.to_pandas())
    scores = tables["scores"].query("method == 'mean_select' and measure == 'accuracy' and neurons == 'top'")
    found = comparison.evaluations[1]
    assert scores[scores["count"] == 3]["value"].tolist() == list(found.score("accuracy", "top", 3).values)
    assert scores["seed"].tolist() == [0, 1, 0, 1]
    overlap = tables["overlap"].query("count == 3 and one == 'probeless' and other == 'variance'")["share"]
    assert overlap.tolist() == [comparison.overlaps[0, 0, 2]]
    assert tables["data"].to_dict("records") == [
        {name: getattr(found, name) for name in ("neurons", "train_rows", "test_rows", "majority")}
    ]
    assert json.loads(comparison.to_json()) == json.loads(tables.to_json())


def plots(comparison: Comparison) -> list[Figure]:
    return [accuracy_plot(comparison), layers_plot(comparison, 3), overlap_plot(comparison, 3)]


def test_plots_and_report_of_what_was_read(comparison: Comparison, tmp_path: Path):
    comparison.to_tables().save(tmp_path / "comparison.json")
    found = Comparison.from_tables(Tables.load(tmp_path / "comparison.json"))
    for one, other in zip(plots(comparison), plots(found), strict=True):
        assert image(one, "png") == image(other, "png")
        assert image(one, "svg") == image(other, "svg")
    assert html_report(found) == html_report(comparison)
    assert "<p>judged by few rows</p>" in html_report(found)


@pytest.mark.parametrize("missing", ["scores", "data"])
def test_tables_of_something_else(comparison: Comparison, missing: str):
    tables = comparison.to_tables()
    few = replace(tables, tables={name: table for name, table in tables.tables.items() if name != missing})
    for wrong in (few, replace(tables, method="nmf")):
        with pytest.raises(BadData, match="no tables of an evaluation"):
            Comparison.from_tables(wrong)
