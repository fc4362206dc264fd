"""Judging rankings over a real port, rankings that compare models, and the list of methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2
from google.rpc import code_pb2, error_details_pb2
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation import Comparison, Evaluation, compare_rankings
from patchclamp_analysis.methods import METHODS, RANKING_METHODS, Kind, build, describe
from patchclamp_analysis.methods.cross_model import CrossModel
from patchclamp_analysis.plots import accuracy_plot, image
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.tables import Tables

from tests.service.analyses.analyst import LLAMA, SENTENCES, SET, TAGS, Analyst, struct
from tests.service.test_server import refused, running
from tests.service.work import metadata
from tests.tiny import save_tiny

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER, BERT = "activationSets/other", "activationSets/bert"
RESIDUAL = "layers.*.residual"
# The same places of the sentences in another order of words and tags: rows that no ranking has seen.
TURNED = [(words[::-1], tags[::-1]) for words, tags in zip(SENTENCES[:28], TAGS[:28], strict=True)]
HOW = Evaluation(counts=(4, 0.1), seeds=2, epochs=5)
QUICK = {"counts": [4, 0.1], "seeds": 2, "epochs": 5}
# Probes that would train for hours.
ENDLESS = {"epochs": 100_000, "seeds": 100}


class Judge(Analyst):
    """Stubs of one server, and what the tests ask of it."""

    async def judge(self, *rankings: str, parameters: Any = QUICK, **fields: Any) -> Any:
        names = [f"rankings/{each}" for each in rankings]
        request = v1.EvaluateRankingsRequest(rankings=names, parameters=struct(parameters), **fields)
        return await self.analysis.EvaluateRankings(request)

    async def judged(self, *rankings: str, **fields: Any) -> tuple[v1.Analysis, Comparison]:
        """The answer, and what is in its file."""
        made = self.result(await self.ended(await self.judge(*rankings, **fields)), v1.Analysis)
        (path,) = (self.folder / "analyses").glob(f"{made.name.partition('/')[2]}@*.json")
        return made, Comparison.from_tables(Tables.load(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluations")
    for name in ("llama", "bert"):
        save_tiny(name, folder / "models" / f"tiny-{name}")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(folder: Path) -> AsyncIterator[Judge]:
    async with running(folder / "models", data_dir=folder / "data") as server:
        client = Judge(server.channel, folder / "data")
        upper = [[tag[:1] for tag in tags] for tags in TAGS]
        await client.upload("words", SENTENCES, upos=TAGS, upper=upper)
        await client.upload("other", [words for words, _ in TURNED], upos=[tags for _, tags in TURNED])
        await client.upload("plain", SENTENCES)
        sites = [RESIDUAL, "layers.1.neurons"]
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=sites)
        await client.made("corpora/other", activation_set_id="other", model=LLAMA, sites=sites)
        await client.made("corpora/plain", activation_set_id="plain", model=LLAMA, sites=sites)
        await client.made("corpora/words", activation_set_id="few", model=LLAMA, sites=["embeddings"])
        await client.made("corpora/words", activation_set_id="bert", sites=[RESIDUAL])
        # BERT has no token for the second word, LLaMA has: its row is masked in one set only.
        await client.upload("gaps", [["the", "\u200b", "late"], *SENTENCES[:9]])
        await client.made("corpora/gaps", activation_set_id="gaps", sites=["embeddings"])
        await client.made("corpora/gaps", activation_set_id="no-gaps", model=LLAMA, sites=["embeddings"])
        await client.ranked("probeless", ranking_id="upos-probeless")
        await client.ranked("probeless", {"scale": False}, ranking_id="unscaled")
        await client.ranked("variance", label="", ranking_id="loud")
        await client.ranked("probeless", label="upper", ranking_id="upper")
        await client.ranked("probeless", activation_set=OTHER, ranking_id="seen")
        await client.ranked("probeless", sites=["layers.1.neurons"], ranking_id="fewer")
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(client: Judge, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, ActivationSet]]:
    """The sets, as a caller gets them."""
    folder = tmp_path_factory.mktemp("data")
    with ExitStack() as stack:
        names = (SET, OTHER, BERT, "activationSets/gaps", "activationSets/no-gaps")
        yield {
            name: stack.enter_context(await client.downloaded(name, folder / f"{name.partition('/')[2]}.h5"))
            for name in names
        }


@pytest.fixture(scope="module")
def datas(stored: dict[str, ActivationSet]) -> dict[str, Data]:
    return {name: Data.from_activation_set(stored[name], "upos") for name in (SET, OTHER)}


def same(found: Comparison, wanted: Comparison) -> None:
    np.testing.assert_array_equal(found.overlaps, wanted.overlaps)
    np.testing.assert_array_equal(found.neuron_vote, wanted.neuron_vote)
    for one, other in zip(found.evaluations, wanted.evaluations, strict=True):
        assert (one.method, one.layers, one.spread) == (other.method, other.layers, other.spread)
        assert (one.train_rows, one.test_rows, one.majority) == (other.train_rows, other.test_rows, other.majority)
        for score, expected in zip(one.scores, other.scores, strict=True):
            assert (score.measure, score.neurons, score.count) == (expected.measure, expected.neurons, expected.count)
            np.testing.assert_allclose(score.values, expected.values, atol=1e-5)


def ranked(data: Data, **methods: str) -> list[Ranking]:
    rankings = [RANKING_METHODS[method]().rank(data) for method in methods.values()]
    return [replace(ranking, method=name) for ranking, name in zip(rankings, methods, strict=True)]


async def test_an_evaluation_is_what_the_library_finds(client: Judge, datas: dict[str, Data]) -> None:
    made, found = await client.judged("upos-probeless", "loud", test_set=OTHER, analysis_id="both")
    train, test = datas[SET], datas[OTHER]
    rankings = ranked(train, **{"upos-probeless": "probeless", "loud": "variance"})
    wanted = compare_rankings(rankings, train, test, HOW)
    same(found, wanted)
    assert found.evaluations[0].score("selectivity", "top", 4).values
    assert (made.name, made.method, made.label) == ("analyses/both", "evaluation", "upos")
    assert build(Evaluation, dict(Tables.load(next((client.folder / "analyses").glob("both@*"))).parameters)) == HOW
    assert made.parameters["seeds"] == 2
    assert list(made.rankings) == ["rankings/upos-probeless", "rankings/loud"]
    stored = [
        await client.activations.GetActivationSet(activations.GetActivationSetRequest(name=name))
        for name in (SET, OTHER)
    ]
    assert list(made.activation_sets) == [SET, OTHER]
    assert list(made.activation_set_sha256s) == [each.sha256 for each in stored]
    assert (made.model, made.model_digest) == (LLAMA, stored[0].model_digest)
    assert (made.row_count, list(made.notes)) == (len(train) + len(test), list(found.all_notes))
    tables = {table.name: table for table in made.tables}
    assert list(tables) == list(wanted.to_tables())
    columns = {column.name: column for column in tables["scores"].columns}
    count = min(100, tables["scores"].row_count)
    values = wanted.to_tables()["scores"]["value"].tolist()[:count]
    np.testing.assert_allclose(columns["value"].numbers.values, values, atol=1e-5)
    assert made == await client.analysis.GetAnalysis(v1.GetAnalysisRequest(name=made.name))


async def test_an_export_is_what_plots_are_made_of(client: Judge, tmp_path: Path) -> None:
    made, found = await client.judged("upos-probeless", "loud", test_set=OTHER)
    request = v1.ExportAnalysisRequest(name=made.name, format=v1.ANALYSIS_FORMAT_JSON)
    chunks = [chunk.data async for chunk in client.analysis.ExportAnalysis(request)]
    (tmp_path / "exported.json").write_bytes(b"".join(chunks))
    exported = Comparison.from_tables(Tables.load(tmp_path / "exported.json"))
    assert exported.evaluations == found.evaluations
    assert image(accuracy_plot(exported)) == image(accuracy_plot(found))


async def test_without_a_test_set_a_fifth_is_kept_aside(client: Judge, datas: dict[str, Data]) -> None:
    made, found = await client.judged("upos-probeless")
    same(found, compare_rankings(ranked(datas[SET], **{"upos-probeless": "probeless"}), *datas[SET].split(0.2), HOW))
    assert found.notes == ("no test_set: the rankings may have seen the rows that they are judged by",)
    assert found.notes[0] in made.notes
    assert (list(made.activation_sets), made.row_count) == ([SET], len(datas[SET]))


async def test_a_ranking_of_the_rows_that_it_is_judged_by_is_noted(client: Judge) -> None:
    made, found = await client.judged("seen", "upos-probeless", activation_set=SET, test_set=OTHER)
    assert found.notes == ("rankings/seen is made of the rows that it is judged by",)
    assert list(made.activation_sets) == [SET, OTHER]


async def test_two_rankings_of_one_method_are_told_apart(client: Judge) -> None:
    _, found = await client.judged("unscaled", "upos-probeless", test_set=OTHER)
    assert found.methods == ("unscaled", "upos-probeless")


@pytest.mark.parametrize(
    ("rankings", "fields", "wanted"),
    [
        (["upos-probeless"] * 2, {}, ("INVALID_ARGUMENT", "GIVEN_TWICE", "rankings[1]")),
        (["upos-probeless", "none"], {}, ("NOT_FOUND", "NOT_FOUND", "")),
        (["upos-probeless", "fewer"], {}, ("FAILED_PRECONDITION", "OTHER_NEURONS", "")),
        (["upos-probeless", "loud", "upper"], {}, ("FAILED_PRECONDITION", "OTHER_LABELS", "")),
        (["loud"], {}, ("INVALID_ARGUMENT", "LAYER_NEEDED", "rankings")),
        (["seen"], {"activation_set": "activationSets/no"}, ("NOT_FOUND", "NOT_FOUND", "")),
        (["seen"], {"activation_set": "corpora/words"}, ("INVALID_ARGUMENT", "INVALID_NAME", "activation_set")),
        (["seen"], {"test_set": "activationSets/no"}, ("NOT_FOUND", "NOT_FOUND", "")),
        (["seen"], {"test_set": OTHER}, ("INVALID_ARGUMENT", "GIVEN_TWICE", "test_set")),
        (["seen"], {"test_set": BERT}, ("FAILED_PRECONDITION", "ANOTHER_MODEL", "")),
        (["seen"], {"activation_set": "activationSets/few"}, ("INVALID_ARGUMENT", "UNKNOWN_SITE", "activation_set")),
        (["seen"], {"test_set": "activationSets/few"}, ("INVALID_ARGUMENT", "UNKNOWN_SITE", "test_set")),
        (["seen"], {"test_set": "activationSets/plain"}, ("INVALID_ARGUMENT", "UNKNOWN_LAYER", "test_set")),
        (["seen"], {"parameters": {"count": 1}}, ("INVALID_ARGUMENT", "INVALID_PARAMETER", "parameters.count")),
        (["seen"], {"parameters": {"seeds": 0}}, ("INVALID_ARGUMENT", "INVALID_PARAMETER", "parameters.seeds")),
        (["seen"], {"parameters": {"counts": [2.5]}}, ("INVALID_ARGUMENT", "INVALID_PARAMETER", "parameters.counts")),
        (["seen"], {"parameters": {"counts": [9999]}}, ("INVALID_ARGUMENT", "INVALID_PARAMETER", "parameters.counts")),
        (["seen"], {"analysis_id": "../x"}, ("INVALID_ARGUMENT", "INVALID_ID", "analysis_id")),
        ([], {}, ("INVALID_ARGUMENT", "INVALID_REQUEST", "rankings")),
    ],
)
async def test_what_cannot_be_judged(client: Judge, rankings: Sequence[str], fields: Any, wanted: Any) -> None:
    before = client.files("analyses")
    assert await refused(client.judge(*rankings, **fields)) == wanted
    assert client.files("analyses") == before


async def test_a_repeated_request_is_one_operation(client: Judge) -> None:
    one = await client.judge("seen", request_id="judge", analysis_id="repeated")
    again = await client.judge("seen", request_id="judge", analysis_id="repeated")
    assert one.name == again.name
    await client.ended(one)
    assert (await refused(client.judge("seen", analysis_id="repeated")))[0] == "ALREADY_EXISTS"


async def test_a_cancelled_evaluation_leaves_nothing_and_lets_go_of_its_rankings(client: Judge) -> None:
    await client.ranked("probeless", ranking_id="held")
    operation = await client.judge("held", parameters=ENDLESS, analysis_id="never")
    await client.running(operation, "evaluating")
    delete = v1.DeleteRankingRequest(name="rankings/held")
    assert (await refused(client.analysis.DeleteRanking(delete)))[1] == "RESOURCE_IN_USE"
    assert await client.cancelled(operation) == "CANCELLED"
    assert [name for name in client.files("analyses") if "never" in name] == []
    await client.analysis.DeleteRanking(delete)


async def test_a_restart_goes_on_with_an_evaluation(folder: Path) -> None:
    data = folder / "restarted"
    async with running(folder / "models", data_dir=data) as server:
        client = Judge(server.channel, data)
        await client.upload("words", SENTENCES, upos=TAGS)
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=["embeddings"])
        await client.ranked(ranking_id="kept")
        made, _ = await client.judged("kept", analysis_id="kept")
        operation = await client.judge("kept", parameters=ENDLESS, analysis_id="again")
        await client.running(operation, "evaluating")
    async with running(folder / "models", data_dir=data) as server:
        client = Judge(server.channel, data)
        assert await client.analysis.GetAnalysis(v1.GetAnalysisRequest(name="analyses/kept")) == made
        await client.running(operation, "evaluating")
        operation = await client.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        assert metadata(operation).attempt == 2
        assert await client.cancelled(operation) == "CANCELLED"
        assert await client.judged("kept", analysis_id="again")


@pytest.mark.parametrize("measure", ["max_corr", "lin_reg"])
async def test_neurons_that_another_model_has_too(
    client: Judge, stored: dict[str, ActivationSet], measure: Any
) -> None:
    name = f"cross-{measure.replace('_', '-')}"
    fields = {"compare_with": [BERT], "sites": ["layers.1.neurons"], "ranking_id": name, "top": 5}
    ranking = await client.ranked("cross_model", {"measure": measure}, label="", **fields)
    own = Data.from_activation_set(stored[SET], sites=["layers.1.neurons"])
    wanted = CrossModel(measure=measure).compare({"own": own, "bert": Data.from_activation_set(stored[BERT])})["own"]
    assert [(each.site, each.index) for each in ranking.neurons] == [(n.site, n.index) for n in wanted.top(5)]
    (path,) = (client.folder / "rankings").glob(f"{name}@*")
    kept = Ranking.load(path)
    np.testing.assert_allclose(kept.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(kept.details["by_model"], wanted.details["by_model"], atol=1e-5)
    assert (ranking.parameters["measure"], list(ranking.notes)) == (measure, [f"compared with {BERT}"])
    assert (ranking.activation_set, ranking.label, ranking.row_count) == (SET, "", len(own))


async def test_words_that_one_model_cuts_away_are_left_out(client: Judge, stored: dict[str, ActivationSet]) -> None:
    sets = ["activationSets/gaps", "activationSets/no-gaps"]
    masked = [stored[name].masked for name in sets]
    assert [int(each.sum()) for each in masked] == [1, 0]
    for name, other in (sets, sets[::-1]):
        ranking = await client.ranked("cross_model", label="", activation_set=name, compare_with=[other])
        assert ranking.row_count == len(masked[0]) - 1
        assert ranking.notes[1] == "rows left out, since one of the sets masks them: 1"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"compare_with": []}, ("INVALID_ARGUMENT", "SETS_NEEDED", "compare_with")),
        ({"method": "variance"}, ("INVALID_ARGUMENT", "SETS_UNUSED", "compare_with")),
        ({"method": "nmf"}, ("INVALID_ARGUMENT", "ANSWERS_WITH_TABLES", "method")),
        ({"label": "upos"}, ("INVALID_ARGUMENT", "LABEL_UNUSED", "label")),
        ({"compare_with": [SET]}, ("INVALID_ARGUMENT", "GIVEN_TWICE", "compare_with[0]")),
        ({"compare_with": [BERT, BERT]}, ("INVALID_ARGUMENT", "GIVEN_TWICE", "compare_with[1]")),
        ({"compare_with": [BERT, "bert"]}, ("INVALID_ARGUMENT", "INVALID_NAME", "compare_with[1]")),
        ({"compare_with": ["activationSets/no"]}, ("NOT_FOUND", "NOT_FOUND", "")),
        ({"compare_with": [BERT] * 17}, ("INVALID_ARGUMENT", "INVALID_REQUEST", "compare_with")),
    ],
)
async def test_what_cannot_be_compared(client: Judge, fields: Any, wanted: Any) -> None:
    given = {"method": "cross_model", "label": "", "compare_with": [BERT]} | fields
    assert await refused(client.rank(**given)) == wanted


async def test_other_words_fail_the_operation(client: Judge) -> None:
    operation = await client.ended(await client.rank("cross_model", label="", compare_with=[OTHER], ranking_id="no"))
    info = error_details_pb2.ErrorInfo()
    operation.error.details[0].Unpack(info)
    assert (operation.error.code, info.reason) == (code_pb2.INVALID_ARGUMENT, "BAD_DATA")
    assert "they must be of the same words" in operation.error.message
    assert [name for name in client.files("rankings") if name.startswith("no@")] == []


async def test_sets_that_are_compared_cannot_be_deleted(client: Judge) -> None:
    await client.made("corpora/words", activation_set_id="wanted", sites=["embeddings"])
    wanted = "activationSets/wanted"
    busy = await client.judge("seen", parameters=ENDLESS)  # the only worker
    await client.running(busy, "evaluating")
    operation = await client.rank("cross_model", label="", compare_with=[wanted])
    delete = activations.DeleteActivationSetRequest(name=wanted)
    assert (await refused(client.activations.DeleteActivationSet(delete)))[1] == "RESOURCE_IN_USE"
    for each in (busy, operation):
        assert await client.cancelled(each) == "CANCELLED"
    await client.activations.DeleteActivationSet(delete)


async def test_methods_are_listed_with_kind_and_answer(client: Judge) -> None:
    methods = {each.name: each for each in (await client.analysis.ListMethods(v1.ListMethodsRequest())).methods}
    assert list(methods) == sorted(METHODS)
    for name, method in METHODS.items():
        info, found = describe(method), methods[name]
        assert v1.MethodKind.Name(found.kind) == f"METHOD_KIND_{Kind(info.kind).name}"
        assert v1.MethodAnswer.Name(found.answer) == f"METHOD_ANSWER_{info.answer.upper()}"
        assert (found.compares, found.supervised) == (info.several, info.supervised)
        assert [each.name for each in found.parameters] == [each.name for each in info.parameters]
    assert {name for name, each in methods.items() if each.compares} == {"cross_model", "representation_similarity"}
    assert len({each.kind for each in methods.values()}) == 4
