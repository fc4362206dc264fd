"""Models with heads and encoder-decoders, from the SDK to the real server."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from patchclamp import Client, FailedPrecondition, ablate

from tests.e2e.conftest import COMMAND
from tests.tiny import LABELS, save_tiny

MODELS = ("bert-mlm", "bert-seqcls", "bert-tokcls", "t5")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("headed")
    flags = [part for name in MODELS for part in ("--model", f"{name}={save_tiny(name, folder / name)}")]
    flags += ["--listen", "127.0.0.1:0", "--cache", str(folder / "cache"), "--data-dir", str(folder / "data")]
    with subprocess.Popen(
        [COMMAND, "serve", *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"patchclamp listening on (\S+)", process.stdout.readline())
        assert found
        with Client(found[1]) as client:
            yield client
        process.terminate()


def test_masks_are_filled_and_an_edit_changes_what_with(client: Client) -> None:
    model = client.model("models/bert-mlm")
    texts = [f"the nurse {model.mask_token} that {model.mask_token} left", f"{model.mask_token} again"]
    plain = client.fill_mask(texts, model=model.name, top=3)
    edited = client.fill_mask(texts, model=model.name, top=3, interventions=[ablate("layers.1.neurons")])
    assert [len(masks) for masks in plain] == [2, 1]
    assert [len(mask.top) for masks in plain for mask in masks] == [3, 3, 3]
    assert plain[0][0].top[0].logprob != edited[0][0].top[0].logprob
    assert edited.applied.edits[0].positions_edited > 0


@pytest.mark.parametrize("name", ["bert-seqcls", "bert-tokcls"])
def test_texts_and_words_are_classified(client: Client, name: str) -> None:
    sentences = [["the", "nurse", "left"], ["again"]]
    found = client.classify(sentences, model=f"models/{name}")
    per_word = name == "bert-tokcls"
    assert client.model(f"models/{name}").labels == LABELS
    for sentence, result in zip(sentences, found, strict=True):
        groups = [word.classes for word in result.words] if per_word else [result.classes]
        assert [word.word for word in result.words] == (sentence if per_word else [])
        for classes in groups:
            assert {each.label for each in classes} == set(LABELS)
            assert sum(each.probability for each in classes) == pytest.approx(1, abs=1e-5)


def test_an_encoder_decoder_writes_scores_and_shows_both_sides(client: Client) -> None:
    model = "models/t5"
    generation = client.generate("the nurse said", model=model, max_new_tokens=6).result()
    edited = client.generate(
        "the nurse said", model=model, max_new_tokens=6, interventions=[ablate("decoder.layers.0.neurons")]
    ).result()
    assert generation.tokens
    assert edited.applied.edits[0].positions_edited > 0
    (score,) = client.score([("the nurse said", "that she left")], model=model)
    assert score.logprob < 0
    sites = ["encoder.layers.0.residual", "decoder.layers.1.residual"]
    (sentence,) = client.extract([["the", "nurse"]], sites, model=model, targets=[["she", "has", "left"]])
    assert [len(sentence.activations[site]) for site in sites] == [2, 3]
    assert np.isfinite(sentence.activations[sites[1]]).all()


def test_what_a_model_cannot_do_is_said(client: Client) -> None:
    with pytest.raises(FailedPrecondition, match="language"):
        client.generate("a", model="models/bert-mlm").text()
    with pytest.raises(FailedPrecondition):
        client.fill_mask(["a [MASK]"], model="models/t5")
    with pytest.raises(FailedPrecondition):
        client.classify(["a"], model="models/bert-mlm")
