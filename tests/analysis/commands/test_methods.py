"""`methods`, `rank`, `evaluate`, `compare`, `clusters` and `top-words`, on small sets of planted neurons."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from patchclamp_analysis.cli import main
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS
from patchclamp_analysis.methods.probeless import Probeless
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.analysis.methods.planted import CLASSES, values
from tests.analysis.stored_sets import example, write

QUICK = ["-k", "3", "-k", "50%", "--seeds", "1", "--epochs", "5"]


def planted_set(path: Path, rows: int, seed: int, width: int = 20) -> Path:
    """Two sites of half of the neurons each; sentences of ten words."""
    x, labels = values(rows, width, seed)
    halves = {"layers.0.residual": x[:, : width // 2], "layers.1.residual": x[:, width // 2 :]}
    drawn = example(
        rows, {"layers.0.residual": width // 2, "layers.1.residual": width - width // 2}, layers={"upos": CLASSES}
    )
    content = replace(
        drawn,
        sentences=np.arange(rows) // 10,
        places=(np.arange(rows) % 10).astype(np.int32),
        words=[f"word{number % 37}" for number in range(rows)],
        labels={"upos": labels.tolist()},
        masked=np.arange(rows) % 50 == 49,
        values=halves,
    )
    write(content, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    planted_set(place / "train.h5", 600, 0)
    planted_set(place / "dev.h5", 300, 1)
    return place


@pytest.fixture(scope="module")
def ranking(folder: Path) -> Path:
    path = folder / "probeless.npz"
    assert main(["rank", str(folder / "train.h5"), "-l", "upos", "-m", "probeless", "-o", str(path)]) == 0
    return path


def test_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{listed}" for name in METHODS)
    assert "l1=0.0003" in listed


def test_methods_as_json(capsys):
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == sorted(METHODS)
    assert {"name", "kind", "default", "about"} <= set(listed[0]["parameters"][0])


def test_rank_writes_what_the_library_finds(folder, ranking, capsys):
    with ActivationSet.open(folder / "train.h5") as opened:
        expected = Probeless().rank(Data.from_activation_set(opened, "upos"))
    found = Ranking.load(ranking)
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.class_scores, expected.class_scores)
    assert found.neurons == expected.neurons


def test_rank_prints_the_best_and_what_was_left_out(folder, capsys):
    assert main(["rank", str(folder / "train.h5"), "-l", "upos", "-m", "probeless"]) == 0
    printed = capsys.readouterr()
    first = printed.out.splitlines()[0].split("\t")
    assert first[0].startswith("layers.0.residual[")
    assert len(printed.out.splitlines()) == 10
    assert "12 masked rows" in printed.err


def test_rank_takes_parameters_and_sites(folder, tmp_path):
    out = [tmp_path / f"found.{kind}" for kind in ("npz", "csv", "json")]
    outputs = [part for path in out for part in ("-o", str(path))]
    given = ["-p", "scale=false", "-s", "layers.1.residual", *outputs]
    assert main(["rank", str(folder / "train.h5"), "-l", "upos", "-m", "probeless", *given]) == 0
    found = Ranking.load(out[0])
    assert found.parameters["scale"] is False
    assert [site.name for site in found.neurons.sites] == ["layers.1.residual"]
    assert pd.read_csv(out[1]).iloc[0]["index"] == found.top(1)[0].index
    assert json.loads(out[2].read_text())["neurons"][0][1] == found.top(1)[0].index


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "probles", "-l", "upos"], "no such method"),
        (["-m", "probeless", "-l", "upos", "-p", "scal=1"], "did you mean scale"),
        (["-m", "probeless", "-l", "upos", "-p", "scale"], "NAME=VALUE"),
        (["-m", "probeless", "-l", "xpos"], "xpos"),
        (["-m", "probeless"], "needs a class"),
        (["-m", "probeless", "-l", "upos", "-s", "layers.7.residual"], "no such site"),
        (["-m", "probeless", "-l", "upos", "-o", "found.txt"], ".npz, .csv or .json"),
    ],
)
def test_rank_says_what_is_wrong(folder, arguments, message, capsys):
    assert main(["rank", str(folder / "train.h5"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_evaluate_writes_tables_plots_and_a_report(folder, ranking, tmp_path, capsys):
    out = tmp_path / "probeless"
    sets = [str(folder / "train.h5"), str(ranking), "--test", str(folder / "dev.h5"), "-l", "upos", "-o", str(out)]
    assert main(["evaluate", *sets, *QUICK]) == 0
    assert {path.name for path in out.iterdir()} == {
        *(f"{plot}.{kind}" for plot in ("accuracy", "layers") for kind in ("png", "svg")),
        "comparison.csv",
        "comparison.json",
        "report.html",
    }
    table = pd.read_csv(out / "comparison.csv")
    assert table["count"].tolist() == [3, 10]
    assert table["accuracy_top"].iloc[1] > table["accuracy_bottom"].iloc[1]
    assert "all 20 neurons" in capsys.readouterr().out


def test_compare_ranks_on_a_part_when_there_is_no_test_set(folder, tmp_path):
    out = tmp_path / "compared"
    chosen = ["-m", "probeless", "-m", "variance", "-l", "upos", "-o", str(out)]
    assert main(["compare", str(folder / "train.h5"), *chosen, *QUICK]) == 0
    content = json.loads((out / "comparison.json").read_text())
    assert content["methods"] == ["probeless", "variance"]
    first = content["evaluations"][0]
    # A fiftieth part of the rows is masked; a fifth of the others is kept aside.
    assert first["train_rows"] + first["test_rows"] == 588
    assert first["test_rows"] == pytest.approx(0.2 * 588, abs=10)
    assert (out / "overlap.png").exists()


def test_compare_numbers_rankings_of_one_method(folder, ranking, tmp_path):
    out = tmp_path / "compared"
    sets = [str(folder / "train.h5"), str(ranking), "-m", "probeless", "--test", str(folder / "dev.h5"), "-l", "upos"]
    assert main(["compare", *sets, "-o", str(out), *QUICK]) == 0
    content = json.loads((out / "comparison.json").read_text())
    assert content["methods"] == ["probeless 1", "probeless 2"]
    assert content["agreement"]["3"]["average_overlap"] == [1.0, 1.0]


def test_rankings_that_are_made_need_a_test_set(folder, ranking, tmp_path, capsys):
    given = [str(folder / "train.h5"), str(ranking), "-l", "upos", "-o", str(tmp_path / "out")]
    assert main(["compare", *given, *QUICK]) == 1
    assert "give another one to judge by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_ranking_of_another_set(folder, ranking, tmp_path, capsys):
    other = planted_set(tmp_path / "other.h5", 300, 2, width=18)
    given = [str(other), str(ranking), "--test", str(other), "-l", "upos", "-o", str(tmp_path / "out")]
    assert main(["evaluate", *given, *QUICK]) == 1
    assert "of other neurons" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "message"), [("ten", "percentage"), ("x%", "percentage"), ("1.5", "percentage"), ("0", "out of bounds")]
)
def test_counts_that_cannot_be(folder, ranking, tmp_path, count, message, capsys):
    given = [str(folder / "train.h5"), str(ranking), "--test", str(folder / "dev.h5"), "-l", "upos"]
    assert main(["evaluate", *given, "-o", str(tmp_path / "out"), "-k", count]) == 1
    assert message in capsys.readouterr().err


def test_clusters_are_those_of_the_library(folder, tmp_path, capsys):
    out = tmp_path / "clusters.csv"
    assert main(["clusters", str(folder / "train.h5"), "-t", "0.2", "-o", str(out)]) == 0
    table = pd.read_csv(out)
    # Neurons 6 to 8 are exact copies of 0 to 2.
    cluster = table["cluster"].tolist()
    assert [cluster[6], cluster[7], cluster[8]] == [cluster[0], cluster[1], cluster[2]]
    assert "20 neurons in 17 clusters: 15.0% redundant" in capsys.readouterr().out


def test_top_words_of_neurons_and_of_a_ranking(folder, ranking, tmp_path, capsys):
    out = tmp_path / "words.json"
    asked = ["-n", "layers.1.residual[3]", "-r", str(ranking), "-k", "2", "--top", "4", "-o", str(out)]
    assert main(["top-words", str(folder / "train.h5"), *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    best = [f"{neuron.site}[{neuron.index}]" for neuron in Ranking.load(ranking).top(2)]
    assert [line.split("\t")[0] for line in lines] == ["layers.1.residual[3]", *best]
    content = json.loads(out.read_text())
    assert [len(each["words"]) for each in content] == [4, 4, 4]
    assert content[0]["words"][0]["score"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give neurons"),
        (["-n", "layers.1.residual"], "SITE[INDEX]"),
        (["-n", "layers.1.residual[10]"], "0 to 9"),
        (["-n", "layers.9.residual[1]"], "no such site"),
    ],
)
def test_top_words_says_what_is_wrong(folder, arguments, message, capsys):
    assert main(["top-words", str(folder / "train.h5"), *arguments]) == 1
    assert message in capsys.readouterr().err
