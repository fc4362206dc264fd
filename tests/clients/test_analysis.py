"""Rankings and probes: what the client sends, and what it makes of the replies."""

from __future__ import annotations

import hashlib
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, struct_pb2, text_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from patchclamp import (
    DataLoss,
    Method,
    Neurons,
    ProtocolError,
    Ranking,
    ScoredNeuron,
    ablate,
    add,
    clip,
    scale,
    set_,
    set_to_mean,
)
from patchclamp._tensors import from_array
from patchclamp.v1 import activations_pb2, common_pb2
from patchclamp.v1 import analysis_pb2 as v1

from tests.clients.halves import Half
from tests.clients.scripted import Script
from tests.clients.shell import Shell

NEURONS = [
    v1.ScoredNeuron(site="layers.1.mlp", index=7, score=3),
    v1.ScoredNeuron(site="layers.0.mlp", index=1, score=2.5),
    v1.ScoredNeuron(site="layers.1.mlp", index=2, score=0.5),
]
RANKING = v1.Ranking(
    name="rankings/a",
    method="probeless",
    label="upos",
    neurons=NEURONS,
    distribution=[v1.SiteCount(site="layers.0.mlp", count=1), v1.SiteCount(site="layers.1.mlp", count=2)],
    classes=[v1.ClassRanking(label="NOUN", neurons=NEURONS[1:])],
    activation_set="activationSets/a",
    create_time=Timestamp(seconds=1_700_000_000),
    neuron_count=8,
    row_count=1500,
    notes=["left out: 1 masked rows"],
)
RANKING.parameters.update({"seed": 1})
PROBE = v1.Probe(
    name="probes/a", label="upos", classes=["NOUN", "VERB"], neuron_count=8, sites=RANKING.distribution, row_count=9
)
EVALUATION = v1.ProbeEvaluation(
    probe="probes/a",
    activation_set="activationSets/b",
    accuracy=0.75,
    majority=0.5,
    macro_f1=0.7,
    row_count=8,
    classes=[v1.ClassEvaluation(label="NOUN", precision=0.8, recall=0.6, f1=0.7, count=8)],
)
METHOD = v1.Method(
    name="probeless",
    kind=v1.METHOD_KIND_CONCEPT_TO_NEURONS,
    answer=v1.METHOD_ANSWER_RANKING,
    summary="Distances of means.",
    supervised=True,
    parameters=[
        v1.MethodParameter(name="seed", type="int", default=struct_pb2.Value(number_value=0), min=0),
        v1.MethodParameter(name="how", type="choice", default=struct_pb2.Value(string_value="x"), choices=["x", "y"]),
    ],
)
DATA = b"site,index,score\nlayers.0.mlp,1,2.5\n"


def done(message: Message) -> operations_pb2.Operation:
    response = AnyMessage()
    response.Pack(message)
    return operations_pb2.Operation(name="operations/x", done=True, response=response)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def rows(out: str) -> list[str]:
    return [" ".join(line.split()) for line in out.splitlines()]


async def test_the_methods(script: Script, half: Half) -> None:
    script.reply("ListMethods", v1.ListMethodsResponse(methods=[METHOD]))
    async with half.client(script.target) as client:
        (method,) = await half.wait(client.analysis.methods)
    assert isinstance(method, Method)
    assert (method.kind, method.answer, method.compares) == ("concept_to_neurons", "ranking", False)
    assert [(each.default, each.min, each.max) for each in method.parameters] == [(0, 0, None), ("x", None, None)]
    assert method.parameters[1].choices == ("x", "y")


