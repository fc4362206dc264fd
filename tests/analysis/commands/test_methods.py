"""`methods`, `rank`, `evaluate`, `compare`, `clusters` and `top-words`, on small sets of planted neurons."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from patchclamp_analysis.cli import main
from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation import Comparison
from patchclamp_analysis.methods import METHODS, RANKING_METHODS, describe
from patchclamp_analysis.methods.probeless import Probeless
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.tables import Tables

from tests.analysis.commands.planted_sets import QUICK, planted_set
from tests.analysis.pages import Page


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
    for name in METHODS:
        command = "rank" if name in RANKING_METHODS else "analyze"
        assert re.search(rf"^{name} +{command} ", listed, re.MULTILINE)


def test_methods_as_json(capsys):
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == sorted(METHODS)
    assert {"name", "kind", "default", "about"} <= set(listed[0]["parameters"][0])
    assert [each["name"] for each in listed if each["command"] == "rank"] == sorted(RANKING_METHODS)


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


def test_a_pattern_chooses_sites(folder, tmp_path):
    given = ["-m", "variance", "-s", "layers.*.residual", "-s", "layers.1.residual", "-o", str(tmp_path / "found.npz")]
    assert main(["rank", str(folder / "train.h5"), *given]) == 0
    sites = [site.name for site in Ranking.load(tmp_path / "found.npz").neurons.sites]
    assert sites == ["layers.0.residual", "layers.1.residual"]


def test_rank_writes_a_report(folder, tmp_path):
    out = tmp_path / "found.html"
    assert main(["rank", str(folder / "train.h5"), "-l", "upos", "-m", "probeless", "-o", str(out)]) == 0
    page = Page.of(out)
    assert {"probeless", "train.h5: 588 rows, 20 neurons of models/tiny"} <= set(page.cells)
    assert page.pictures == ["Layers of the top 2", "Neurons with half of what a ranking gives to a class"]


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
        (["-m", "probeless"], "needs a class for each row: choose a layer of labels with --label; there are upos"),
        (["-m", "probeless", "-l", "upos", "-s", "layers.7.residual"], "no such site"),
        (["-m", "nmf"], "`patchclamp-analysis analyze SET -m nmf` runs it"),
        (["-m", "cross_model"], "compares several sets: `patchclamp-analysis analyze"),
        (["-m", "probeless", "-l", "upos", "-o", "no-such-folder/found.npz"], "no such folder"),
        (["-m", "probeless", "-l", "upos", "-o", "/proc/found.npz"], "/proc: nothing can be written into this folder"),
        (["-m", "probeless", "-l", "upos", "-o", "found.txt"], "must be a .npz, .csv, .json or .html file"),
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
    page = Page.of(out / "report.html")
    assert {"to train on", "train.h5: 588 rows, 20 neurons of models/tiny", "to judge by", "versions"} <= set(
        page.cells
    )
    table = pd.read_csv(out / "comparison.csv")
    assert table["count"].tolist() == [3, 10]
    assert table["accuracy_top"].iloc[1] > table["accuracy_bottom"].iloc[1]
    assert "all 20 neurons" in capsys.readouterr().out


def test_compare_ranks_on_a_part_when_there_is_no_test_set(folder, tmp_path):
    out = tmp_path / "compared"
    chosen = ["-m", "probeless", "-m", "variance", "-l", "upos", "-o", str(out)]
    assert main(["compare", str(folder / "train.h5"), *chosen, *QUICK]) == 0
    found = Comparison.from_tables(Tables.load(out / "comparison.json"))
    assert found.methods == ("probeless", "variance")
    first = found.evaluations[0]
    # A fiftieth part of the rows is masked; a fifth of the others is kept aside.
    assert first.train_rows + first.test_rows == 588
    assert first.test_rows == pytest.approx(0.2 * 588, abs=10)
    assert (out / "overlap.png").exists()


def test_compare_numbers_rankings_of_one_method(folder, ranking, tmp_path):
    out = tmp_path / "compared"
    sets = [str(folder / "train.h5"), str(ranking), "-m", "probeless", "--test", str(folder / "dev.h5"), "-l", "upos"]
    assert main(["compare", *sets, "-o", str(out), *QUICK]) == 0
    found = Comparison.from_tables(Tables.load(out / "comparison.json"))
    assert found.methods == ("probeless 1", "probeless 2")
    page = Page.of(out / "report.html")
    assert page.headings.count("Neurons with half of what a ranking gives to each class") == 1
    place = page.cells.index("class")
    assert page.cells[place : place + 3] == ["class", "probeless 1", "probeless 2"]
    assert page.cells[page.cells.index("parameters") + 1].startswith("counts = 3 0.5, ")
    assert found.average_overlap[0].tolist() == [1.0, 1.0]


def test_rankings_that_are_made_need_a_test_set(folder, ranking, tmp_path, capsys):
    given = [str(folder / "train.h5"), str(ranking), "-l", "upos", "-o", str(tmp_path / "out")]
    assert main(["compare", *given, *QUICK]) == 1
    assert "give another one to judge by" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_corpus_to_judge_by_needs_its_set(folder, tmp_path, capsys):
    given = [str(folder / "train.h5"), "-m", "variance", "-l", "upos", "-o", str(tmp_path / "out")]
    assert main(["compare", *given, "--test-corpus", "dev.words"]) == 1
    assert "are of --test" in capsys.readouterr().err


def test_a_ranking_of_another_set(folder, ranking, tmp_path, capsys):
    other = planted_set(tmp_path / "other.h5", 300, 2, width=18)
    given = [str(other), str(ranking), "--test", str(other), "-l", "upos", "-o", str(tmp_path / "out")]
    assert main(["evaluate", *given, *QUICK]) == 1
    assert "of other neurons: 20 of layers.0.residual to layers.1.residual, not 18 of" in capsys.readouterr().err


def test_a_ranking_of_some_sites_is_judged_with_these(folder, tmp_path, capsys):
    train, one, out = str(folder / "train.h5"), str(tmp_path / "one.npz"), str(tmp_path / "out")
    site = ["-s", "layers.1.residual"]
    assert main(["rank", train, "-m", "variance", *site, "-o", one]) == 0
    given = [train, one, "--test", str(folder / "dev.h5"), "-l", "upos", "-o", out, *QUICK]
    assert main(["evaluate", *given]) == 1
    assert "not 20 of layers.0.residual to layers.1.residual; --site chooses" in capsys.readouterr().err
    assert main(["evaluate", *given, *site]) == 0
    assert "all 10 neurons" in capsys.readouterr().out


def test_there_must_be_something_to_compare(folder, tmp_path, capsys):
    assert main(["compare", str(folder / "train.h5"), "-l", "upos", "-o", str(tmp_path / "out")]) == 1
    assert "--method: there is nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("taken", "taken: is a file"),
        ("taken.npz", "taken.npz: is a file"),
        ("taken/out", "taken: is a file"),
        ("/proc/out", "/proc: nothing can be written"),
    ],
)
def test_where_no_folder_can_be(folder, ranking, tmp_path, capsys, place, message):
    for name in ("taken", "taken.npz"):
        (tmp_path / name).write_text("mine")
    given = [str(folder / "train.h5"), str(ranking), "--test", str(folder / "dev.h5"), "-l", "upos"]
    assert main(["evaluate", *given, "-o", str(tmp_path / place)]) == 1
    assert message in capsys.readouterr().err


def test_into_a_pipe_tables_go_as_wide_as_they_are(capsys):
    assert main(["methods"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line.startswith("compositional ")]
    assert line.endswith(describe(METHODS["compositional"]).summary)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        *((count, f"--count: {count} is neither a number of neurons") for count in ("ten", "x%", "1.5", "0", "100%")),
        ("9999", "--count: 9,999 of 20 neurons: there are not as many"),
    ],
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
    ("name", "indices"), [("[3]", [3]), ("[7,3]", [7, 3]), ("[0:3]", [0, 1, 2]), ("[9,0:2,1]", [9, 0, 1])]
)
def test_neurons_are_named_one_by_one_or_together(folder, tmp_path, name, indices):
    out = tmp_path / "words.json"
    asked = ["-n", f"layers.1.residual{name}", "-o", str(out)]
    assert main(["top-words", str(folder / "train.h5"), *asked]) == 0
    assert [each["index"] for each in json.loads(out.read_text())] == indices


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give neurons"),
        (["-n", "layers.1.residual"], "SITE[INDEX]"),
        (["-n", "layers.1.residual[10]"], "0 to 9"),
        (["-n", "layers.1.residual[3:3]"], "no index from 3"),
        (["-n", "layers.1.residual[3;4]"], "SITE[INDEX]"),
        (["-n", "layers.9.residual[1]"], "no such site"),
    ],
)
def test_top_words_says_what_is_wrong(folder, arguments, message, capsys):
    assert main(["top-words", str(folder / "train.h5"), *arguments]) == 1
    assert message in capsys.readouterr().err
