"""Analyses: what the client asks for, and what it makes of tables that are whole, or not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import empty_pb2, text_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from patchclamp import (
    Analysis,
    DataLoss,
    IncompleteTable,
    InvalidArgument,
    Neurons,
    ProtocolError,
    Ranking,
    ScoredNeuron,
    Table,
)
from patchclamp.v1 import analysis_pb2 as v1

from tests.clients.halves import Half
from tests.clients.sample_analyses import ANALYSIS, DATA, LISTED, PART, WORDS, chunks, done
from tests.clients.scripted import Failure, Script


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_every_field_of_an_analysis() -> None:
    found = Analysis.from_proto(ANALYSIS)
    assert {name: getattr(found, name) for name in Analysis.__dataclass_fields__ if name != "tables"} == {
        "name": "analyses/a",
        "create_time": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "method": "top_words",
        "parameters": {"top": 3, "counts": [10, 0.1]},
        "label": "upos",
        "activation_sets": ("activationSets/a", "activationSets/b"),
        "activation_set_sha256s": ("aa", "bb"),
        "rankings": ("rankings/a",),
        "row_count": 1500,
        "model": "models/a",
        "model_digest": "cc",
        "notes": ("left out: 1 masked rows",),
    }
    assert set(Analysis.__dataclass_fields__) == {field.name for field in v1.Analysis.DESCRIPTOR.fields}
    assert list(found.tables) == ["words", "spread"]
    assert repr(found) == (
        "<Analysis analyses/a: top_words of activationSets/a, activationSets/b: "
        "words (3 rows), spread (2 of 2,310 rows)>"
    )
    assert repr(Analysis.from_proto(v1.Analysis(name="analyses/c", method="nmf"))) == (
        "<Analysis analyses/c: nmf of a text: no tables>"
    )


def test_a_table_that_is_whole() -> None:
    table = Analysis.from_proto(ANALYSIS).table("words")
    assert (len(table), table.row_count, table.complete) == (3, 3, True)
    assert {name: values.dtype for name, values in table.columns.items()} == {
        "site": object,
        "index": np.int64,
        "score": np.float64,
    }
    frame = table.to_pandas()
    assert frame["site"].tolist() == ["a[1]", "b", "b"]
    assert frame["index"].tolist() == [1, 2**40, -3]
    assert frame["score"].isna().tolist() == [False, True, False]
    assert repr(table) == "<Table words (3 rows): site, index, score>"


@pytest.mark.parametrize(
    ("message", "here", "says"),
    [
        (PART, 2, r"spread \(2 of 2,310 rows\): .*rows=.*export.*partial=True"),
        (v1.Table(name="summary", row_count=1), 0, r"summary \(0 of 1 row\)"),
        (v1.Table(name="empty"), 0, r"empty \(0 of 0 rows\)"),
    ],
    ids=["part", "listed", "listed, and empty"],
)
def test_a_table_that_is_not_whole_is_not_taken_for_one(message: v1.Table, here: int, says: str) -> None:
    table = Table.from_proto(message)
    assert (len(table), table.complete) == (here, False)
    with pytest.raises(IncompleteTable, match=says):
        table.to_pandas()
    assert len(table.to_pandas(partial=True)) == here


def test_a_table_without_rows_is_whole() -> None:
    table = Table.from_proto(v1.Table(name="words", columns=[v1.Column(name="word", strings=v1.StringColumn())]))
    assert table.complete
    assert list(table.to_pandas()) == ["word"]


def test_an_unknown_table() -> None:
    with pytest.raises(ValueError, match=r"analyses/a has no table 'layers'; it has words, spread$"):
        Analysis.from_proto(ANALYSIS).table("layers")


ONE, TWO = (v1.NumberColumn(values=values) for values in ([1], [1, 2]))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            v1.Table(row_count=2, columns=[v1.Column(name="a", numbers=ONE), v1.Column(name="b", numbers=TWO)]),
            "lengths",
        ),
        (v1.Table(row_count=1, columns=[v1.Column(name="a", numbers=ONE)] * 2), "columns of one name"),
        (v1.Table(row_count=1, columns=[v1.Column(name="a", numbers=TWO)]), "rows of 1"),
        (v1.Table(row_count=1, columns=[v1.Column(name="a")]), "does not know"),
    ],
)
def test_a_table_that_breaks_the_contract(table: v1.Table, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        Table.from_proto(table)


def test_two_tables_of_one_name() -> None:
    with pytest.raises(ProtocolError, match="two tables of one name: words"):
        Analysis.from_proto(v1.Analysis(tables=[WORDS, WORDS]))


async def test_analyze_sends_what_it_is_given(script: Script, half: Half) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    async with half.client(script.target) as client:
        work = await half.wait(
            client.analysis.analyze,
            "activationSets/a",
            method="compositional",
            label="upos",
            parameters={"length": 3},
            sites=["layers.*.mlp"],
            neurons=["layers.0.mlp[1,2]", Neurons("layers.1.mlp", [3]), ScoredNeuron("layers.2.mlp", 4, 0.5)],
            ranking=Ranking.from_proto(v1.Ranking(name="rankings/a")),
            top=5,
            compare_with=["activationSets/b"],
            id="a",
            request_id="r",
        )
        found = await half.wait(work.result)
    wire = """
        activation_set: "activationSets/a" method: "compositional" label: "upos" sites: "layers.*.mlp"
        neurons { site: "layers.0.mlp" indices: 1 indices: 2 } neurons { site: "layers.1.mlp" indices: 3 }
        neurons { site: "layers.2.mlp" indices: 4 } ranking: "rankings/a" top: 5
        compare_with: "activationSets/b" analysis_id: "a" request_id: "r"
    """
    expected = text_format.Parse(wire, v1.AnalyzeActivationsRequest())
    expected.parameters.update({"length": 3})
    assert script.requests == [expected]
    assert (found.name, found.table("words").columns["index"][1]) == ("analyses/a", 2**40)


@pytest.mark.parametrize(
    ("options", "wire"),
    [
        ({}, ""),
        (
            {"activation_set": "activationSets/a", "test_set": "activationSets/b", "id": "a"},
            'activation_set: "activationSets/a" test_set: "activationSets/b" analysis_id: "a"',
        ),
    ],
)
async def test_evaluate_sends_what_it_is_given(script: Script, half: Half, options: dict[str, str], wire: str) -> None:
    script.reply("EvaluateRankings", done(ANALYSIS))
    async with half.client(script.target) as client:
        ranking = Ranking.from_proto(v1.Ranking(name="rankings/a"))
        parameters = {"counts": (10, 0.1), "control": False}
        work = await half.wait(
            client.analysis.evaluate, [ranking, "rankings/b"], parameters=parameters, request_id="r", **options
        )
        found = await half.wait(work.result)
    wire += 'rankings: "rankings/a" rankings: "rankings/b" request_id: "r"'
    expected = text_format.Parse(wire, v1.EvaluateRankingsRequest())
    expected.parameters.update({"counts": [10, 0.1], "control": False})
    assert script.requests == [expected]
    assert isinstance(found, Analysis)


@pytest.mark.parametrize("ranking", ["rankings/a", Ranking.from_proto(v1.Ranking(name="rankings/a"))])
async def test_one_ranking_is_judged_alone(script: Script, half: Half, ranking: str | Ranking) -> None:
    script.reply("EvaluateRankings", done(ANALYSIS))
    async with half.client(script.target) as client:
        await half.wait(client.analysis.evaluate, ranking)
    assert list(script.requests[0].rankings) == ["rankings/a"]


async def test_a_refusal_is_typed_and_says_where(script: Script, half: Half) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="parameters.lenght")
    details = (error_details_pb2.BadRequest(field_violations=[violation]),)
    script.reply("AnalyzeActivations", Failure(grpc.StatusCode.INVALID_ARGUMENT, "unknown", details))
    async with half.client(script.target) as client:
        with pytest.raises(InvalidArgument) as caught:
            await half.wait(client.analysis.analyze, "activationSets/a", method="nmf", parameters={"lenght": 3})
    assert caught.value.field == "parameters.lenght"


async def test_analyses_are_got_listed_and_deleted(script: Script, half: Half) -> None:
    script.reply("GetAnalysis", ANALYSIS)
    script.reply("GetAnalysis", ANALYSIS)
    script.reply("ListAnalyses", v1.ListAnalysesResponse(analyses=[ANALYSIS], next_page_token="t"))
    script.reply("ListAnalyses", v1.ListAnalysesResponse(analyses=[LISTED]))
    script.reply("DeleteAnalysis", empty_pb2.Empty())
    async with half.client(script.target) as client:
        kept = client.analysis.analyses
        found = await half.wait(kept.get, "analyses/a")
        await half.wait(kept.get, found, rows=3)
        listed = await half.wait(kept.list)
        await half.wait(kept.delete, found)
    assert [each.name for each in listed] == ["analyses/a", "analyses/b"]
    assert script.requests == [
        v1.GetAnalysisRequest(name="analyses/a"),
        v1.GetAnalysisRequest(name="analyses/a", rows=3),
        v1.ListAnalysesRequest(),
        v1.ListAnalysesRequest(page_token="t"),
        v1.DeleteAnalysisRequest(name="analyses/a"),
    ]


@pytest.mark.parametrize(
    ("file", "options", "format"),
    [
        ("a.csv", {"table": "words"}, v1.ANALYSIS_FORMAT_CSV),
        ("a.json", {}, v1.ANALYSIS_FORMAT_JSON),
        ("a", {"format": "json"}, v1.ANALYSIS_FORMAT_JSON),
    ],
)
async def test_export(
    script: Script,
    half: Half,
    tmp_path: Path,
    file: str,
    options: dict[str, str],
    format: v1.AnalysisFormat.ValueType,
) -> None:
    script.reply("ExportAnalysis", *chunks())
    async with half.client(script.target) as client:
        path = await half.wait(client.analysis.analyses.export, "analyses/a", tmp_path / file, **options)
    assert path.read_bytes() == DATA
    assert names_in(tmp_path) == [file]
    table = options.get("table", "")
    assert script.requests == [v1.ExportAnalysisRequest(name="analyses/a", format=format, table=table)]


@pytest.mark.parametrize("reply", [chunks(b"x" * len(DATA)), chunks()[:1], []], ids=["other", "short", "nothing"])
async def test_an_export_that_is_not_whole_leaves_what_was_there(
    script: Script, half: Half, tmp_path: Path, reply: list[Message]
) -> None:
    (tmp_path / "a.csv").write_text("before")
    script.reply("ExportAnalysis", *reply)
    async with half.client(script.target) as client:
        with pytest.raises(DataLoss):
            await half.wait(client.analysis.analyses.export, "analyses/a", tmp_path / "a.csv")
    assert (names_in(tmp_path), (tmp_path / "a.csv").read_bytes()) == (["a.csv"], b"before")


@pytest.mark.parametrize(
    ("file", "table", "says"), [("a.txt", "", "'csv' or 'json'"), ("a.json", "words", "JSON holds all tables")]
)
async def test_export_refuses(script: Script, half: Half, tmp_path: Path, file: str, table: str, says: str) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(ValueError, match=says):
            await half.wait(client.analysis.analyses.export, "analyses/a", tmp_path / file, table=table)
    assert (names_in(tmp_path), script.requests) == ([], [])
