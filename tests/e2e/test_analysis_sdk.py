"""From annotated text to edited neurons, through the SDK and the command line, against the real server."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patchclamp import ActivationSetFile, Client, CorpusSource, IncompleteTable, InvalidArgument, NotFound, ablate
from patchclamp._cli import main

WORDS = [["the", "nurse", "said"], ["she", "was", "late"], ["the", "doctor", "was", "busy"], ["he", "said"]] * 10
TAGS = [["DET", "NOUN", "VERB"], ["PRON", "VERB", "ADJ"], ["DET", "NOUN", "VERB", "ADJ"], ["PRON", "VERB"]] * 10


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def words(client: Client) -> str:
    """A set of the decoder's neurons with a layer of labels."""
    client.corpora.upload(CorpusSource.sentences(WORDS, labels={"upos": TAGS}), id="ranked")
    work = client.activation_sets.create("corpora/ranked", ["layers.*.neurons"], model="models/tiny", id="ranked")
    return work.result(timeout=60).name


def test_the_best_neurons_are_ablated(client: Client, words: str) -> None:
    ranking = client.analysis.rank(words, method="probeless", label="upos", top=10).result(timeout=60)
    edits = ablate(ranking.top(10))
    stream = client.generate("the nurse said", model="models/tiny", interventions=edits, max_new_tokens=3)
    applied = stream.result().applied
    assert [edit.positions_edited > 0 for edit in applied.edits] == [True] * len(edits)
    assert {(neuron.site, neuron.index) for neuron in ranking.top(10)} == {
        (edit.to_proto().neurons.site, index) for edit in edits for index in edit.to_proto().neurons.indices
    }


def test_what_is_wrong_is_said(client: Client, words: str) -> None:
    with pytest.raises(InvalidArgument, match="nearest is 'probeless'"):
        client.analysis.rank(words, method="probles")
    with pytest.raises(InvalidArgument) as caught:
        client.analysis.rank(words, method="linear_probe", parameters={"alpha": 1})
    assert caught.value.field == "parameters.alpha"


