"""Rankings and probes over a real port: made of activation sets, read, exported, deleted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2
from google.rpc import code_pb2, error_details_pb2
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp.v1 import common_pb2
from patchclamp.v1 import inference_pb2 as inference
from patchclamp.v1 import intervention_pb2 as edits
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS, RANKING_METHODS
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from patchclamp_analysis.methods.top_words import TopWords
from patchclamp_analysis.probe import Probe

from tests.service.analyses.analyst import ENDLESS, LLAMA, SENTENCES, SET, TAGS, Analyst, struct
from tests.service.test_server import refused, running
from tests.service.work import metadata
from tests.tiny import save_tiny

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    for name in ("llama", "bert"):
        save_tiny(name, folder / "models" / f"tiny-{name}")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(folder: Path) -> AsyncIterator[Analyst]:
    async with running(folder / "models", data_dir=folder / "data") as server:
        client = Analyst(server.channel, folder / "data")
        await client.upload("words", SENTENCES, upos=TAGS, upper=[[tag[:1] for tag in tags] for tags in TAGS])
        await client.upload("plain", SENTENCES[:4])
        sites = ["layers.*.residual", "layers.1.neurons"]
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=sites)
        await client.made("corpora/plain", activation_set_id="plain", model=LLAMA, sites=["embeddings"])
        await client.made("corpora/words", activation_set_id="bert", sites=["layers.*.residual"])
        pooled = activations.SENTENCE_LAST
        await client.made(
            "corpora/words", activation_set_id="pooled", model=LLAMA, sites=["embeddings"], aggregation=pooled
        )
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def data(client: Analyst, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Data]:
    """What the set holds."""
    with await client.downloaded(SET, tmp_path_factory.mktemp("data") / "set.h5") as stored:
        yield Data.from_activation_set(stored, "upos")


async def test_the_methods_are_those_of_the_library(client: Analyst) -> None:
    methods = {method.name: method for method in (await client.analysis.ListMethods(v1.ListMethodsRequest())).methods}
    assert list(methods) == sorted(METHODS)
    probe = methods["linear_probe"]
    (l1,) = (parameter for parameter in probe.parameters if parameter.name == "l1")
    assert (l1.type, l1.default.number_value, l1.min, l1.max) == ("float", 3e-4, 0, 1e6)
    assert (probe.supervised, probe.kind) == (True, v1.METHOD_KIND_CONCEPT_TO_NEURONS)
    assert methods["variance"].kind == v1.METHOD_KIND_UNSUPERVISED


@pytest.mark.parametrize("method", ["probeless", "mean_select"])
async def test_a_ranking_is_what_the_library_finds(client: Analyst, data: Data, method: str) -> None:
    ranking = await client.ranked(method, top=7)
    wanted = RANKING_METHODS[method]().rank(data)
    assert [(each.site, each.index) for each in ranking.neurons] == [(n.site, n.index) for n in wanted.top(7)]
    np.testing.assert_allclose([each.score for each in ranking.neurons], [n.score for n in wanted.top(7)], rtol=1e-5)
    assert [each.label for each in ranking.classes] == list(wanted.classes)
    for found in ranking.classes:
        assert [each.index for each in found.neurons] == [n.index for n in wanted.top(7, found.label)]
    assert {each.site: each.count for each in ranking.distribution} == wanted.distribution(7)


async def test_what_a_ranking_says_of_itself(client: Analyst) -> None:
    ranking = await client.ranked("probeless", ranking_id="described", sites=["layers.*.residual"])
    stored = await client.activations.GetActivationSet(activations.GetActivationSetRequest(name=SET))
    assert (ranking.name, ranking.method, ranking.label) == ("rankings/described", "probeless", "upos")
    assert (ranking.activation_set, ranking.activation_set_sha256) == (SET, stored.sha256)
    assert (ranking.model, ranking.model_digest) == (LLAMA, stored.model_digest)
    assert ranking.row_count == stored.row_count - stored.masked_count
    assert ranking.neuron_count == sum(site.width for site in stored.sites if site.site.endswith("residual"))
    assert len(ranking.neurons) == min(100, ranking.neuron_count)
    assert await client.analysis.GetRanking(v1.GetRankingRequest(name=ranking.name)) == ranking
    few = await client.analysis.GetRanking(v1.GetRankingRequest(name=ranking.name, top=3))
    assert few.neurons == ranking.neurons[:3]
    (listed,) = [
        each
        for each in (await client.analysis.ListRankings(v1.ListRankingsRequest())).rankings
        if each.name == ranking.name
    ]
    ranking.ClearField("neurons")
    ranking.ClearField("classes")
    assert listed == ranking


async def test_the_best_neurons_can_be_ablated(client: Analyst) -> None:
    ranking = await client.ranked(sites=["layers.1.neurons"], top=10)
    chosen = common_pb2.Neurons(site="layers.1.neurons", indices=[each.index for each in ranking.neurons])
    request = inference.GenerateRequest(model=LLAMA, prompt="the nurse said", max_new_tokens=3)
    request.interventions.add(neurons=chosen, ablate=edits.Ablate())
    events = [event async for event in client.inference.Generate(request)]
    assert events[-1].completed.applied.edits[0].positions_edited > 0


async def test_exports_hold_all_scores(client: Analyst, data: Data) -> None:
    ranking = await client.ranked(top=1)
    wanted = RANKING_METHODS["probeless"]().rank(data)
    rows = list(csv.reader(io.StringIO(await client.exported(ranking.name, v1.RANKING_FORMAT_CSV))))
    assert rows[0] == ["site", "index", "score", *(f"score {name}" for name in wanted.classes)]
    assert [(site, int(index)) for site, index, *_ in rows[1:]] == [
        (n.site, n.index) for n in wanted.top(len(wanted.neurons))
    ]
    found = json.loads(await client.exported(ranking.name, v1.RANKING_FORMAT_JSON))
    expected = json.loads(wanted.to_json())
    assert [each[:2] for each in found["neurons"]] == [each[:2] for each in expected["neurons"]]
    assert found.keys() == expected.keys()
    assert found["classes"].keys() == expected["classes"].keys()
    assert [len(each) for each in found["classes"].values()] == [len(wanted.neurons)] * len(wanted.classes)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"method": "probless"}, "UNKNOWN_METHOD", "method"),
        ({"label": "pos"}, "UNKNOWN_LAYER", "label"),
        ({"label": ""}, "LAYER_NEEDED", "label"),
        ({"method": "variance"}, "LABEL_UNUSED", "label"),
        ({"activation_set": "activationSets/plain", "label": ""}, "LAYER_NEEDED", "label"),
        ({"sites": ["layers.*.residual", "layers.9.mlp"]}, "UNKNOWN_SITE", "sites[1]"),
        ({"sites": ["layers.*.heads"]}, "UNKNOWN_SITE", "sites[0]"),
        ({"method": "linear_probe", "parameters": struct({"l1": -1})}, "INVALID_PARAMETER", "parameters.l1"),
        ({"method": "linear_probe", "parameters": struct({"l1": "x"})}, "INVALID_PARAMETER", "parameters.l1"),
        ({"method": "linear_probe", "parameters": struct({"l1": None})}, "INVALID_PARAMETER", "parameters.l1"),
        ({"method": "linear_probe", "parameters": struct({"l1": float("inf")})}, "INVALID_PARAMETER", "parameters.l1"),
        ({"method": "linear_probe", "parameters": struct({"alpha": 1})}, "INVALID_PARAMETER", "parameters.alpha"),
        ({"top": 90_000}, "TOO_MANY_NEURONS", "top"),
        ({"ranking_id": "../x"}, "INVALID_ID", "ranking_id"),
    ],
)
async def test_what_cannot_work_is_refused_at_once(client: Analyst, fields: Any, reason: str, field: str) -> None:
    before = client.files("rankings")
    assert await refused(client.rank(**fields)) == ("INVALID_ARGUMENT", reason, field)
    assert client.files("rankings") == before


@pytest.mark.parametrize("method", ["probless", "PROBELESS"])
async def test_a_refusal_names_the_nearest(client: Analyst, method: str) -> None:
    with pytest.raises(Exception, match=f"'{method}'; the nearest is 'probeless'"):
        await client.rank(method)


@pytest.mark.parametrize(("fields", "code"), [({"activation_set": "activationSets/no"}, "NOT_FOUND")])
async def test_what_is_not_there(client: Analyst, fields: Any, code: str) -> None:
    assert (await refused(client.rank(**fields)))[0] == code


@pytest.mark.parametrize("rpc", ["GetRanking", "DeleteRanking", "ExportRanking", "GetProbe", "DeleteProbe"])
async def test_names_of_nothing(client: Analyst, rpc: str) -> None:
    collection = "probes" if rpc.endswith("Probe") else "rankings"
    call = getattr(client.analysis, rpc)
    kind = getattr(v1, f"{rpc}Request")
    assert (await refused(call(kind(name=f"{collection}/no"))))[0] == "NOT_FOUND"
    assert (await refused(call(kind(name="activationSets/words"))))[:2] == ("INVALID_ARGUMENT", "INVALID_NAME")


async def test_what_only_the_data_shows_fails_the_operation(client: Analyst) -> None:
    await client.upload("one", SENTENCES[:2], kind=[["a"] * 3, ["a"] * 3])
    await client.made("corpora/one", activation_set_id="one", model=LLAMA, sites=["embeddings"])
    ended = await client.ended(await client.rank(activation_set="activationSets/one", label="", ranking_id="of-one"))
    info = error_details_pb2.ErrorInfo()
    ended.error.details[0].Unpack(info)
    assert (ended.error.code, info.reason) == (code_pb2.INVALID_ARGUMENT, "BAD_DATA")
    assert "one class" in ended.error.message
    assert [name for name in client.files("rankings") if name.startswith("of-one")] == []


async def test_the_same_request_is_the_same_operation(client: Analyst) -> None:
    first, second = [await client.rank(request_id="mine", ranking_id="once") for _ in range(2)]
    assert first.name == second.name
    await client.ended(first)
    assert (await refused(client.rank("iou", request_id="mine", ranking_id="twice")))[0] == "ALREADY_EXISTS"
    assert (await refused(client.rank(ranking_id="once")))[0] == "ALREADY_EXISTS"


async def test_a_cancelled_ranking_leaves_nothing_and_lets_go_of_its_set(client: Analyst) -> None:
    await client.made("corpora/words", activation_set_id="held", model=LLAMA, sites=["embeddings"])
    held = "activationSets/held"
    operation = await client.rank("linear_probe", ENDLESS, activation_set=held, ranking_id="never")
    await client.running(operation, "ranking")
    delete = activations.DeleteActivationSetRequest(name=held)
    code, reason, _ = await refused(client.activations.DeleteActivationSet(delete))
    assert (code, reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert await client.cancelled(operation) == "CANCELLED"
    assert [name for name in client.files("rankings") if "never" in name] == []
    await client.activations.DeleteActivationSet(delete)


async def test_a_deleted_ranking_is_gone(client: Analyst) -> None:
    ranking = await client.ranked(ranking_id="gone")
    await client.analysis.DeleteRanking(v1.DeleteRankingRequest(name=ranking.name))
    assert (await refused(client.analysis.GetRanking(v1.GetRankingRequest(name=ranking.name))))[0] == "NOT_FOUND"
    assert [name for name in client.files("rankings") if name.startswith("gone@")] == []


async def test_what_a_killed_writer_left_is_removed_with_the_next(client: Analyst) -> None:
    (client.folder / "rankings").mkdir(exist_ok=True)
    for name in (".left@1.npz.0123", "left@1.npz"):
        (client.folder / "rankings" / name).write_bytes(b"half")
    ranking = await client.ranked(ranking_id="left")
    assert await client.analysis.GetRanking(v1.GetRankingRequest(name=ranking.name)) == ranking
    assert [name for name in client.files("rankings") if "left@1.npz" in name] == []


async def test_a_ranking_whose_file_is_not_whole(client: Analyst) -> None:
    ranking = await client.ranked(ranking_id="cut")
    (path,) = (client.folder / "rankings").glob("cut@*")
    path.write_bytes(path.read_bytes()[:-100])
    for number in range(2):  # until it is in memory no more
        await client.ranked(ranking_id=f"other-{number}")
    found = await refused(client.analysis.GetRanking(v1.GetRankingRequest(name=ranking.name)))
    assert found[:2] == ("DATA_LOSS", "DATA_LOST")


async def test_a_probe_knows_the_words(client: Analyst, data: Data) -> None:
    probe = await client.trained(probe_id="upos")
    assert (probe.name, probe.label, list(probe.classes)) == ("probes/upos", "upos", list(data.classes))
    assert probe.neuron_count == sum(site.count for site in probe.sites) == len(data.neurons)
    assert (probe.parameters["l2"], probe.activation_set) == (0.01, SET)
    assert probe == await client.analysis.GetProbe(v1.GetProbeRequest(name=probe.name))
    assert probe in (await client.analysis.ListProbes(v1.ListProbesRequest())).probes
    found = await client.evaluated(probe.name)
    (path,) = (client.folder / "probes").glob("upos@*.safetensors")
    predicted = Probe.load(path).predict(data)
    assert found.accuracy == pytest.approx((predicted == data.y).mean())
    assert found.majority == pytest.approx(data.counts.max() / len(data))
    for number, each in enumerate(found.classes):
        assert (each.label, each.count) == (data.classes[number], data.counts[number])
        assert each.recall == pytest.approx((predicted == number)[data.y == number].mean())
        assert each.precision == pytest.approx((data.y == number)[predicted == number].mean())
    assert found.macro_f1 == pytest.approx(np.mean([each.f1 for each in found.classes]))
    assert found.accuracy > found.majority


async def test_a_probe_on_the_best_neurons_of_a_ranking(client: Analyst) -> None:
    ranking = await client.ranked(ranking_id="best", top=5)
    probe = await client.trained(ranking=ranking.name, top=5)
    (path,) = (client.folder / "probes").glob(f"{probe.name.partition('/')[2]}@*")
    read = {(neuron.site, neuron.index) for neuron in Probe.load(path).neurons}
    assert read == {(each.site, each.index) for each in ranking.neurons}
    assert {each.site: each.count for each in probe.sites} == {e.site: e.count for e in ranking.distribution if e.count}
    assert (await client.evaluated(probe.name)).row_count == ranking.row_count


async def test_classes_that_the_probe_does_not_know_are_wrong(client: Analyst) -> None:
    await client.upload("known", SENTENCES[:8], kind=[["a", "b", "a", "b"][: len(s)] for s in SENTENCES[:8]])
    await client.upload("more", SENTENCES[:8], kind=[["a", "c", "c", "c"][: len(s)] for s in SENTENCES[:8]])
    for name in ("known", "more"):
        await client.made(f"corpora/{name}", activation_set_id=name, model=LLAMA, sites=["layers.1.residual"])
    probe = await client.trained(activation_set="activationSets/known", label="")
    found = await client.evaluated(probe.name, "activationSets/more")
    (c,) = (each for each in found.classes if each.label == "c")
    assert (c.recall, c.precision, c.f1) == (0, 0, 0)
    assert found.accuracy <= 1 - c.count / found.row_count


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"parameters": struct({"solver": "sgd"})}, "INVALID_PARAMETER", "parameters.solver"),
        ({"top": 5}, "NO_RANKING", "top"),
        ({"ranking": "rankings/probed"}, "OUT_OF_RANGE", "top"),
        ({"ranking": "rankings/probed", "top": 100_000}, "OUT_OF_RANGE", "top"),
        ({"ranking": "rankings/probed", "top": 5, "sites": ["layers.1.neurons"]}, "TWO_CHOICES", "sites"),
        ({"ranking": "probes/x", "top": 5}, "INVALID_NAME", "ranking"),
    ],
)
async def test_a_probe_that_cannot_be_is_refused_at_once(client: Analyst, fields: Any, reason: str, field: str) -> None:
    if not [name for name in client.files("rankings") if name.startswith("probed@")]:
        await client.ranked(ranking_id="probed")
    assert await refused(client.train(**fields)) == ("INVALID_ARGUMENT", reason, field)


async def test_neurons_of_another_model_are_refused(client: Analyst) -> None:
    ranking = await client.ranked(ranking_id="llamas")
    bert = client.train(activation_set="activationSets/bert", ranking=ranking.name, top=5)
    assert (await refused(bert))[:2] == ("FAILED_PRECONDITION", "ANOTHER_MODEL")
    probe = await client.trained(probe_id="llamas", sites=["layers.0.residual"])
    request = v1.EvaluateProbeRequest(probe=probe.name, activation_set="activationSets/bert")
    assert (await refused(client.analysis.EvaluateProbe(request)))[:2] == ("FAILED_PRECONDITION", "ANOTHER_MODEL")
    request.activation_set = "activationSets/plain"
    assert (await refused(client.analysis.EvaluateProbe(request)))[1:] == ("UNKNOWN_SITE", "activation_set")


async def test_the_words_of_neurons_are_what_the_library_finds(client: Analyst, data: Data) -> None:
    request = v1.TopWordsRequest(activation_set=SET, top=4, min_count=2)
    request.neurons.add(site="layers.1.neurons", indices=[5, 0])
    request.neurons.add(site="layers.0.residual")
    found = (await client.analysis.TopWords(request)).neurons
    width = len(found) - 2
    wanted = {(each.site, each.index): each for each in TopWords(4, min_count=2).find(data)}
    assert [(each.site, each.index) for each in found[:3]] == [
        ("layers.1.neurons", 5),
        ("layers.1.neurons", 0),
        ("layers.0.residual", 0),
    ]
    assert width == next(site.width for site in data.neurons.sites if site.name == "layers.0.residual")
    for each in found:
        words = [(word.word, word.count) for word in each.words]
        assert words == [(word.word, word.count) for word in wanted[each.site, each.index].words]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"neurons": [("layers.1.neuron", [])]}, ("INVALID_ARGUMENT", "UNKNOWN_SITE", "neurons[0].site")),
        (
            {"neurons": [("layers.1.neurons", [0, 9999])]},
            ("INVALID_ARGUMENT", "INDEX_OUT_OF_RANGE", "neurons[0].indices[1]"),
        ),
        ({"neurons": [("layers.1.neurons", [])] * 30}, ("INVALID_ARGUMENT", "TOO_MANY_NEURONS", "neurons")),
        ({"neurons": [("layers.1.neurons", [])] * 4, "top": 1000}, ("INVALID_ARGUMENT", "TOO_MANY_WORDS", "top")),
        ({"min_count": 10**6}, ("INVALID_ARGUMENT", "BAD_DATA", "")),
        ({"activation_set": "activationSets/pooled"}, ("FAILED_PRECONDITION", "NEEDS_WORDS", "")),
    ],
)
async def test_words_that_cannot_be_found(client: Analyst, fields: Any, wanted: tuple[str, str, str]) -> None:
    neurons = [common_pb2.Neurons(site=s, indices=i) for s, i in fields.get("neurons", [("layers.1.neurons", [0])])]
    given: dict[str, Any] = {"activation_set": SET} | fields | {"neurons": neurons}
    assert await refused(client.analysis.TopWords(v1.TopWordsRequest(**given))) == wanted


async def test_how_far_rankings_agree(client: Analyst, data: Data) -> None:
    methods = ["probeless", "mean_select", "iou"]
    names = [(await client.ranked(method, ranking_id=f"c-{number}")).name for number, method in enumerate(methods)]
    found = await client.analysis.CompareRankings(v1.CompareRankingsRequest(rankings=names, top=8))
    best = [{(n.site, n.index) for n in RANKING_METHODS[method]().rank(data).top(8)} for method in methods]
    overlap = np.frombuffer(found.overlap.data, "<f4").reshape(3, 3)
    np.testing.assert_allclose(overlap, [[len(one & other) / 8 for other in best] for one in best])
    np.testing.assert_allclose(found.average_overlap, (overlap.sum(axis=1) - 1) / 2, rtol=1e-6)
    assert (list(found.rankings), found.top, len(found.neuron_vote)) == (names, 8, 3)
    tenth = await client.analysis.CompareRankings(v1.CompareRankingsRequest(rankings=names))
    assert tenth.top == len(data.neurons) // 10


@pytest.mark.parametrize(
    ("other", "top", "wanted"),
    [
        ("rankings/same", 0, ("INVALID_ARGUMENT", "GIVEN_TWICE", "rankings[1]")),
        ("rankings/fewer", 0, ("FAILED_PRECONDITION", "OTHER_NEURONS", "")),
        ("rankings/equal", 100_000, ("INVALID_ARGUMENT", "OUT_OF_RANGE", "top")),
        ("rankings/none", 0, ("NOT_FOUND", "NOT_FOUND", "")),
    ],
)
async def test_rankings_that_cannot_be_compared(client: Analyst, other: str, top: int, wanted: Any) -> None:
    if not [name for name in client.files("rankings") if name.startswith("same@")]:
        await client.ranked(ranking_id="same")
        await client.ranked(ranking_id="equal")
        await client.ranked(ranking_id="fewer", sites=["layers.1.neurons"])
    request = v1.CompareRankingsRequest(rankings=["rankings/same", other], top=top)
    assert await refused(client.analysis.CompareRankings(request)) == wanted


async def test_redundant_neurons_are_those_of_the_library(client: Analyst, data: Data) -> None:
    async def found(**fields: Any) -> Any:
        given: dict[str, Any] = {"activation_set": SET, "threshold": 0.5} | fields
        request = v1.FindRedundantNeuronsRequest(**given)
        return client.result(await client.ended(await client.analysis.FindRedundantNeurons(request)), v1.Redundancy)

    wanted = CorrelationClusters(threshold=0.5).cluster(data)
    redundancy = await found(seed=3)
    groups = [{(n.site, i) for n in each.neurons for i in n.indices} for each in redundancy.clusters]
    neurons = list(data.neurons)
    assert groups == [
        {(neurons[place].site, neurons[place].index) for place in places}
        for places in wanted.members()
        if len(places) > 1
    ]
    assert (redundancy.neuron_count, redundancy.redundant_share) == (
        len(neurons),
        pytest.approx(wanted.redundant_share),
    )
    kept = [(n.site, i) for n in redundancy.independent for i in n.indices]
    assert kept == [(neurons[place].site, neurons[place].index) for place in wanted.independent(seed=3)]
    ranking = await client.ranked(ranking_id="keeps")
    best = RANKING_METHODS["probeless"]().rank(data)
    chosen = await found(ranking=ranking.name)
    kept = [(n.site, i) for n in chosen.independent for i in n.indices]
    assert kept == [(neurons[place].site, neurons[place].index) for place in wanted.independent(best)]
    both = v1.FindRedundantNeuronsRequest(activation_set=SET, ranking=ranking.name, sites=["layers.0.residual"])
    assert (await refused(client.analysis.FindRedundantNeurons(both)))[1:] == ("TWO_CHOICES", "sites")


async def test_a_restart_keeps_rankings_and_goes_on_with_work(folder: Path) -> None:
    data = folder / "restarted"
    async with running(folder / "models", data_dir=data) as server:
        client = Analyst(server.channel, data)
        await client.upload("words", SENTENCES, upos=TAGS)
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=["embeddings"])
        ranking = await client.ranked(ranking_id="kept")
        operation = await client.rank("linear_probe", ENDLESS, ranking_id="again")
        await client.running(operation, "ranking")
    async with running(folder / "models", data_dir=data) as server:
        client = Analyst(server.channel, data)
        assert await client.analysis.GetRanking(v1.GetRankingRequest(name=ranking.name)) == ranking
        operation = await client.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        await client.running(operation, "ranking")
        operation = await client.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
        assert metadata(operation).attempt == 2
        assert await client.cancelled(operation) == "CANCELLED"
        assert await client.ranked(ranking_id="again")
