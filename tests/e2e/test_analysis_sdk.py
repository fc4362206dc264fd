"""From annotated text to edited neurons, through the SDK and the command line, against the real server."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from patchclamp import Client, CorpusSource, InvalidArgument, NotFound, ablate
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
