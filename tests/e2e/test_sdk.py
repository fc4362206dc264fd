"""The SDK against the real server: both halves say the same, edits arrive, errors have names."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from patchclamp import (
    AsyncClient,
    Client,
    Condition,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Positions,
    ablate,
    add,
    clip,
    patch,
    project_out,
    scale,
    set_,
    set_to_mean,
)

PROMPT = "the nurse said that"
SITE = "layers.1.neurons"


def test_generate_score_and_extract_with_and_without_an_edit(address: str) -> None:
    edit = scale(f"{SITE}[0:40]", -3.0)
    with Client(address) as client:
        plain = client.generate(PROMPT, max_new_tokens=8).result()
        edited = client.generate(PROMPT, max_new_tokens=8, interventions=[edit]).result()
        again = client.generate(PROMPT, max_new_tokens=8).result()
        scores = client.score([(PROMPT, " she"), (PROMPT, " he was late")], interventions=[edit])
        sentences = list(client.extract([PROMPT.split(), ["a"]], ["layers.*.residual"], interventions=[edit]))
    assert [token.id for token in plain.tokens] == [token.id for token in again.tokens]
    assert [token.logprob for token in plain.tokens] != [token.logprob for token in edited.tokens]
    assert plain.applied.digest == ""
    assert edited.applied.digest == scores.applied.digest
    assert edited.applied.edits[0].positions_edited == edited.usage.prompt_tokens + edited.usage.generated_tokens - 1
    assert [score.logprob for score in scores] == pytest.approx([score.token_logprobs.sum() for score in scores])
    assert [list(sentence.tokens) for sentence in sentences] == [PROMPT.split(), ["a"]]
    assert sentences[0].activations["layers.2.residual"].shape == (4, 32)


async def test_the_async_half_gives_the_same(address: str) -> None:
    with Client(address) as client:
        expected = await asyncio.to_thread(lambda: client.generate(PROMPT, max_new_tokens=8).text())
    async with AsyncClient(address) as client:
        streams = [client.generate(PROMPT, max_new_tokens=8) for _ in range(5)]
        assert await asyncio.gather(*(stream.text() for stream in streams)) == [expected] * 5
        assert "".join([token.text async for token in client.generate(PROMPT, max_new_tokens=8)]) == expected


@pytest.mark.parametrize(
    "edit",
    [
        ablate(f"{SITE}[3,5]"),
        set_(f"{SITE}[3,5]", [1.0, 2.0]),
        add(f"{SITE}[0:4]", 0.5),
        clip(SITE, min=-0.1, max=0.1),
        patch(f"{SITE}[1]", "the doctor said", -1),
        project_out("layers.0.residual", np.ones(32, dtype=np.float32)),
        ablate(f"{SITE}[1]", positions=Positions(tokens=(" that",), indices=(0,), exclude_special_tokens=True)),
        ablate(f"{SITE}[1]", when=Condition("layers.0.residual[3]", above=-100.0)),
        ablate("module:model.layers.1.mlp.up_proj.output[7]"),
    ],
    ids=str,
)
def test_every_edit_reaches_the_model(address: str, edit: object) -> None:
    with Client(address) as client:
        scores = client.score([(PROMPT, " she")], interventions=[edit])  # type: ignore[list-item]
        (plain,) = client.score([(PROMPT, " she")])
    assert scores.applied.edits[0].positions_edited > 0
    assert scores[0].logprob != plain.logprob


def test_captures_are_what_extraction_gives(address: str) -> None:
    with Client(address) as client:
        generation = client.generate(
            PROMPT, max_new_tokens=3, capture=["layers.1.residual"], capture_prompt=True, dtype="float16"
        ).result()
        (sentence,) = client.extract([PROMPT], ["layers.1.residual"])
    ways = (generation.captured_prompt["layers.1.residual"], sentence.activations["layers.1.residual"])
    one, other = (way.astype(np.float64) for way in ways)
    assert np.allclose(one, other, atol=2e-2)
    assert generation.tokens[0].captured["layers.1.residual"].shape == (1, 32)


def test_models_and_their_sites(address: str) -> None:
    with Client(address) as client:
        assert [model.name for model in client.models()] == ["models/tiny", "models/tiny-bert"]
        bert = client.model("models/tiny-bert")
        (sentence,) = client.extract(["a b"], ["embeddings"], model="models/tiny-bert")
        assert not sentence.masked.any()
    assert {"layers.0.heads", "layers.2.residual"} <= {site.name for site in bert.sites}


EDITS = {
    "interventions[0].neurons.site": ablate("layers.1.neuron"),
    "interventions[0].neurons.indices[0]": ablate(f"{SITE}[48]"),
    "interventions[0].set_to_mean.activation_set": set_to_mean(SITE, "no set"),
    "interventions[0].positions.tokens[0]": ablate(SITE, positions=Positions(tokens=("no such token",))),
    "interventions[0].positions.indices[0]": ablate(SITE, positions=Positions(indices=(99,))),
    "interventions[0].project_out.direction": project_out("layers.0.mlp", np.ones(3, dtype=np.float32)),
}


@pytest.mark.parametrize("field", EDITS)
def test_a_refused_edit_names_its_field(address: str, field: str) -> None:
    with Client(address) as client, pytest.raises(InvalidArgument) as caught:
        client.generate(PROMPT, interventions=[EDITS[field]]).text()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("call", "error", "field"),
    [
        (lambda c: c.generate(PROMPT, top_p=2.0).text(), InvalidArgument, "sampling.top_p"),
        (lambda c: c.generate("").text(), InvalidArgument, "prompt"),
        (
            lambda c: c.generate(PROMPT, intervention_sets=["interventionSets/x"]).text(),
            NotFound,
            "intervention_sets[0]",
        ),
        (lambda c: c.model("models/gpt5"), NotFound, "name"),
        (lambda c: c.model("models/../x"), InvalidArgument, "name"),
        (lambda c: c.generate(PROMPT, model="models/tiny-bert").text(), FailedPrecondition, "model"),
        (lambda c: list(c.extract([["a", " "]], ["embeddings"])), InvalidArgument, "sentences[0].words.words[1]"),
    ],
)
def test_errors_have_a_type_and_a_field(address: str, call, error: type[Exception], field: str) -> None:
    with Client(address) as client, pytest.raises(error) as caught:
        call(client)
    assert caught.value.field == field  # type: ignore[attr-defined]


def test_leaving_a_stream_early_frees_the_server(address: str) -> None:
    with Client(address) as client:
        for _ in range(20):
            with client.generate(PROMPT, max_new_tokens=200) as stream:
                next(iter(stream))
        assert client.generate(PROMPT, max_new_tokens=2).result().usage.generated_tokens == 2