async def test_rank_sends_what_it_is_given(script: Script, half: Half) -> None:
    script.reply("RankNeurons", done(RANKING))
    async with half.client(script.target) as client:
        operation = await half.wait(
            client.analysis.rank,
            "activationSets/a",
            method="linear_probe",
            label="upos",
            parameters={
                "grid": (1, 2),
                "steps": np.arange(2),
                "seed": np.int64(3),
                "compat": "neurox",
                "standardise": False,
            },
            sites=["layers.*.mlp"],
            top=5,
            compare_with=["activationSets/b"],
            id="a",
            request_id="r",
        )
        ranking = await half.wait(operation.result)
    wire = """
        activation_set: "activationSets/a" label: "upos" method: "linear_probe" sites: "layers.*.mlp" top: 5
        ranking_id: "a" request_id: "r" compare_with: "activationSets/b"
    """
    expected = text_format.Parse(wire, v1.RankNeuronsRequest())
    expected.parameters.update({"grid": [1, 2], "steps": [0, 1], "seed": 3, "compat": "neurox", "standardise": False})
    assert script.requests == [expected]
    assert (ranking.name, ranking.parameters, ranking.notes) == ("rankings/a", {"seed": 1}, tuple(RANKING.notes))
    assert ranking.neurons[0] == ScoredNeuron("layers.1.mlp", 7, 3)
    assert ranking.distribution == {"layers.0.mlp": 1, "layers.1.mlp": 2}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"seed": object()}, "'seed'"),
        ({1: 2}, "a name is a string, not 1"),
        ([1], "is a list; it takes values by name"),
    ],
)
async def test_parameters_that_the_wire_has_no_form_for(script: Script, half: Half, parameters: Any, text: str) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(TypeError, match=text):
            await half.wait(client.analysis.rank, "activationSets/a", method="iou", parameters=parameters)
    assert script.requests == []


@pytest.mark.parametrize(
    ("method", "fields", "argument"),
    [
        ("rank", {"method": "iou"}, "sites"),
        ("rank", {"method": "iou"}, "compare_with"),
        ("train_probe", {}, "sites"),
        ("find_redundant", {}, "sites"),
        ("analyze", {"method": "nmf"}, "sites"),
        ("analyze", {"method": "nmf"}, "compare_with"),
    ],
)
async def test_a_string_is_no_list(
    script: Script, half: Half, method: str, fields: dict[str, str], argument: str
) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(TypeError, match=rf"{argument} is the string 'x'; give a list: \['x'\]"):
            await half.wait(getattr(client.analysis, method), "activationSets/a", **{argument: "x"}, **fields)
    assert script.requests == []


@pytest.mark.parametrize(
    ("method", "given", "fields"),
    [
        ("rank", "activationSets/a", {"method": "iou", "top": -1}),
        ("train_probe", "activationSets/a", {"top": -1}),
        ("find_redundant", "activationSets/a", {"seed": -1}),
        ("analyze", "activationSets/a", {"method": "nmf", "top": -1}),
        ("rankings.get", "rankings/a", {"top": -1}),
        ("rankings.compare", ["rankings/a", "rankings/b"], {"top": -1}),
        ("analyses.get", "analyses/a", {"rows": -1}),
    ],
)
async def test_a_negative_number_is_named(
    script: Script, half: Half, method: str, given: Any, fields: dict[str, Any]
) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(ValueError, match=rf"{list(fields)[-1]} is -1; it can be 0 or more"):
            await half.wait(attrgetter(method)(client.analysis), given, **fields)
    assert script.requests == []


async def test_a_probe_is_trained_and_judged(script: Script, half: Half) -> None:
    script.reply("TrainProbe", done(PROBE))
    script.reply("EvaluateProbe", done(EVALUATION))
    async with half.client(script.target) as client:
        work = await half.wait(
            client.analysis.train_probe, "activationSets/a", ranking=Ranking.from_proto(RANKING), top=2, request_id="r"
        )
        probe = await half.wait(work.result)
        work = await half.wait(client.analysis.evaluate_probe, probe, "activationSets/b", request_id="s")
        found = await half.wait(work.result)
    wire = 'activation_set: "activationSets/a" parameters {} ranking: "rankings/a" top: 2 request_id: "r"'
    assert script.requests[0] == text_format.Parse(wire, v1.TrainProbeRequest())
    wire = 'probe: "probes/a" activation_set: "activationSets/b" request_id: "s"'
    assert script.requests[1] == text_format.Parse(wire, v1.EvaluateProbeRequest())
    assert (probe.classes, probe.sites) == (("NOUN", "VERB"), {"layers.0.mlp": 1, "layers.1.mlp": 2})
    assert (found.accuracy, found.classes["NOUN"].recall, found.classes["NOUN"].count) == (0.75, 0.6, 8)


