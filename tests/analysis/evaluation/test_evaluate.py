"""Whole evaluations of planted neurons: tables, plots and the report."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from patchclamp_analysis.data import Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.evaluation import (
    Comparison,
    Evaluation,
    RankingEvaluation,
    Score,
    compare_rankings,
    evaluate_ranking,
)
from patchclamp_analysis.methods import build, describe
from patchclamp_analysis.plots import accuracy_plot, image, layers_plot, overlap_plot, save_plot
from patchclamp_analysis.progress import Progress
from patchclamp_analysis.report import html_report
from patchclamp_analysis.results import Ranking

from tests.analysis.methods.planted import method, planted

QUICK = Evaluation(counts=(3, 6, 0.5), seeds=2, epochs=10)


@pytest.fixture(scope="module")
def splits() -> tuple[Data, Data]:
    return planted(1200).split(0.3)


@pytest.fixture(scope="module")
def rankings(splits: tuple[Data, Data]) -> list[Ranking]:
    return [method(name).rank(splits[0]) for name in ("linear_probe", "mean_select", "variance")]


@pytest.fixture(scope="module")
def comparison(splits: tuple[Data, Data], rankings: list[Ranking]) -> Comparison:
    return compare_rankings(rankings, *splits, QUICK)


def test_top_neurons_beat_random_and_bottom_ones(comparison: Comparison):
    found = comparison.evaluations[0]
    top, random, bottom = (found.score("accuracy", which, 6) for which in ("top", "random", "bottom"))
    assert top.mean > 0.95 * found.oracle.mean
    assert top.mean > random.mean + 0.05
    assert bottom.mean == pytest.approx(found.majority, abs=0.03)
    assert len(top.values) == len(found.oracle.values) == 2


def test_a_ranking_by_variance_is_worse(comparison: Comparison):
    best, worst = comparison.evaluations[0], comparison.evaluations[2]
    for measure in ("accuracy", "kept", "selectivity", "information"):
        assert best.score(measure, "top", 3).mean > worst.score(measure, "top", 3).mean


def test_what_is_kept_and_removed_in_the_oracle(comparison: Comparison):
    found = comparison.evaluations[0]
    assert found.score("kept", "top", 20).mean > found.score("kept", "bottom", 20).mean
    assert found.score("removed", "top", 20).mean < found.score("removed", "bottom", 20).mean
    assert found.score("removed", "bottom", 20).mean == pytest.approx(found.oracle.mean, abs=0.02)


def test_selectivity_is_less_than_accuracy(comparison: Comparison):
    found = comparison.evaluations[0]
    for count in comparison.counts:
        assert 0 < found.score("selectivity", "top", count).mean < found.score("accuracy", "top", count).mean


def test_what_rankings_share_is_equal(comparison: Comparison):
    shared = [[score for score in each.scores if score.neurons in ("all", "random")] for each in comparison.evaluations]
    assert shared[0] == shared[1] == shared[2]


def test_evaluate_is_compare_with_one(splits: tuple[Data, Data], rankings: list[Ranking], comparison: Comparison):
    alone = evaluate_ranking(rankings[1], *splits, QUICK)
    assert alone == comparison.evaluations[1]


def test_agreement_is_of_the_top_neurons(comparison: Comparison, rankings: list[Ranking]):
    first, second = ({neuron.index for neuron in each.top(6)} for each in rankings[:2])
    assert comparison.overlaps[1, 0, 1] == len(first & second) / 6
    assert comparison.average_overlap.shape == comparison.neuron_vote.shape == (3, 3)


def test_layers_and_spread(comparison: Comparison):
    found = comparison.evaluations[0]
    assert found.counts == (3, 6, 20)
    assert found.layers[6] == {"neurons": 6}
    assert set(found.spread) == {"adjective", "noun", "verb"}


def test_code_lengths_are_measured_when_asked(splits: tuple[Data, Data], rankings: list[Ranking]):
    how = replace(QUICK, counts=(6.0,), seeds=1, control=False, information=False, code_length=True)
    found = evaluate_ranking(rankings[0], *splits, how)
    rows = found.score("code_length", "top", 6)
    assert found.score("compression", "top", 6).mean == pytest.approx(np.log2(3) / rows.mean)
    with pytest.raises(BadData, match="was not measured"):
        found.score("selectivity", "top", 6)


def test_progress_rises_to_the_end(splits: tuple[Data, Data], rankings: list[Ranking]):
    seen: list[float] = []
    how = replace(QUICK, counts=(6.0,), seeds=1, code_length=True)
    compare_rankings(rankings[:2], *splits, how, progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_cancel(splits: tuple[Data, Data], rankings: list[Ranking]):
    with pytest.raises(Cancelled):
        compare_rankings(rankings, *splits, QUICK, progress=Progress(cancelled=lambda: True))


def test_it_says_what_its_parameters_are():
    counts = {parameter.name: parameter for parameter in describe(Evaluation).parameters}["counts"]
    assert counts.default == (10.0, 50.0, 100.0, 0.01, 0.1)
    assert build(Evaluation, {"counts": [5, 0.5], "seeds": 2.0}) == Evaluation(counts=(5, 0.5), seeds=2)
    with pytest.raises(BadData, match=r"evaluation\.seeds"):
        Evaluation(seeds=0)


def test_two_rankings_of_one_name(splits: tuple[Data, Data], rankings: list[Ranking]):
    with pytest.raises(BadData, match="another name"):
        compare_rankings([rankings[0]] * 2, *splits, QUICK)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda made: made[0], "evaluation: takes a list of rankings, not Ranking"),
        (lambda made: {"a": made[0]}, "evaluation: takes a list of rankings, not dict"),
        (lambda made: made[0].scores, "evaluation: takes a list of rankings, not ndarray"),
        (lambda made: [made[0], made[0].scores], "evaluation: takes rankings, as a method's `rank` or Ranking"),
        (lambda made: "a", "evaluation: takes rankings, .* not str"),
    ],
)
def test_what_is_no_list_of_rankings(splits: tuple[Data, Data], rankings: list[Ranking], given, message):
    with pytest.raises(BadData, match=message):
        compare_rankings(given(rankings), *splits)


def test_what_is_no_ranking_or_no_data(splits: tuple[Data, Data], rankings: list[Ranking]):
    with pytest.raises(BadData, match=r"takes rankings, .* not Data"):
        evaluate_ranking(splits[0], rankings[0], splits[1])  # type: ignore[arg-type]
    with pytest.raises(BadData, match="takes Data, not ndarray"):
        evaluate_ranking(rankings[0], splits[0], splits[1].matrix())  # type: ignore[arg-type]


def test_it_shows_itself_in_a_line(comparison: Comparison):
    counts = ", ".join(map(str, comparison.counts))
    assert repr(comparison) == f"<Comparison {', '.join(comparison.methods)} of upos: {counts} of 40 neurons>"
    first = comparison.evaluations[0]
    assert repr(first) == f"<RankingEvaluation {first.method} of upos: {counts} of 40 neurons>"


def test_rankings_of_other_neurons(splits: tuple[Data, Data], rankings: list[Ranking]):
    train, test = splits
    with pytest.raises(BadData, match="other neurons"):
        evaluate_ranking(rankings[0], train.keep([0, 1]), test.keep([0, 1]), QUICK)


def test_without_words_there_is_no_control_task(splits: tuple[Data, Data], rankings: list[Ranking]):
    train, test = (replace(split, words=None) for split in splits)
    found = evaluate_ranking(rankings[0], train, test, replace(QUICK, counts=(6.0,), seeds=1))
    assert found.notes[-1] == "no selectivity: a control task needs the word of each row"
    assert not [score for score in found.scores if score.measure == "selectivity"]


def test_targets_cannot_be_judged(splits: tuple[Data, Data], rankings: list[Ranking]):
    train, test = (replace(split, targets=np.zeros(len(split))) for split in splits)
    with pytest.raises(BadData, match="judged by classes: give a layer of labels"):
        evaluate_ranking(rankings[0], train, test, QUICK)


def test_too_little_memory_for_information_is_noted():
    splits = planted(300, width=600, memory_bytes=2**24).split(0.3)
    how = Evaluation(counts=(3, 590), seeds=1, epochs=1, control=False)
    found = evaluate_ranking(method("mean_select").rank(splits[0]), *splits, how)
    assert found.notes[-1] == "no information of 590 neurons: memory_bytes is too little"
    assert found.score("information", "top", 3).mean > 0


def test_tables(comparison: Comparison):
    wide, long = comparison.to_pandas(), comparison.evaluations[0].to_pandas()
    assert len(wide) == 9
    row = wide[(wide["method"] == "mean_select") & (wide["count"] == 6)].iloc[0]
    assert row["accuracy_top"] == comparison.evaluations[1].score("accuracy", "top", 6).mean
    assert row["neuron_vote"] == comparison.neuron_vote[1, 1]
    assert len(long) == len(comparison.evaluations[0].scores) + 1
    oracle = long[(long["measure"] == "accuracy") & (long["neurons"] == "all")].iloc[0]
    assert oracle["share_of_oracle"] == 1.0


def test_a_score_is_a_mean_and_a_deviation():
    score = Score("accuracy", "top", 3, (0.5, 0.7))
    assert score.mean == pytest.approx(0.6)
    assert score.deviation == pytest.approx(0.1)


def figures(comparison: Comparison) -> list[Figure]:
    return [accuracy_plot(comparison), layers_plot(comparison, 6), overlap_plot(comparison, 6)]


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_plots_are_the_same_each_time(comparison: Comparison, tmp_path, kind, start):
    for one, other in zip(figures(comparison), figures(comparison), strict=True):
        save_plot(one, tmp_path / f"plot.{kind}")
        content = (tmp_path / f"plot.{kind}").read_bytes()
        assert content.startswith(start)
        assert content == image(other, kind)


def test_what_the_plots_show(comparison: Comparison):
    (axes,) = accuracy_plot(comparison).axes
    lines = {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    assert np.array_equal(lines["random"].get_xdata(), comparison.counts)
    (axes,) = layers_plot(comparison, 6).axes
    assert [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)] == [6, 6, 6]
    shown = overlap_plot(comparison, 6).axes[0].images[0].get_array()
    assert shown is not None
    assert np.array_equal(shown, comparison.overlaps[1])


@pytest.mark.parametrize("plot", [layers_plot, overlap_plot])
def test_a_plot_of_a_number_that_was_not_looked_at(comparison: Comparison, plot):
    with pytest.raises(BadData, match="3, 6, 20"):
        plot(comparison, 7)


def test_a_plot_is_png_or_svg(comparison: Comparison, tmp_path):
    with pytest.raises(BadData, match=r"\.png"):
        save_plot(accuracy_plot(comparison), tmp_path / "plot.pdf")
    assert not list(tmp_path.iterdir())


def test_plots_leave_matplotlib_alone():
    code = "import patchclamp_analysis.plots, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(evaluation: RankingEvaluation) -> RankingEvaluation:
    bad = "<script>alert('&')</script>"
    return replace(evaluation, method=bad, label=bad, notes=(bad,), spread={bad: 1})


def test_the_report_needs_nothing_and_runs_nothing(comparison: Comparison):
    evaluations = (hostile(comparison.evaluations[0]), *comparison.evaluations[1:])
    page = html_report(replace(comparison, evaluations=evaluations), title="<b>title</b>")
    parser = Tags()
    parser.feed(page)
    names = [tag for tag, _ in parser.found]
    assert "script" not in names
    assert "b" in names
    assert names.count("b") == 1
    assert "<script>alert('&')</script>" in parser.text
    sources = [attributes["src"] or "" for tag, attributes in parser.found if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?:", page)


def test_the_report_of_one_ranking(splits: tuple[Data, Data], rankings: list[Ranking]):
    alone = compare_rankings(rankings[:1], *splits, replace(QUICK, counts=(3.0,), seeds=1, control=False))
    page = html_report(alone)
    assert "Agreement" not in page
    assert page.count("<img") == 2
    with pytest.raises(BadData, match="no others"):
        overlap_plot(alone, 3)


def test_classes_of_one_side_are_noted():
    x = np.random.default_rng(0).standard_normal((60, 3))
    train = Data.from_arrays(x, ["a", "b", "c"] * 20)
    test = Data.from_arrays(x, ["a", "b", "d, é", "b"] * 15)
    found = evaluate_ranking(method("probeless").rank(train), train, test, replace(QUICK, counts=(1,), seeds=1))
    assert found.notes[:2] == (
        "15 test rows count as wrong, being of classes without training rows: d, é",
        "classes with no test row: c",
    )
    assert evaluate_ranking(method("probeless").rank(train), train, train, replace(QUICK, counts=(1,))).notes == (
        "no selectivity: a control task needs the word of each row",
    )


def test_neurons_can_be_lost_to_zero():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 300)
    data = Data.from_arrays(draw.standard_normal((300, 2)) + np.column_stack((2 * y + 50, np.zeros(300))), y)
    how = Evaluation(counts=(1,), seeds=1, control=False, information=False)
    ranking = method("probeless").rank(data)
    removed = [
        evaluate_ranking(ranking, data, data, replace(how, ablation=value)).score("removed", "top", 1).mean
        for value in ("mean", "zero")
    ]
    # At 0 the neuron seems to be far on the side of one class.
    assert removed[1] == pytest.approx(np.mean(y == 0))
    assert removed != pytest.approx(removed[1])


def test_overlap_by_jaccard(splits: tuple[Data, Data], rankings: list[Ranking], comparison: Comparison):
    how = replace(QUICK, seeds=1, epochs=1, control=False, information=False, overlap="jaccard")
    found = compare_rankings(rankings, *splits, how)
    share = comparison.overlaps
    assert found.overlaps == pytest.approx(share / (2 - share))
    assert found.average_overlap[:, 0] == pytest.approx(found.overlaps[:, 0, 1:].mean(axis=1))
