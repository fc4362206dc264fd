"""Analyses over a real port: what they hold, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp_analysis.data import Data
from patchclamp_analysis.results import Ranking
from patchclamp_service.analyses import checks, plans

from tests.service.analyses.analyst import SENTENCES, SET, TAGS, struct
from tests.service.analyses.examiner import (
    LLAMA,
    RESIDUALS,
    Examiner,
    assert_same,
    examined,
    expected,
    frame,
    neurons,
    tables_of,
    text_of,
    with_models,
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


# What analyses hold


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("top_words", {"min_count": 2, "top": 3}),
        ("top_contexts", {"words": 2, "sign": "negative", "top": 2}),
        ("representation_similarity", {}),
        ("correlation_clusters", {"threshold": 0.5}),
    ],
)
async def test_an_analysis_is_what_the_library_finds(
    client: Examiner, data: Data, method: str, parameters: dict[str, Any]
) -> None:
    found = await client.analyzed(method, parameters)
    wanted = expected(method, data, parameters)
    whole = await client.get(found.name, rows=100_000)
    assert_same(tables_of(whole), dict(wanted.tables))
    assert_same(tables_of(found), {name: table.iloc[:100] for name, table in wanted.tables.items()})
    assert [table.row_count for table in found.tables] == [len(table) for table in wanted.tables.values()]


async def test_what_an_analysis_says_of_itself(client: Examiner, data: Data) -> None:
    found = await client.analyzed("top_words", {"top": 3}, analysis_id="described", ranking="rankings/best", top=4)
    stored = await client.activations.GetActivationSet(activations.GetActivationSetRequest(name=SET))
    assert (found.name, found.method, found.label) == ("analyses/described", "top_words", "")
    assert dict(found.parameters.items()) == {"top": 3, "threshold": 0.1, "min_count": 1}
    assert (list(found.activation_sets), list(found.activation_set_sha256s)) == ([SET], [stored.sha256])
    assert (list(found.rankings), found.row_count) == (["rankings/best"], len(data))
    assert (found.model, found.model_digest) == (LLAMA, stored.model_digest)
    assert found.create_time.seconds
    assert await client.get(found.name) == found
    few = await client.get(found.name, rows=2)
    assert_same(tables_of(few), {"words": frame(found.tables[0]).iloc[:2]})
    assert few.tables[0].row_count == found.tables[0].row_count > 2
    listed = (await client.analysis.ListAnalyses(v1.ListAnalysesRequest(page_size=1000))).analyses
    (own,) = (each for each in listed if each.name == found.name)
    assert list(own.tables) == [v1.Table(name="words", row_count=found.tables[0].row_count)]


async def test_rows_without_a_label_are_left_out(client: Examiner, data: Data) -> None:
    found = await client.analyzed("top_contexts", {"top": 1}, label="some")
    labelled = sum(tag in ("NOUN", "VERB") for tags in TAGS for tag in tags)
    assert (found.label, found.row_count) == ("some", labelled)
    assert labelled < len(data)
    assert f"{len(data) - labelled} unlabelled" in found.notes[0]


async def test_labels_of_a_method_that_needs_them(client: Examiner) -> None:
    found = await client.analyzed("representation_analysis", {"epochs": 1}, label="upos")
    assert found.label == "upos"
    few = await client.analyzed("representation_analysis", {"epochs": 1}, activation_set="activationSets/few")
    assert few.label == "upos"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"sites": ["layers.1.residual"]}, [("layers.1.residual", range(32))]),
        (
            {"neurons": [neurons("layers.2.residual", 5, 3), neurons("layers.0.residual", 7, 7)]},
            [("layers.0.residual", [7]), ("layers.2.residual", [3, 5])],
        ),
        (
            {"neurons": [neurons("layers.1.residual", 5), neurons("layers.1.residual")]},
            [("layers.1.residual", range(32))],
        ),
    ],
)
async def test_only_some_neurons(client: Examiner, fields: Any, wanted: Any) -> None:
    found = await client.analyzed("top_contexts", {"top": 1}, **fields)
    table = frame(found.tables[0])
    assert list(zip(table["site"], table["index"], strict=True)) == [(s, i) for s, indices in wanted for i in indices]


@pytest.mark.parametrize(("top", "count"), [(0, 10), (3, 3)])
async def test_only_the_best_neurons_of_a_ranking(client: Examiner, top: int, count: int) -> None:
    found = await client.analyzed("top_contexts", {"top": 1}, ranking="rankings/best", top=top)
    (path,) = (client.folder / "rankings").glob("best@*")
    best = {(neuron.site, neuron.index) for neuron in Ranking.load(path).top(count)}
    table = frame(found.tables[0])
    assert set(zip(table["site"], table["index"], strict=True)) == best
    assert len(best) == count


async def test_sets_of_the_same_words_are_compared(client: Examiner) -> None:
    found = await client.analyzed("representation_similarity", compare_with=["activationSets/bert"], sites=RESIDUALS)
    assert list(found.activation_sets) == [SET, "activationSets/bert"]
    assert len(set(found.activation_set_sha256s)) == 2
    table = frame(found.tables[0])
    assert table[["one", "other"]].to_numpy().tolist() == [[SET, "activationSets/bert"]]
    assert 0 < table["similarity"][0] < 1


async def test_other_words_fail_the_operation(client: Examiner) -> None:
    found = await client.analysis_failed(
        "representation_similarity", compare_with=["activationSets/few"], analysis_id="of-others"
    )
    assert found[:2] == ("INVALID_ARGUMENT", "BAD_DATA")
    assert "same words" in found[2]
    assert [name for name in client.files("analyses") if "of-others" in name] == []


# What is refused


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"method": "top_word"}, "UNKNOWN_METHOD", "method"),
        ({"method": "probeless", "label": "upos"}, "ANSWERS_WITH_RANKING", "method"),
        ({"method": "cross_model"}, "ANSWERS_WITH_RANKING", "method"),
        ({"parameters": struct({"top": -1})}, "INVALID_PARAMETER", "parameters.top"),
        ({"parameters": struct({"tops": 1})}, "INVALID_PARAMETER", "parameters.tops"),
        ({"label": "pos"}, "UNKNOWN_LAYER", "label"),
        ({"method": "representation_analysis"}, "LAYER_NEEDED", "label"),
        ({"sites": ["layers.0.residual", "layers.9.mlp"]}, "UNKNOWN_SITE", "sites[1]"),
        ({"sites": RESIDUALS, "neurons": [neurons("layers.0.residual")]}, "TWO_CHOICES", "neurons"),
        ({"sites": RESIDUALS, "ranking": "rankings/best"}, "TWO_CHOICES", "ranking"),
        ({"neurons": [neurons("layers.0.residual")], "ranking": "rankings/best"}, "TWO_CHOICES", "ranking"),
        ({"neurons": [neurons("layers.0.mlp")]}, "UNKNOWN_SITE", "neurons[0].site"),
        ({"neurons": [neurons("layers.0.residual", 0, 32)]}, "INDEX_OUT_OF_RANGE", "neurons[0].indices[1]"),
        ({"top": 3}, "NO_RANKING", "top"),
        ({"ranking": "rankings/best", "top": 97}, "OUT_OF_RANGE", "top"),
        ({"ranking": "analyses/x"}, "INVALID_NAME", "ranking"),
        ({"ranking": "rankings/best", "activation_set": "activationSets/few"}, "UNKNOWN_SITE", "activation_set"),
        ({"compare_with": ["activationSets/bert"]}, "SETS_UNUSED", "compare_with"),
        ({"method": "representation_similarity", "compare_with": [SET]}, "GIVEN_TWICE", "compare_with[0]"),
        (
            {"method": "representation_similarity", "compare_with": ["activationSets/few"], "label": "some"},
            "UNKNOWN_LAYER",
            "compare_with[0]",
        ),
        ({"activation_set": ""}, "NO_ACTIVATIONS", "activation_set"),
        ({"activation_set": SET, "text": text_of(["a"]), "sites": RESIDUALS}, "TWO_CHOICES", "text"),
        ({"analysis_id": "../x"}, "INVALID_ID", "analysis_id"),
    ],
)
async def test_what_cannot_work_is_refused_at_once(client: Examiner, fields: Any, reason: str, field: str) -> None:
    before = client.files("analyses")
    assert await refused(client.analyze(**fields)) == ("INVALID_ARGUMENT", reason, field)
    assert client.files("analyses") == before


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"activation_set": "activationSets/pooled"}, ("FAILED_PRECONDITION", "NEEDS_WORDS")),
        (
            {"activation_set": "activationSets/pooled", "method": "top_contexts"},
            ("FAILED_PRECONDITION", "NEEDS_WORDS"),
        ),
        ({"ranking": "rankings/berts"}, ("FAILED_PRECONDITION", "ANOTHER_MODEL")),
        ({"activation_set": "activationSets/no"}, ("NOT_FOUND", "NOT_FOUND")),
        ({"ranking": "rankings/no"}, ("NOT_FOUND", "NOT_FOUND")),
        (
            {"method": "representation_similarity", "compare_with": ["activationSets/no"]},
            ("NOT_FOUND", "NOT_FOUND"),
        ),
    ],
)
async def test_what_does_not_fit_or_is_not_there(client: Examiner, fields: Any, wanted: tuple[str, str]) -> None:
    assert (await refused(client.analyze(**fields)))[:2] == wanted


@pytest.mark.parametrize(
    ("method", "words"),
    [("top_word", "the nearest is 'top_words'"), ("probeless", "RankNeurons runs it")],
)
async def test_a_refusal_says_what_would_be_right(client: Examiner, method: str, words: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=words):
        await client.analyze(method)


async def test_a_method_with_tables_ranks_nothing(client: Examiner) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="AnalyzeActivations runs it"):
        await client.rank("top_words", label="")


async def test_a_package_that_is_not_there(client: Examiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(grpc.aio.AioRpcError, match=r"pip install 'patchclamp\[service,umap\]'"):
        await client.analyze("umap_kmeans")
    assert (await refused(client.analyze("umap_kmeans")))[:2] == ("FAILED_PRECONDITION", "NOT_INSTALLED")


async def test_too_many_neurons_to_say_something_of_each(client: Examiner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_MOST_NEURONS", 64)
    assert (await refused(client.analyze()))[1:] == ("TOO_MANY_NEURONS", "neurons")
    of_text = client.analyze(text=text_of(SENTENCES[0]), sites=RESIDUALS)
    assert (await refused(of_text))[1:] == ("TOO_MANY_NEURONS", "neurons")
    assert await client.analyzed(sites=["layers.0.residual", "layers.1.residual"])
    assert await client.analyzed("representation_similarity")


ONCE: dict[str, Any] = {"request_id": "once"}


@pytest.mark.parametrize(
    "start",
    [
        lambda client, one: client.rank(activation_set=one, **ONCE),
        lambda client, one: client.train(activation_set=one, **ONCE),
        lambda client, one: client.analysis.EvaluateProbe(
            v1.EvaluateProbeRequest(probe="probes/passing", activation_set=one, **ONCE)
        ),
        lambda client, one: client.analysis.FindRedundantNeurons(
            v1.FindRedundantNeuronsRequest(activation_set=one, **ONCE)
        ),
        lambda client, one: client.analysis.EvaluateRankings(
            v1.EvaluateRankingsRequest(rankings=["rankings/best"], activation_set=one, **ONCE)
        ),
        lambda client, one: client.analyze(activation_set=one, **ONCE),
    ],
    ids=["rank", "train", "evaluate a probe", "find redundant", "evaluate rankings", "analyze"],
)
async def test_a_repeated_request_is_the_first_one_when_its_set_is_gone(client: Examiner, start: Any) -> None:
    one = "activationSets/passing"
    await client.made("corpora/words", activation_set_id="passing", model=LLAMA, sites=RESIDUALS)
    if not [name for name in client.files("probes") if name.startswith("passing@")]:
        await client.trained(probe_id="passing")
    operation = await start(client, one)
    await client.cancelled(operation)  # or done by now: it is the same for this
    await client.activations.DeleteActivationSet(activations.DeleteActivationSetRequest(name=one))
    assert (await start(client, one)).name == operation.name
