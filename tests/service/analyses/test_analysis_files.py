"""Analyses over a real port: exported, listed, deleted, cancelled, taken on after a restart, and without memory."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp.v1 import corpora_pb2
from patchclamp_analysis.data import Data
from patchclamp_analysis.tables import Tables
from patchclamp_service.analyses import analyses

from tests.service.analyses.analyst import ENDLESS, SENTENCES, SET, TAGS, struct
from tests.service.analyses.examiner import (
    LLAMA,
    RESIDUALS,
    Examiner,
    assert_same,
    examined,
    expected,
    neurons,
    said,
    text_of,
    with_models,
    words,
)
from tests.service.test_server import refused, running
from tests.service.work import metadata

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Layers that would be judged for hours.
SLOW: dict[str, Any] = {"method": "representation_analysis", "parameters": struct({"epochs": 100_000})}


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


async def test_exports_hold_all_rows(client: Examiner, data: Data, tmp_path: Path) -> None:
    found = await client.analyzed("correlation_clusters", {"threshold": 0.5})
    wanted = expected("correlation_clusters", data, {"threshold": 0.5})
    (tmp_path / "tables.json").write_bytes(await client.file_of(found.name))
    read = Tables.load(tmp_path / "tables.json")
    assert_same(dict(read.tables), dict(wanted.tables))
    assert dict(read.parameters) == dict(wanted.parameters)
    for name, table in wanted.tables.items():
        text = (await client.file_of(found.name, v1.ANALYSIS_FORMAT_CSV, name)).decode()
        assert_same({name: pd.read_csv(io.StringIO(text))}, {name: table})


async def test_the_only_table_needs_no_name(client: Examiner) -> None:
    found = await client.analyzed("representation_similarity")
    text = (await client.file_of(found.name, v1.ANALYSIS_FORMAT_CSV)).decode()
    assert text.startswith("one,other,similarity\n")


@pytest.mark.parametrize(
    ("form", "table", "reason", "words"),
    [
        (v1.ANALYSIS_FORMAT_CSV, "", "TABLE_NEEDED", "neurons, clusters|clusters, neurons|say which"),
        (v1.ANALYSIS_FORMAT_CSV, "neuron", "UNKNOWN_TABLE", "the nearest is"),
        (v1.ANALYSIS_FORMAT_JSON, "neurons", "TABLE_UNUSED", "all tables"),
    ],
)
async def test_exports_that_cannot_be(client: Examiner, form: Any, table: str, reason: str, words: str) -> None:
    if not [name for name in client.files("analyses") if name.startswith("two@")]:
        await client.analyzed("nmf", {"factors": 2, "iterations": 1}, analysis_id="two")
    request = v1.ExportAnalysisRequest(name="analyses/two", format=form, table=table)
    assert await refused(client.analysis.ExportAnalysis(request)) == ("INVALID_ARGUMENT", reason, "table")
    with pytest.raises(grpc.aio.AioRpcError, match=words):
        _ = [chunk async for chunk in client.analysis.ExportAnalysis(request)]


async def test_large_files_are_read_elsewhere(client: Examiner, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await client.analyzed("top_contexts", {"top": 2})
    csv = await client.file_of(found.name, v1.ANALYSIS_FORMAT_CSV)
    monkeypatch.setattr(analyses, "_SMALL_BYTES", 0)
    assert await client.get(found.name) == found
    assert await client.file_of(found.name, v1.ANALYSIS_FORMAT_CSV) == csv
    again = await client.analyzed("top_contexts", {"top": 2})
    assert again.tables == found.tables


@pytest.mark.parametrize("small", [0, 1 << 20])
async def test_a_file_that_is_not_whole(client: Examiner, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    found = await client.analyzed("representation_similarity", analysis_id=f"cut-{small}")
    monkeypatch.setattr(analyses, "_SMALL_BYTES", small)
    (path,) = (client.folder / "analyses").glob(f"cut-{small}@*")
    path.write_bytes(path.read_bytes()[:-9])
    assert (await refused(client.get(found.name)))[:2] == ("DATA_LOSS", "DATA_LOST")
    path.unlink()
    assert (await refused(client.get(found.name)))[0] == "NOT_FOUND"


async def test_pages(client: Examiner) -> None:
    for number in range(3):
        await client.analyzed("representation_similarity", analysis_id=f"page-{number}")
    listed: list[str] = []
    token = ""
    while True:
        request = v1.ListAnalysesRequest(page_size=2, page_token=token)
        page = await client.analysis.ListAnalyses(request)
        assert 0 < len(page.analyses) <= 2
        listed += [each.name for each in page.analyses]
        token = page.next_page_token
        if not token:
            break
    whole = (await client.analysis.ListAnalyses(v1.ListAnalysesRequest(page_size=1000))).analyses
    assert listed == sorted(listed) == [each.name for each in whole]
    assert {f"analyses/page-{number}" for number in range(3)} < set(listed)


@pytest.mark.parametrize("rpc", ["GetAnalysis", "DeleteAnalysis", "ExportAnalysis"])
async def test_names_of_nothing(client: Examiner, rpc: str) -> None:
    call, kind = getattr(client.analysis, rpc), getattr(v1, f"{rpc}Request")
    assert (await refused(call(kind(name="analyses/no"))))[0] == "NOT_FOUND"
    assert (await refused(call(kind(name="rankings/best"))))[:2] == ("INVALID_ARGUMENT", "INVALID_NAME")


async def test_a_deleted_analysis_is_gone(client: Examiner) -> None:
    found = await client.analyzed("representation_similarity", analysis_id="gone")
    await client.analysis.DeleteAnalysis(v1.DeleteAnalysisRequest(name=found.name))
    assert (await refused(client.get(found.name)))[0] == "NOT_FOUND"
    assert [name for name in client.files("analyses") if name.startswith("gone@")] == []


async def test_the_same_request_is_the_same_operation(client: Examiner) -> None:
    same = {"method": "representation_similarity", "request_id": "mine", "analysis_id": "once"}
    first, second = [await client.analyze(**same) for _ in range(2)]
    assert first.name == second.name
    await client.ended(first)
    assert (await refused(client.analyze(**same | {"method": "top_words"})))[0] == "ALREADY_EXISTS"
    assert (await refused(client.analyze(analysis_id="once")))[0] == "ALREADY_EXISTS"


async def test_a_cancelled_analysis_leaves_nothing_and_lets_go_of_its_sets(client: Examiner) -> None:
    await client.made("corpora/words", activation_set_id="held", model=LLAMA, sites=["layers.*.residual"])
    ranking = await client.ranked(ranking_id="held", activation_set="activationSets/held")
    operation = await client.analyze(
        **SLOW, activation_set="activationSets/held", label="upos", ranking=ranking.name, analysis_id="never"
    )
    await client.running(operation, "analysing")
    delete_set = activations.DeleteActivationSetRequest(name="activationSets/held")
    delete_ranking = v1.DeleteRankingRequest(name=ranking.name)
    in_use = ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert (await refused(client.activations.DeleteActivationSet(delete_set)))[:2] == in_use
    assert (await refused(client.analysis.DeleteRanking(delete_ranking)))[:2] == in_use
    assert await client.cancelled(operation) == "CANCELLED"
    assert [name for name in client.files("analyses") if "never" in name] == []
    await client.activations.DeleteActivationSet(delete_set)
    await client.analysis.DeleteRanking(delete_ranking)


async def test_a_restart_keeps_analyses_and_goes_on_with_work(folder: Path) -> None:
    data = folder / "restarted"
    async with running(folder / "models", data_dir=data) as server:
        client = Examiner(server.channel, data)
        await client.upload("words", SENTENCES, upos=TAGS)
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=["layers.*.residual"])
        kept = await client.analyzed("representation_similarity", analysis_id="kept")
        operation = await client.analyze(**SLOW, analysis_id="again")
        await client.running(operation, "analysing")
        # Waits for its turn: one worker is enough for the other.
        waiting = await client.analyze("top_words", text=text_of(*SENTENCES[:4], model=""), sites=["embeddings"])
    left = data / "scratch" / ".0123"  # by a server that was killed
    left.mkdir(parents=True, exist_ok=True)
    os.utime(left, (0, 0))
    async with running(folder / "models", data_dir=data) as server:
        client = Examiner(server.channel, data)
        assert await client.get(kept.name) == kept
        operation = await client.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        await client.running(operation, "analysing")
        operation = await client.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        assert metadata(operation).attempt == 2
        assert await client.cancelled(operation) == "CANCELLED"
        read = client.result(await client.ended(waiting), v1.Analysis)
        assert (read.model, read.row_count) == (LLAMA, sum(map(len, SENTENCES[:4])))
        assert client.files("scratch") == []
        assert await client.analyzed("representation_similarity", analysis_id="again")


async def test_too_little_memory_for_a_worker(folder: Path) -> None:
    async with running(folder / "models", data_dir=folder / "small", worker_memory_bytes=64 << 20) as server:
        client = Examiner(server.channel, folder / "small")
        await client.upload("words", SENTENCES, upos=TAGS)
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=["layers.*.residual"])
        wanted = ("RESOURCE_EXHAUSTED", "WORKER_MEMORY")
        assert (await client.analysis_failed("top_words"))[:2] == wanted
        assert (await client.analysis_failed(text=text_of(*SENTENCES), sites=RESIDUALS))[:2] == wanted
        assert said((await client.ended(await client.rank("linear_probe", ENDLESS))).error)[:2] == wanted
        one = v1.TopWordsRequest(activation_set=SET, neurons=[neurons("layers.0.residual", 0)])
        assert (await refused(client.analysis.TopWords(one)))[:2] == wanted
        assert (client.files("analyses"), client.files("rankings"), client.files("scratch")) == ([], [], [])
        corpus = await client.corpora.GetCorpus(corpora_pb2.GetCorpusRequest(name="corpora/words"))
        assert corpus.sentence_count == len(SENTENCES)
        asked = activations.ExtractActivationsRequest(model=LLAMA, sentences=words(["a"]), sites=["embeddings"])
        assert [event async for event in client.activations.ExtractActivations(asked)]
        assert (await asyncio.wait_for(client.analysis.ListMethods(v1.ListMethodsRequest()), 60)).methods
