"""`analyze`, on small sets of planted neurons."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from patchclamp_analysis.cli import main
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS, RankingMethod
from patchclamp_analysis.methods.cross_model import CrossModel
from patchclamp_analysis.methods.top_contexts import TopContexts
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.tables import Tables

from tests.analysis.commands.planted_sets import planted_set
from tests.analysis.pages import Page

FAST = {
    "efficient_features": ["-p", "epochs=2"],
    "layer_selector": ["-p", "epochs=2"],
    "nmf": ["-p", "factors=2", "-p", "iterations=20"],
    "representation_analysis": ["-p", "epochs=2"],
    "umap_kmeans": ["-p", "rows=50", "-p", "populations=3"],
}
OTHERS = sorted(name for name, method in METHODS.items() if not issubclass(method, RankingMethod))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    planted_set(place / "one.h5", 300, 0)
    planted_set(place / "other.h5", 300, 1)
    return place


@pytest.mark.parametrize("method", OTHERS)
def test_every_method_gives_tables_and_a_report(folder, tmp_path, method, capsys):
    if method == "umap_kmeans":
        pytest.importorskip("umap", reason="needs the extra umap")
    sets = [str(folder / "one.h5"), *([str(folder / "other.h5")] if method == "cross_model" else [])]
    out = tmp_path / "found"
    assert main(["analyze", *sets, "-m", method, "-l", "upos", *FAST.get(method, []), "-o", str(out)]) == 0
    tables = Tables.load(out / f"{method}.json")
    assert tables.method == method
    for name, table in tables.tables.items():
        assert len(pd.read_csv(out / f"{name}.csv")) == len(table)
    headings = Page.of(out / "report.html").headings
    assert headings[0] == method
    assert all(any(heading.startswith(name) for heading in headings) for name in tables)
    assert len(list(out.glob("*.png"))) == len(list(out.glob("*.svg")))
    assert capsys.readouterr().out.endswith("found/report.html\n")


def test_a_choice_of_neurons_is_that_of_the_library(folder, tmp_path):
    ranking, out = tmp_path / "found.npz", tmp_path / "found.csv"
    assert main(["rank", str(folder / "one.h5"), "-m", "variance", "-o", str(ranking)]) == 0
    given = ["-n", "layers.1.residual[3,5]", "-r", str(ranking), "-k", "2", "-p", "words=2", "-o", str(out)]
    assert main(["analyze", str(folder / "one.h5"), "-m", "top_contexts", *given]) == 0
    with ActivationSet.open(folder / "one.h5") as opened:
        data = Data.from_activation_set(opened)
        chosen = {13, 15, *Ranking.load(ranking).order()[:2]}
        expected = TopContexts(words=2).tables({"one": data.keep(sorted(chosen))})
    pd.testing.assert_frame_equal(pd.read_csv(out), expected["contexts"], check_exact=False)


def test_models_are_compared(folder, tmp_path):
    out = tmp_path / "compared"
    sets = [str(folder / "one.h5"), str(folder / "other.h5")]
    assert main(["analyze", *sets, "-m", "cross_model", "-p", "measure=lin_reg", "-o", str(out)]) == 0
    with ActivationSet.open(folder / "one.h5") as one, ActivationSet.open(folder / "other.h5") as other:
        datas = {"one": Data.from_activation_set(one), "other": Data.from_activation_set(other)}
        expected = CrossModel(measure="lin_reg").compare(datas)
    for name, ranking in expected.items():
        assert Ranking.load(out / f"{name}.npz").scores.tolist() == ranking.scores.tolist()
    table = pd.read_csv(out / "neurons.csv")
    assert table["model"].tolist() == ["one"] * 20 + ["other"] * 20
    assert table.groupby("model")["score"].is_monotonic_decreasing.all()


def test_of_several_tables_each_is_a_csv_file(folder, tmp_path, capsys):
    out = tmp_path / "found.csv"
    assert main(["analyze", str(folder / "one.h5"), "-m", "correlation_clusters", "-o", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.clusters.csv", "found.neurons.csv"]
    assert len(pd.read_csv(tmp_path / "found.neurons.csv")) == 20
    assert str(tmp_path / "found.neurons.csv") in capsys.readouterr().out


def test_tables_are_printed(folder, capsys):
    assert main(["analyze", str(folder / "one.h5"), "-m", "correlation_clusters", "-p", "threshold=0.2"]) == 0
    printed = capsys.readouterr().out
    assert "neurons (20)" in printed
    assert "redundant_share" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "probeless"], "`patchclamp-analysis rank SET -m probeless` runs it"),
        (["-m", "nonsense"], "no such method; there are compos"),
        (["-m", "nmf", "-p", "factor=2"], "did you mean factors"),
        (["-m", "representation_analysis"], "choose a layer of labels with --label; there are upos"),
        (["-m", "cross_model"], "at least two"),
        (["other.h5", "-m", "nmf"], "takes one set of activations, not 2"),
        (["other.h5", "-m", "cross_model", "-n", "layers.1.residual[3]"], "neurons are those of one set"),
        (["-m", "top_contexts", "-n", "layers.1.residual[10]"], "0 to 9"),
        (["-m", "top_contexts", "-s", "layers.0.residual", "-n", "layers.1.residual[1]"], "no such site"),
        (["-m", "nmf", "-o", "found.npz"], "or a folder"),
        (["-m", "nmf", "-o", "nowhere/found.json"], "no such folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    there = set(folder.iterdir())
    assert main(["analyze", "one.h5", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert set(folder.iterdir()) == there
