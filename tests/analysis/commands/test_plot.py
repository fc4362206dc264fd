"""`plot`, of what other commands wrote."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from patchclamp_analysis.cli import main
from patchclamp_analysis.evaluation import Comparison
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.tables import Tables

from tests.analysis.commands.planted_sets import QUICK, planted_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plotted")
    source = str(planted_set(place / "set.h5", 400, 0))
    for method in ("probeless", "mean_select", "variance"):
        assert main(["rank", source, "-l", "upos", "-m", method, "-o", str(place / f"{method}.npz")]) == 0
    methods = ["-m", "probeless", "-m", "variance"]
    assert main(["compare", source, "-l", "upos", *methods, *QUICK, "-o", str(place / "compared")]) == 0
    site = ["-s", "layers.0.residual"]
    assert main(["rank", source, "-m", "variance", *site, "-o", str(place / "other.npz")]) == 0
    similarity = ["-m", "representation_similarity", "-o", str(place / "similarity.json")]
    assert main(["analyze", source, *similarity]) == 0
    assert main(["analyze", source, "-m", "top_words", "-o", str(place / "words.json")]) == 0
    return place


def test_a_comparison_gives_its_plots_and_their_figures(folder, tmp_path, capsys):
    out = tmp_path / "plots"
    comparison = folder / "compared" / "comparison.json"
    assert main(["plot", str(comparison), "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        f"{name}.{suffix}" for name in ("accuracy", "layers", "overlap") for suffix in ("png", "svg", "csv")
    }
    assert (out / "overlap.png").read_bytes() == (comparison.parent / "overlap.png").read_bytes()
    found = Comparison.from_tables(Tables.load(comparison))
    overlap = pd.read_csv(out / "overlap.csv")
    assert overlap["share"].tolist() == pytest.approx(found.overlaps[-1].ravel().tolist())
    accuracies = pd.read_csv(out / "accuracy.csv").set_index(["method", "neurons", "count"])["mean"]
    assert accuracies["probeless", "top", 10] == pytest.approx(found.evaluations[0].score("accuracy", "top", 10).mean)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_layers_of_fewer_neurons(folder, tmp_path):
    out = tmp_path / "layers.csv"
    given = [str(folder / "compared" / "comparison.json"), "--kind", "layers", "-k", "3", "-o", str(out)]
    assert main(["plot", *given]) == 0
    assert pd.read_csv(out).groupby("method")["neurons"].sum().tolist() == [3, 3]


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("csv", b"one,other,")])
def test_one_plot_goes_into_one_file(folder, tmp_path, suffix, start):
    out = tmp_path / f"plot.{suffix}"
    assert main(["plot", str(folder / "similarity.json"), "-o", str(out)]) == 0
    assert out.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [out]


def test_rankings(folder, tmp_path):
    out = tmp_path / "plots"
    given = [str(folder / f"{method}.npz") for method in ("probeless", "mean_select", "variance")]
    assert main(["plot", *given, "-k", "25%", "-o", str(out)]) == 0
    layers = pd.read_csv(out / "layers.csv")
    assert layers.groupby("ranking")["neurons"].sum().tolist() == [5, 5, 5]
    expected = Ranking.load(folder / "probeless.npz").distribution(5)
    assert layers[layers["ranking"] == "probeless"]["neurons"].tolist() == list(expected.values())
    overlap = pd.read_csv(out / "overlap.csv")
    assert overlap[overlap["one"] == overlap["other"]]["share"].tolist() == [1.0, 1.0, 1.0]
    assert set(pd.read_csv(out / "classes.csv")["ranking"]) == {"probeless", "mean_select"}


def test_rankings_of_one_method_are_told_apart_by_their_files(folder, tmp_path):
    (folder / "again.npz").write_bytes((folder / "variance.npz").read_bytes())
    out = tmp_path / "overlap.csv"
    given = [str(folder / "variance.npz"), str(folder / "again.npz"), "--kind", "overlap", "-o", str(out)]
    assert main(["plot", *given]) == 0
    assert pd.read_csv(out)["other"].tolist() == ["variance", "again"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compared/comparison.json", "-o", "plot.png"], "choose with --kind from accuracy, layers, overlap"),
        (["compared/comparison.json", "--kind", "sites", "-o", "plot.png"], "there are accuracy, layers, overlap"),
        (["compared/comparison.json", "-k", "7", "-o", "plots"], "there are 3, 10, not 7"),
        (["compared/comparison.json", "-k", "x", "-o", "plots"], "percentage"),
        (["compared/comparison.json", "-o", "plot.pdf"], "must be a .png, .svg or .csv file, or a folder"),
        (["variance.npz", "--kind", "overlap", "-o", "plots"], "there are layers"),
        (["variance.npz", "other.npz", "-o", "plots"], "other.npz: is of other neurons than variance.npz"),
        (["variance.npz", "compared/comparison.json", "-o", "plots"], "rankings alone"),
        (["similarity.json", "-k", "3", "-o", "plots"], "of evaluations and rankings"),
        (["words.json", "-o", "plots"], "no plot of these tables"),
        (["set.h5", "-o", "plots"], "these are no tables"),
        (["none.json", "-o", "plots"], "none.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    assert main(["plot", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(folder.glob("plot*"))