def test_on_the_command_line(
    client: Client, address: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        assert main([*arguments, "--target", address]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "probeless" in run("methods")
    assert "rankings/cli" in run("rank", words, "-m", "linear_probe", "-p", "l1=0.001", "--id", "cli", "--top", "5")
    run("rankings", "export", "rankings/cli", "-o", str(tmp_path / "cli.csv"))
    with (tmp_path / "cli.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + client.analysis.rankings.get("rankings/cli").neuron_count
    assert "probes/cli" in run("probes", "train", words, "--ranking", "rankings/cli", "--top", "5", "--id", "cli")
    assert "accuracy" in run("probes", "evaluate", "probes/cli", words)
    run("probes", "delete", "probes/cli")
    run("rankings", "delete", "rankings/cli")
    with pytest.raises(NotFound):
        client.analysis.rankings.get("rankings/cli")


def test_rankings_are_judged(client: Client, words: str) -> None:
    rankings = [
        client.analysis.rank(words, method=method, label="upos", id=f"judged-{number}").result(timeout=60)
        for number, method in enumerate(["probeless", "gaussian"])
    ]
    work = client.analysis.evaluate(rankings, parameters={"counts": [5], "seeds": 2, "epochs": 5}, id="judged")
    made = work.result(timeout=120)
    found = client.analysis.analyses.get(made, rows=1000)
    assert (found.method, found.label, found.rankings) == ("evaluation", "upos", tuple(each.name for each in rankings))
    scores = found.table("scores").to_pandas()
    top = scores[(scores["measure"] == "accuracy") & (scores["neurons"] == "top")]
    assert sorted(zip(top["method"], top["seed"], strict=True)) == [
        ("judged-0", 0),
        ("judged-0", 1),
        ("judged-1", 0),
        ("judged-1", 1),
    ]
    assert top["value"].between(0, 1).all()
    summary = found.table("summary").to_pandas().set_index("method")["accuracy_top"]
    assert summary.to_dict() == pytest.approx(top.groupby("method")["value"].mean().to_dict())


def test_what_neurons_stand_for(client: Client, words: str, tmp_path: Path) -> None:
    """What is got, whole, is what is exported; what is not whole is not taken for it."""
    made = client.analysis.analyze(words, method="top_words", neurons="layers.1.neurons[3,5]", id="stand").result(60)
    assert set(made.table("words").columns["index"].tolist()) <= {3, 5}
    path = client.analysis.analyses.export(made, tmp_path / "stand.json")
    exported = json.loads(path.read_text())
    assert (exported["method"], exported["parameters"]) == ("top_words", made.parameters)
    whole = client.analysis.analyses.get(made, rows=100_000)
    assert {name: table.to_pandas().to_dict("list") for name, table in whole.tables.items()} == exported["tables"]
    part = client.analysis.analyses.get(made, rows=1).table("words")
    assert (len(part), part.row_count) == (1, len(whole.table("words")))
    with pytest.raises(IncompleteTable):
        part.to_pandas()
    client.analysis.analyses.delete(made)
    assert made.name not in [each.name for each in client.analysis.analyses.list()]


def test_the_concept_of_a_neuron(client: Client, words: str, tmp_path: Path) -> None:
    """The formula of one concept is the class that the file of the set shows to overlap most."""

    def formulas(length: int) -> dict[str, list[Any]]:
        how = {"length": length}
        work = client.analysis.analyze(
            words, method="compositional", label="upos", neurons="layers.1.neurons[3]", parameters=how
        )
        return {name: values.tolist() for name, values in work.result(60).table("formulas").columns.items()}

    (formula,), (iou,) = formulas(1)["formula"], formulas(1)["iou"]
    with ActivationSetFile(client.activation_sets.download(words, tmp_path)) as file:
        fires, tags = file["layers.1.neurons"][:, 3] > 0, file.labels("upos")
    overlaps = {tag: (fires & (tags == tag)).sum() / (fires | (tags == tag)).sum() for tag in set(tags)}
    assert (formula, iou) == (max(overlaps, key=overlaps.__getitem__), pytest.approx(max(overlaps.values())))
    assert formulas(3)["iou"][0] >= iou


def test_a_text_gives_what_a_set_of_it_gives(client: Client, words: str) -> None:
    neurons = ["layers.1.neurons[3,5]", "layers.2.neurons[0]"]
    stored = client.analysis.top_words(words, neurons)
    live = client.analysis.top_words(neurons=neurons, text=WORDS, model="models/tiny")
    assert [(each.site, each.index) for each in live] == [(each.site, each.index) for each in stored]
    for one, other in zip(live, stored, strict=True):
        assert {word.word: word.count for word in one.words} == {word.word: word.count for word in other.words}
        assert {word.word: word.score for word in one.words} == pytest.approx(
            {word.word: word.score for word in other.words}, abs=1e-3
        )


def test_analyses_on_the_command_line(
    client: Client, address: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        assert main([*arguments, "--target", address]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    file = tmp_path / "words.csv"
    text = ["--text", "the nurse said that she was late", "--words", "--model", "models/tiny"]
    out = run("analyze", "-m", "top_words", "-n", "layers.1.neurons[3]", *text, "--id", "cli", "-o", str(file))
    assert "analyses/cli" in out
    with file.open(newline="") as opened:
        assert {row["index"] for row in csv.DictReader(opened)} == {"3"}
    assert "words (" in run("analyses", "get", "analyses/cli", "--table", "words")
    run("rank", words, "-m", "probeless", "-l", "upos", "--id", "cli-judged")
    quick = ["-p", "counts=[5]", "-p", "seeds=1", "-p", "epochs=2"]
    assert "accuracy_top" in run("evaluate", "rankings/cli-judged", *quick, "--id", "cli-judged")
    assert "analyses/cli-judged" in run("analyses", "list")
    run("analyses", "delete", "analyses/cli-judged")
    assert "nurse" in run("top-words", "layers.1.neurons[3]", *text)