async def test_an_operation_that_makes_something_else(script: Script, half: Half) -> None:
    script.reply("RankNeurons", done(PROBE))
    async with half.client(script.target) as client:
        work = await half.wait(client.analysis.rank, "activationSets/a", method="iou")
        with pytest.raises(ProtocolError, match="a Probe where a Ranking"):
            await half.wait(work.result)


async def test_rankings_are_got_listed_and_deleted(script: Script, half: Half) -> None:
    script.reply("GetRanking", RANKING)
    script.reply("ListRankings", v1.ListRankingsResponse(rankings=[RANKING], next_page_token="t"))
    script.reply("ListRankings", v1.ListRankingsResponse(rankings=[v1.Ranking(name="rankings/b")]))
    script.reply("DeleteRanking", empty_pb2.Empty())
    async with half.client(script.target) as client:
        ranking = await half.wait(client.analysis.rankings.get, Ranking.from_proto(RANKING), top=3)
        found = await half.wait(client.analysis.rankings.list)
        await half.wait(client.analysis.rankings.delete, ranking)
    assert [each.name for each in found] == ["rankings/a", "rankings/b"]
    assert script.requests[0] == v1.GetRankingRequest(name="rankings/a", top=3)
    assert script.requests[2].page_token == "t"
    assert script.requests[3] == v1.DeleteRankingRequest(name="rankings/a")


async def test_probes_are_got_listed_and_deleted(script: Script, half: Half) -> None:
    script.reply("GetProbe", PROBE)
    script.reply("GetProbe", PROBE)
    script.reply("ListProbes", v1.ListProbesResponse(probes=[PROBE], next_page_token="t"))
    script.reply("ListProbes", v1.ListProbesResponse(probes=[v1.Probe(name="probes/b")]))
    script.reply("DeleteProbe", empty_pb2.Empty())
    async with half.client(script.target) as client:
        probe = await half.wait(client.analysis.probes.get, "probes/a")
        assert await half.wait(client.analysis.probes.get, probe) == probe
        found = await half.wait(client.analysis.probes.list)
        await half.wait(client.analysis.probes.delete, probe)
    assert [each.name for each in found] == ["probes/a", "probes/b"]
    assert (script.requests[3].page_token, script.requests[4].name) == ("t", "probes/a")


