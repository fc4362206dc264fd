"""The commands `analyze`, `evaluate` and `analyses …`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from patchclamp import Neurons
from patchclamp.v1 import activations_pb2
from patchclamp.v1 import analysis_pb2 as v1

from tests.clients.sample_analyses import ANALYSIS, DATA, LISTED, PART, chunks, done, rows
from tests.clients.scripted import Script
from tests.clients.shell import Shell

PRINTED = [
    "analysis method labels of rows tables",
    "analyses/a top_words upos rankings/a 1,500 words, spread",
    "",
    "words (3 rows)",
    "site index score",
    "a[1] 1 0.5",
    "b 1099511627776 –",
    "b -3 1e-09",
    "",
    "spread (2 of 2,310 rows)",
    "class",
    "NOUN",
    "VERB",
    "… and 2,308 more: patchclamp analyses export analyses/a -o FILE.csv --table spread",
]


async def test_the_command_analyze(script: Script, shell: Shell) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    own = ["-m", "compositional", "-l", "upos", "-p", "length=3", "--id", "a", "--compare-with", "activationSets/b"]
    which = ["-n", "layers.0.mlp[1]", "-n", "layers.1.mlp[2,3]", "-s", "x", "--ranking", "rankings/a", "--top", "5"]
    code, out, err = await shell.run("analyze", "activationSets/a", *own, *which)
    assert (code, err) == (0, "left out: 1 masked rows\n")
    assert rows(out) == PRINTED
    (request,) = script.requests
    expected = v1.AnalyzeActivationsRequest(
        activation_set="activationSets/a",
        compare_with=["activationSets/b"],
        label="upos",
        method="compositional",
        sites=["x"],
        neurons=[Neurons("layers.0.mlp", [1]).to_proto(), Neurons("layers.1.mlp", [2, 3]).to_proto()],
        ranking="rankings/a",
        top=5,
        analysis_id="a",
        request_id=request.request_id,
    )
    expected.parameters.update({"length": 3})
    assert request == expected


async def test_as_json_a_missing_number_is_null(script: Script, shell: Shell) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    _, out, _ = await shell.run("analyze", "activationSets/a", "-m", "nmf", "--json")
    tables = json.loads(out, parse_constant=pytest.fail)["tables"]
    assert tables["words"]["columns"]["score"] == [0.5, None, 1e-9]
    assert (tables["spread"]["row_count"], len(tables["spread"]["columns"]["class"])) == (2310, 2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], activations_pb2.Sentence(text="the nurse")),
        (["--words"], activations_pb2.Sentence(words=activations_pb2.Words(words=["the", "nurse"]))),
    ],
)
async def test_commands_of_a_text(
    script: Script, shell: Shell, options: list[str], sentence: activations_pb2.Sentence
) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    script.reply("TopWords", v1.TopWordsResponse(neurons=[v1.NeuronWords(site="s", index=1)]))
    text = ["--text", "the nurse", "--model", "models/a", "-e", "ablate layers.0.mlp[1]", *options]
    assert (await shell.run("analyze", "-m", "top_contexts", "-n", "layers.1.mlp[2]", *text))[0] == 0
    assert (await shell.run("top-words", "layers.1.mlp[2]", *text))[0] == 0
    assert len(script.requests) == 2
    for request in script.requests:
        assert (request.activation_set, [each.site for each in request.neurons]) == ("", ["layers.1.mlp"])
        assert (request.text.model, list(request.text.sentences)) == ("models/a", [sentence])
        assert len(request.text.interventions) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["analyze", "-m", "nmf"], "give an activation set or a text"),
        (["analyze", "activationSets/a", "-m", "nmf", "--text", "a"], "not both"),
        (["analyze", "activationSets/a", "-m", "nmf", "--words"], "--words is for a --text"),
        (["analyze", "activationSets/a", "-m", "nmf", "--model", "models/a"], "model: only for a text"),
        (["analyze", "activationSets/a", "-m", "nmf", "-o", "a.xlsx"], "should end in .json or .csv"),
        (["analyze", "activationSets/a", "-m", "nmf", "-o", "/nowhere/a.csv"], "no folder '/nowhere'"),
        (["analyze", "activationSets/a", "-m", "nmf", "-o", "a.csv", "--no-wait"], "--output is for work that is"),
        (["evaluate", "rankings/a", "-o", "a.xlsx"], "should end in .json or .csv"),
        (["top-words", "activationSets/a"], "give neurons"),
    ],
)
async def test_what_a_command_refuses_it_does_not_begin(
    script: Script, shell: Shell, arguments: list[str], says: str
) -> None:
    code, out, err = await shell.run(*arguments)
    assert (code, out, err.count("\n"), script.requests) == (1, "", 1, [])
    assert says in err


async def test_analyze_writes_a_file(script: Script, shell: Shell, tmp_path: Path) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    script.reply("ExportAnalysis", *chunks())
    code, _, _ = await shell.run("analyze", "activationSets/a", "-m", "nmf", "-o", str(tmp_path / "a.csv"))
    assert (code, (tmp_path / "a.csv").read_bytes()) == (0, DATA)
    assert script.requests[1] == v1.ExportAnalysisRequest(name="analyses/a", format=v1.ANALYSIS_FORMAT_CSV)


async def test_the_command_evaluate_prints_the_summary(script: Script, shell: Shell, tmp_path: Path) -> None:
    summary = v1.Table(
        name="summary",
        row_count=1,
        columns=[
            v1.Column(name="method", strings=v1.StringColumn(values=["probeless"])),
            v1.Column(name="accuracy_top", numbers=v1.NumberColumn(values=[0.875])),
        ],
    )
    made = v1.Analysis(name="analyses/e", method="evaluation", rankings=["rankings/a", "rankings/b"], row_count=90)
    made.tables.extend([summary, PART])
    script.reply("EvaluateRankings", done(made))
    script.reply("ExportAnalysis", *chunks())
    sets = ["--train", "activationSets/a", "--test", "activationSets/b", "-p", "seeds=5", "--id", "e"]
    file = str(tmp_path / "e.csv")
    code, out, _ = await shell.run("evaluate", "rankings/a", "rankings/b", *sets, "-o", file)
    assert code == 0
    assert rows(out) == [
        "analysis method labels of rows tables",
        "analyses/e evaluation – rankings/a rankings/b 90 summary, spread",
        "",
        "summary (1 row)",
        "method accuracy_top",
        "probeless 0.875",
        "",
        "also spread (2 of 2,310 rows): patchclamp analyses get analyses/e",
    ]
    request, export = script.requests
    assert (list(request.rankings), request.analysis_id) == (["rankings/a", "rankings/b"], "e")
    assert (request.activation_set, request.test_set) == ("activationSets/a", "activationSets/b")
    assert (dict(request.parameters), export.table) == ({"seeds": 5}, "summary")


@pytest.mark.parametrize(
    ("names", "rows_here", "first", "last"),
    [
        ("abcdefgh", 2, "a b c d e f g h", "1 1 1 1 1 1 1 1"),
        ("abcdefghi", 2, "a 0 1", "i 0 1"),
        ("abcdefghi", 9, "a b c d e f g h i", "8 8 8 8 8 8 8 8 8"),
    ],
    ids=["narrow", "wide", "wide and long"],
)
async def test_a_wide_table_is_turned(
    script: Script, shell: Shell, names: str, rows_here: int, first: str, last: str
) -> None:
    values = v1.IntegerColumn(values=range(rows_here))
    table = v1.Table(row_count=rows_here, columns=[v1.Column(name=name, integers=values) for name in names])
    script.reply("GetAnalysis", v1.Analysis(name="analyses/a", tables=[table]))
    lines = rows((await shell.run("analyses", "get", "analyses/a"))[1])
    assert (lines[4], lines[-1]) == (first, last)


async def test_evaluate_prints_all_where_there_is_no_summary(script: Script, shell: Shell) -> None:
    script.reply("EvaluateRankings", done(ANALYSIS))
    assert rows((await shell.run("evaluate", "rankings/a"))[1]) == PRINTED


@pytest.mark.parametrize("command", [["analyze", "activationSets/a", "-m", "nmf"], ["evaluate", "rankings/a"]])
async def test_work_need_not_be_waited_for(script: Script, shell: Shell, command: list[str]) -> None:
    for _ in range(2):
        for method in ("AnalyzeActivations", "EvaluateRankings"):
            script.reply(method, operations_pb2.Operation(name="operations/x"))
    assert await shell.run(*command, "--no-wait") == (0, "operations/x\n", "")
    assert json.loads((await shell.run(*command, "--no-wait", "--json"))[1]) == {"operation": "operations/x"}


async def test_waiting_for_an_analysis_prints_its_name(script: Script, shell: Shell) -> None:
    script.reply("GetOperation", done(ANALYSIS))
    assert (await shell.run("operations", "wait", "operations/x"))[1] == "analyses/a\n"


async def test_the_commands_about_analyses(script: Script, shell: Shell, tmp_path: Path) -> None:
    script.reply("ListAnalyses", v1.ListAnalysesResponse(analyses=[LISTED]))
    for _ in range(3):
        script.reply("GetAnalysis", ANALYSIS)
    script.reply("ExportAnalysis", *chunks())
    script.reply("DeleteAnalysis", empty_pb2.Empty())
    assert rows((await shell.run("analyses", "list"))[1])[1:] == ["analyses/b evaluation – a text 0 summary"]
    assert rows((await shell.run("analyses", "get", "analyses/a", "--rows", "3"))[1]) == PRINTED
    _, out, _ = await shell.run("analyses", "get", "analyses/a", "--table", "words")
    assert rows(out) == [
        *PRINTED[:8],
        "",
        "also spread (2 of 2,310 rows): patchclamp analyses get analyses/a",
    ]
    code, out, err = await shell.run("analyses", "get", "analyses/a", "--table", "x")
    assert (code, out, "it has words, spread" in err) == (1, "", True)
    file = str(tmp_path / "a.csv")
    assert await shell.run("analyses", "export", "analyses/a", "-o", file, "--table", "words") == (0, f"{file}\n", "")
    assert await shell.run("analyses", "delete", "analyses/a") == (0, "", "")
    assert [script.requests[1].rows, script.requests[4].table] == [3, "words"]
