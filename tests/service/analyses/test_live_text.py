"""Texts that are read for an analysis, over a real port: as sets of the same words, and refused as by extraction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp.v1 import intervention_pb2 as edits
from patchclamp_analysis.data import Data

from tests.service.analyses.analyst import SENTENCES, SET
from tests.service.analyses.examiner import (
    BERT,
    LLAMA,
    RESIDUALS,
    Examiner,
    assert_same,
    examined,
    frame,
    neurons,
    tables_of,
    text_of,
    with_models,
    words,
)
from tests.service.test_server import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_models(tmp_path_factory.mktemp("analyses"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(folder: Path) -> AsyncIterator[Examiner]:
    async with examined(folder) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def data(client: Examiner, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Data]:
    """What the set holds."""
    with await client.downloaded(SET, tmp_path_factory.mktemp("data") / "set.h5") as stored:
        yield Data.from_activation_set(stored)


@pytest.mark.parametrize("method", ["top_words", "top_contexts"])
async def test_a_text_is_like_a_set_of_its_words(client: Examiner, data: Data, method: str) -> None:
    found = await client.analyzed(method, text=text_of(*SENTENCES), sites=RESIDUALS)
    stored = await client.activations.GetActivationSet(activations.GetActivationSetRequest(name=SET))
    assert (list(found.activation_sets), list(found.activation_set_sha256s)) == ([], [])
    assert (found.model, found.model_digest, found.row_count) == (LLAMA, stored.model_digest, len(data))
    whole = await client.get(found.name, rows=100_000)
    of_set = await client.get((await client.analyzed(method)).name, rows=100_000)
    assert_same(tables_of(whole), tables_of(of_set))
    assert client.files("scratch") == []


async def test_the_words_of_a_text_are_those_of_a_set(client: Examiner) -> None:
    chosen = [neurons("layers.1.residual", 5, 0), neurons("layers.0.residual")]
    of_set = await client.words_of(activation_set=SET, neurons=chosen, top=4)
    of_text = await client.words_of(text=text_of(*SENTENCES), neurons=chosen, top=4)
    assert [(each.site, each.index) for each in of_text] == [(each.site, each.index) for each in of_set]
    for one, other in zip(of_text, of_set, strict=True):
        assert [(word.word, word.count) for word in one.words] == [(word.word, word.count) for word in other.words]
        np.testing.assert_allclose([w.score for w in one.words], [w.score for w in other.words], rtol=1e-3)
    assert client.files("scratch") == []


async def test_a_text_by_a_ranking_and_by_neurons(client: Examiner) -> None:
    text = text_of(*SENTENCES[:4])
    by_ranking = await client.analyzed("top_contexts", {"top": 1}, text=text, ranking="rankings/best", top=3)
    table = frame(by_ranking.tables[0])
    best = [neurons(site, index) for site, index in zip(table["site"], table["index"], strict=True)]
    by_neurons = await client.analyzed("top_contexts", {"top": 1}, text=text, neurons=best)
    assert by_ranking.tables == by_neurons.tables
    assert list(by_ranking.rankings) == ["rankings/best"]


async def test_running_text_has_a_row_a_token(client: Examiner) -> None:
    text = v1.LiveText(sentences=[activations.Sentence(text="the nurse said she was late")])
    asked = activations.ExtractActivationsRequest(sentences=text.sentences, sites=["embeddings"])
    (event,) = [event async for event in client.activations.ExtractActivations(asked)]
    found = await client.analyzed("top_contexts", {"words": 1, "top": 1000}, text=text, sites=["embeddings"])
    assert (found.model, found.row_count) == (LLAMA, len(event.tokens))
    whole = frame((await client.get(found.name, rows=100_000)).tables[0])
    assert set(whole["context"]) == set(event.tokens)


async def test_masked_words_are_left_out(client: Examiner) -> None:
    text = text_of(["she", "\u200b", "late"], ["the", "nurse"], model=BERT)
    found = await client.analyzed("top_contexts", {"words": 1}, text=text, sites=["embeddings"])
    assert found.row_count == 4
    assert "1 masked" in found.notes[0]
    (response,) = await client.words_of(text=text, neurons=[neurons("embeddings", 0)])
    assert {word.word for word in response.words} <= {"she", "late", "the", "nurse"}


async def test_edits_count(client: Examiner) -> None:
    chosen = [neurons("layers.1.residual", 3, 4)]
    silenced = edits.Intervention(neurons=neurons("layers.1.residual", 3), ablate=edits.Ablate())
    first, second = await client.words_of(text=text_of(*SENTENCES[:4], interventions=[silenced]), neurons=chosen)
    assert (list(first.words), len(second.words) > 0) == ([], True)
    means = edits.SetToMean(activation_set=SET)
    fixed = edits.Intervention(neurons=neurons("layers.1.residual", 4), set_to_mean=means)
    text = text_of(*SENTENCES[:4], interventions=[silenced, fixed])
    found = await client.analyzed("top_words", text=text, neurons=chosen)
    assert found.tables[0].row_count == 0


@pytest.mark.parametrize(
    "text",
    [
        v1.LiveText(model="models/none", sentences=words(["a"])),
        v1.LiveText(model="llama", sentences=words(["a"])),
        text_of(["a"], [" "]),
        text_of(["a", ""]),
        v1.LiveText(model=LLAMA, sentences=[*words(["a"]), activations.Sentence(text="b")]),
        v1.LiveText(model=LLAMA, sentences=[activations.Sentence(text="a")], aggregation=activations.FIRST),
        v1.LiveText(model=LLAMA, sentences=[activations.Sentence(text="a"), activations.Sentence(text="a " * 600)]),
        text_of(["a"], intervention_sets=["interventionSets/none"]),
        text_of(["a"], interventions=[edits.Intervention(neurons=neurons("layers.9.mlp"), ablate=edits.Ablate())]),
        text_of(["a"], interventions=[edits.Intervention(neurons=neurons("layers.0.mlp", 99), ablate=edits.Ablate())]),
        text_of(["a"], interventions=[edits.Intervention(neurons=neurons("layers.0.mlp"))]),
    ],
    ids=lambda text: "",
)
async def test_a_text_is_refused_as_by_extraction(client: Examiner, text: v1.LiveText) -> None:
    asked = activations.ExtractActivationsRequest(
        model=text.model,
        sentences=text.sentences,
        sites=["embeddings"],
        aggregation=text.aggregation,
        interventions=text.interventions,
        intervention_sets=text.intervention_sets,
    )
    code, reason, field = await refused(client.activations.ExtractActivations(asked))
    wanted = (code, reason, f"text.{field}" if field else "")
    one = v1.TopWordsRequest(text=text, neurons=[neurons("embeddings", 0)])
    assert await refused(client.analysis.TopWords(one)) == wanted
    assert await refused(client.analyze("nmf", text=text, sites=["embeddings"])) == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ("INVALID_ARGUMENT", "NO_SITES", "sites")),
        ({"sites": ["embeddings", "layers.*.nose"]}, ("INVALID_ARGUMENT", "UNKNOWN_SITE", "sites[1]")),
        ({"neurons": [neurons("layers.0.nose")]}, ("INVALID_ARGUMENT", "UNKNOWN_SITE", "neurons[0].site")),
        ({"neurons": [neurons("layers.*.mlp")]}, ("INVALID_ARGUMENT", "UNKNOWN_SITE", "neurons[0].site")),
        (
            {"neurons": [neurons("embeddings"), neurons("layers.0.mlp", 32)]},
            ("INVALID_ARGUMENT", "INDEX_OUT_OF_RANGE", "neurons[1].indices[0]"),
        ),
        ({"ranking": "rankings/berts"}, ("FAILED_PRECONDITION", "ANOTHER_MODEL", "")),
        ({"sites": RESIDUALS, "label": "upos"}, ("INVALID_ARGUMENT", "NO_LABELS", "label")),
        (
            {"sites": RESIDUALS, "method": "representation_analysis"},
            ("INVALID_ARGUMENT", "NO_LABELS", "text"),
        ),
        (
            {"sites": RESIDUALS, "method": "representation_similarity", "compare_with": [SET]},
            ("INVALID_ARGUMENT", "SETS_UNUSED", "compare_with"),
        ),
        (
            {"sites": RESIDUALS, "text": text_of(["a"], aggregation=activations.SENTENCE_MAX)},
            ("FAILED_PRECONDITION", "NEEDS_WORDS", ""),
        ),
    ],
)
async def test_a_text_that_cannot_be_looked_at(client: Examiner, fields: Any, wanted: tuple[str, str, str]) -> None:
    assert await refused(client.analyze(**{"text": text_of(["a", "b"])} | fields)) == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ("INVALID_ARGUMENT", "NO_ACTIVATIONS", "activation_set")),
        ({"activation_set": SET, "text": text_of(["a"])}, ("INVALID_ARGUMENT", "TWO_CHOICES", "text")),
        (
            {"text": text_of(["a"]), "neurons": [neurons("layers.0.nose")]},
            ("INVALID_ARGUMENT", "UNKNOWN_SITE", "neurons[0].site"),
        ),
        (
            {"text": text_of(["a"]), "neurons": [neurons("embeddings", 5, 99)]},
            ("INVALID_ARGUMENT", "INDEX_OUT_OF_RANGE", "neurons[0].indices[1]"),
        ),
        (
            {"text": text_of(["a"], aggregation=activations.SENTENCE_LAST)},
            ("FAILED_PRECONDITION", "NEEDS_WORDS", ""),
        ),
        (
            {"text": text_of(["a"]), "neurons": [neurons("embeddings")] * 40},
            ("INVALID_ARGUMENT", "TOO_MANY_NEURONS", "neurons"),
        ),
    ],
)
async def test_words_that_cannot_be_found(client: Examiner, fields: Any, wanted: tuple[str, str, str]) -> None:
    given: dict[str, Any] = {"neurons": [neurons("layers.0.residual", 0)]} | fields
    assert await refused(client.analysis.TopWords(v1.TopWordsRequest(**given))) == wanted


async def test_more_questions_than_may_wait(client: Examiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchclamp_service.analyses.word_queries._MOST_WAITING", 1)
    asked = {"text": text_of(*SENTENCES[:2]), "neurons": [neurons("embeddings", 0)]}
    answered, turned_away = asyncio.create_task(client.words_of(**asked)), set()
    while not answered.done():
        turned_away.add((await refused(client.words_of(**asked)))[:2] if client.files("scratch") else None)
        await asyncio.sleep(0.01)
    assert turned_away - {None} == {("RESOURCE_EXHAUSTED", "QUEUE_FULL")}
    assert await answered
    assert await client.words_of(**asked)