def chunks(data: bytes = DATA, **fields: Any) -> list[Message]:
    first: dict[str, Any] = {"total_bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()} | fields
    return [activations_pb2.FileChunk(data=data[:5], **first), activations_pb2.FileChunk(data=data[5:], offset=5)]


async def test_export(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("ExportRanking", *chunks())
    async with half.client(script.target) as client:
        path = await half.wait(client.analysis.rankings.export, "rankings/a", tmp_path / "a.csv")
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == ["a.csv"]
    assert script.requests[0].format == v1.RANKING_FORMAT_CSV


@pytest.mark.parametrize("reply", [chunks(b"x" * len(DATA)), chunks()[:1], [], chunks(total_bytes=3)])
async def test_an_export_that_is_not_whole_leaves_nothing(
    script: Script, half: Half, tmp_path: Path, reply: list[Message]
) -> None:
    script.reply("ExportRanking", *reply)
    async with half.client(script.target) as client:
        with pytest.raises(DataLoss):
            await half.wait(client.analysis.rankings.export, "rankings/a", tmp_path / "a", format="json")
    assert names_in(tmp_path) == []


async def test_export_needs_a_format(script: Script, half: Half, tmp_path: Path) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(ValueError, match="'csv' or 'json'"):
            await half.wait(client.analysis.rankings.export, "rankings/a", tmp_path / "a.txt")
    assert names_in(tmp_path) == []


def test_the_best_neurons() -> None:
    ranking = Ranking.from_proto(RANKING)
    assert ranking.top(2) == ranking.neurons[:2]
    assert [str(neuron) for neuron in ranking.top(1, "NOUN")] == ["layers.0.mlp[1]"]
    with pytest.raises(ValueError, match="no class 'VERB'; there are NOUN"):
        ranking.top(1, "VERB")
    with pytest.raises(ValueError, match=r"4 neurons are wanted, and this holds the best 3 of 8; rankings.get"):
        ranking.top(4)
    for count in (9, -1):  # more gives nobody
        with pytest.raises(ValueError, match=r"holds the best 3 of 8$"):
            ranking.top(count)


@pytest.mark.parametrize(
    ("edits", "wanted"),
    [
        (ablate(Ranking.from_proto(RANKING).top(3)), ["ablate layers.1.mlp[7,2]", "ablate layers.0.mlp[1]"]),
        (scale(Ranking.from_proto(RANKING).top(2), 2), ["scale layers.1.mlp[7] 2", "scale layers.0.mlp[1] 2"]),
        (set_(Ranking.from_proto(RANKING).top(3), 4), ["set layers.1.mlp[7,2] 4", "set layers.0.mlp[1] 4"]),
        (add(Ranking.from_proto(RANKING).top(3), [1, 2, 3]), ["add layers.1.mlp[7,2] 1 3", "add layers.0.mlp[1] 2"]),
        (clip(Ranking.from_proto(RANKING).top(1), min=0), ["clip layers.1.mlp[7] 0 inf"]),
        (
            set_to_mean(Ranking.from_proto(RANKING).top(1), "activationSets/a"),
            ['set_to_mean layers.1.mlp[7] "activationSets/a" "" 1'],
        ),
        (ablate([]), []),
    ],
)
def test_neurons_of_a_ranking_are_edited_site_by_site(edits: list[Any], wanted: list[str]) -> None:
    assert [str(edit) for edit in edits] == wanted


def test_a_value_for_each_neuron_or_one() -> None:
    with pytest.raises(ValueError, match="2 values for 3 neurons"):
        set_(Ranking.from_proto(RANKING).top(3), [1, 2])
    with pytest.raises(ValueError, match=r"layers.0.mlp\[1\] is given twice"):
        ablate([*Ranking.from_proto(RANKING).top(2), ScoredNeuron("layers.0.mlp", 1, 0)])


async def test_the_command_methods(script: Script, shell: Shell) -> None:
    compositional = v1.Method(
        name="compositional",
        kind=v1.METHOD_KIND_NEURON_TO_CONCEPTS,
        answer=v1.METHOD_ANSWER_TABLES,
        summary="Formulas.",
    )
    newer = v1.Method(name="newer", summary="Of a later server.")
    for _ in range(3):
        script.reply("ListMethods", v1.ListMethodsResponse(methods=[compositional, newer, METHOD]))
    assert rows((await shell.run("methods"))[1]) == [
        "Which neurons carry a concept:",
        "method run by labels what it does",
        "probeless rank yes Distances of means.",
        "",
        "What a neuron stands for:",
        "method run by labels what it does",
        "compositional analyze no Formulas.",
        "",
        "Other questions:",
        "method run by labels what it does",
        "newer – no Of a later server.",
    ]
    lines = rows((await shell.run("methods", "probeless"))[1])
    assert {"patchclamp rank SET -m probeless", "how choice \"x\" 'x', 'y'"} <= set(lines)
    code, _, err = await shell.run("methods", "x")
    assert (code, "no method 'x'" in err) == (1, True)


async def test_what_compares_says_so(script: Script, shell: Shell) -> None:
    method = v1.Method(name="cross_model", answer=v1.METHOD_ANSWER_RANKING, compares=True)
    script.reply("ListMethods", v1.ListMethodsResponse(methods=[method]))
    _, out, _ = await shell.run("methods", "cross_model")
    assert "patchclamp rank SET --compare-with SET -m cross_model" in rows(out)


async def test_the_command_rank(script: Script, shell: Shell) -> None:
    script.reply("RankNeurons", done(RANKING))
    options = [
        "-m",
        "linear_probe",
        "-l",
        "upos",
        "-p",
        "l1=0.5",
        "-p",
        "grid=[1,2]",
        "-p",
        "solver=lbfgs",
        "--id",
        "a",
    ]
    code, out, err = await shell.run(
        "rank", "activationSets/a", *options, "-s", "layers.1.mlp", "--top", "3", "--compare-with", "activationSets/b"
    )
    assert (code, err) == (0, "left out: 1 masked rows\n")
    assert rows(out)[1] == "rankings/a probeless upos activationSets/a 1,500 8"
    assert rows(out)[3:] == ["1 layers.1.mlp[7] 3", "2 layers.0.mlp[1] 2.5", "3 layers.1.mlp[2] 0.5"]
    (request,) = script.requests
    assert dict(request.parameters) == {"l1": 0.5, "grid": request.parameters["grid"], "solver": "lbfgs"}
    assert (request.top, list(request.sites), request.ranking_id) == (3, ["layers.1.mlp"], "a")
    assert list(request.compare_with) == ["activationSets/b"]


async def test_the_command_rank_need_not_wait(script: Script, shell: Shell) -> None:
    script.reply("RankNeurons", operations_pb2.Operation(name="operations/x"))
    assert await shell.run("rank", "activationSets/a", "-m", "iou", "--no-wait") == (0, "operations/x\n", "")


async def test_the_commands_about_rankings(script: Script, shell: Shell, tmp_path: Path) -> None:
    script.reply("ListRankings", v1.ListRankingsResponse(rankings=[RANKING]))
    script.reply("GetRanking", RANKING)
    script.reply("GetRanking", RANKING)
    script.reply("ExportRanking", *chunks())
    script.reply("DeleteRanking", empty_pb2.Empty())
    assert json.loads((await shell.run("rankings", "list", "--json"))[1])[0]["name"] == "rankings/a"
    _, out, _ = await shell.run("rankings", "get", "rankings/a", "--label", "NOUN")
    assert rows(out)[3:] == ["1 layers.0.mlp[1] 2.5", "2 layers.1.mlp[2] 0.5"]
    assert (await shell.run("rankings", "get", "rankings/a", "--label", "X"))[0] == 1
    path = tmp_path / "a.csv"
    assert (await shell.run("rankings", "export", "rankings/a", "-o", str(path)))[1] == f"{path}\n"
    assert await shell.run("rankings", "delete", "rankings/a") == (0, "", "")


async def test_the_commands_about_probes(script: Script, shell: Shell) -> None:
    script.reply("TrainProbe", done(PROBE))
    script.reply("EvaluateProbe", done(EVALUATION))
    script.reply("ListProbes", v1.ListProbesResponse(probes=[PROBE]))
    script.reply("GetProbe", PROBE)
    script.reply("DeleteProbe", empty_pb2.Empty())
    _, out, _ = await shell.run("probes", "train", "activationSets/a", "--ranking", "rankings/a", "--top", "2")
    assert rows(out)[-2:] == ["layers.0.mlp 1", "layers.1.mlp 2"]
    _, out, _ = await shell.run("probes", "evaluate", "probes/a", "activationSets/b")
    assert rows(out)[1:] == [
        "NOUN 0.8000 0.6000 0.7000 8",
        "accuracy 0.7500 (guessing: 0.5000), macro F1 0.7000",
        "over 8 rows",
    ]
    assert "probes/a" in (await shell.run("probes", "list"))[1]
    assert json.loads((await shell.run("probes", "get", "probes/a", "--json"))[1])["classes"] == ["NOUN", "VERB"]
    assert await shell.run("probes", "delete", "probes/a") == (0, "", "")


async def test_waiting_for_an_evaluation_prints_it(script: Script, shell: Shell) -> None:
    script.reply("GetOperation", done(EVALUATION))
    _, out, _ = await shell.run("operations", "wait", "operations/x")
    assert json.loads(out)["accuracy"] == 0.75


WORDS = v1.TopWordsResponse(
    neurons=[
        v1.NeuronWords(site="layers.1.mlp", index=7, words=[v1.WordScore(word="nurse", score=1, count=12)]),
        v1.NeuronWords(site="layers.0.mlp", index=1),
    ]
)


async def test_top_words(script: Script, half: Half) -> None:
    script.reply("TopWords", WORDS)
    async with half.client(script.target) as client:
        neurons = Ranking.from_proto(RANKING).top(2)
        first, second = await half.wait(client.analysis.top_words, "activationSets/a", neurons, top=3, min_count=2)
    wire = """
        activation_set: "activationSets/a" top: 3 threshold: 0.1 min_count: 2
        neurons { site: "layers.1.mlp" indices: 7 } neurons { site: "layers.0.mlp" indices: 1 }
    """
    assert script.requests == [text_format.Parse(wire, v1.TopWordsRequest())]
    assert [(each.word, each.score, each.count) for each in first.words] == [("nurse", 1, 12)]
    assert (second.site, second.index, second.words) == ("layers.0.mlp", 1, ())


@pytest.mark.parametrize("options", [{"threshold": 0}, {"threshold": 2}, {"top": 0}, {"min_count": 0}])
async def test_top_words_refuses_what_the_wire_has_no_sign_for(
    script: Script, half: Half, options: dict[str, Any]
) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(ValueError, match="threshold must be above 0"):
            await half.wait(client.analysis.top_words, "activationSets/a", "layers.0.mlp", **options)
    assert script.requests == []


async def test_the_command_top_words(script: Script, shell: Shell) -> None:
    script.reply("TopWords", WORDS)
    _, out, _ = await shell.run("top-words", "activationSets/a", "layers.1.mlp[7]", "layers.0.mlp[1]")
    assert rows(out)[1:] == ["layers.1.mlp[7] nurse 1.0000 12"]


COMPARISON = v1.RankingComparison(
    rankings=["rankings/a", "rankings/b"],
    top=4,
    overlap=from_array([[1, 0.5], [0.5, 1]]),
    average_overlap=[0.5, 0.5],
    neuron_vote=[0.5, 0.25],
)


async def test_rankings_are_compared(script: Script, half: Half) -> None:
    script.reply("CompareRankings", COMPARISON)
    async with half.client(script.target) as client:
        found = await half.wait(client.analysis.rankings.compare, [Ranking.from_proto(RANKING), "rankings/b"], top=4)
        with pytest.raises(TypeError, match="give a list"):
            await half.wait(client.analysis.rankings.compare, "rankings/b")
    assert script.requests == [v1.CompareRankingsRequest(rankings=["rankings/a", "rankings/b"], top=4)]
    assert (found.top, found.overlap.tolist(), found.neuron_vote) == (4, [[1, 0.5], [0.5, 1]], (0.5, 0.25))


async def test_the_command_rankings_compare(script: Script, shell: Shell) -> None:
    script.reply("CompareRankings", COMPARISON)
    _, out, _ = await shell.run("rankings", "compare", "rankings/a", "rankings/b")
    assert rows(out)[1:] == ["rankings/a 1.00 0.50 0.5000 0.5000", "rankings/b 0.50 1.00 0.5000 0.2500"]


REDUNDANCY = v1.Redundancy(
    activation_set="activationSets/a",
    clusters=[v1.NeuronCluster(neurons=[common_pb2.Neurons(site="layers.0.mlp", indices=[1, 4])])],
    independent=[common_pb2.Neurons(site="layers.0.mlp", indices=[0, 1, 2, 3])],
    neuron_count=5,
    redundant_share=0.2,
)


async def test_redundant_neurons(script: Script, half: Half) -> None:
    script.reply("FindRedundantNeurons", done(REDUNDANCY))
    async with half.client(script.target) as client:
        options = {"threshold": 0.5, "seed": 3, "sites": ["layers.0.mlp"], "request_id": "r"}
        work = await half.wait(client.analysis.find_redundant, "activationSets/a", **options)
        found = await half.wait(work.result)
        with pytest.raises(ValueError, match="threshold is 0"):
            await half.wait(client.analysis.find_redundant, "activationSets/a", threshold=0)
    wire = 'activation_set: "activationSets/a" sites: "layers.0.mlp" threshold: 0.5 seed: 3 request_id: "r"'
    assert script.requests == [text_format.Parse(wire, v1.FindRedundantNeuronsRequest())]
    assert (found.clusters, found.redundant_share) == (((Neurons("layers.0.mlp", [1, 4]),),), 0.2)
    assert found.independent == (Neurons("layers.0.mlp", range(4)),)


async def test_the_command_redundant(script: Script, shell: Shell) -> None:
    script.reply("FindRedundantNeurons", done(REDUNDANCY))
    _, out, _ = await shell.run("redundant", "activationSets/a")
    assert rows(out)[1:] == ["2 layers.0.mlp[1,4]", "20.0% of 5 neurons can be left out"]
