"""`patchclamp activations …` and `patchclamp operations …`, against a real server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, text_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2
from patchclamp.v1 import activations_pb2, common_pb2, corpora_pb2, intervention_pb2

from tests.clients.scripted import Failure, Script
from tests.clients.shell import Shell

DATA = b"0123456789"
SET = activations_pb2.ActivationSet(
    name="activationSets/a",
    corpus="corpora/c",
    model="models/m",
    sites=[activations_pb2.SiteWidth(site="layers.0.mlp", width=2)],
    dtype=common_pb2.FLOAT32,
    row_count=1500,
    masked_count=1,
    layers=[corpora_pb2.LabelLayer(name="upos", labels=[corpora_pb2.LabelCount(label="N", count=1500)])],
    size_bytes=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
    applied=intervention_pb2.AppliedInterventions(edits=[intervention_pb2.AppliedEdit(positions_edited=5)]),
)
ROW = "activationSets/a corpora/c models/m 1,500 1 1 float32 0.0 MB"


def packed(message: Message) -> AnyMessage:
    any_message = AnyMessage()
    any_message.Pack(message)
    return any_message


METADATA = common_pb2.OperationMetadata(
    method="CreateActivationSet", target="activationSets/a", stage="extracting", done=3, total=9, unit="sentences"
)
RUNNING = operations_pb2.Operation(name="operations/x", metadata=packed(METADATA))
DONE = operations_pb2.Operation(name="operations/x", metadata=packed(METADATA), done=True, response=packed(SET))
FAILED = operations_pb2.Operation(name="operations/x", done=True, error=status_pb2.Status(code=8, message="disk full"))


def rows(out: str) -> list[str]:
    """Lines with single blanks."""
    return [" ".join(line.split()) for line in out.splitlines()]


async def test_create_waits_and_prints_the_set(script: Script, shell: Shell) -> None:
    script.reply("CreateActivationSet", RUNNING)
    script.reply("WaitOperation", DONE)
    edit = ["-e", "ablate layers.0.mlp"]
    code, out, err = await shell.run("activations", "create", "corpora/c", "-s", "layers.0.mlp", *edit)
    assert (code, err) == (0, "edited 5 positions: ablate layers.0.mlp\n")
    assert rows(out)[1::2] == [ROW, "layers.0.mlp 2", "upos N 1,500"]


async def test_create_sends_its_options(script: Script, shell: Shell) -> None:
    script.reply("CreateActivationSet", RUNNING)
    chosen = ["--layer", "upos", "--labelled-only", "--label", "N", "--per-label", "2", "--per-word-type", "3"]
    given = ["--id", "a", "-m", "models/m", "--aggregation", "sentence_max", "--dtype", "float16", "--seed", "4"]
    rest = ["--special-tokens", "--set", "interventionSets/s", "--no-wait"]
    code, out, err = await shell.run("activations", "create", "corpora/c", "-s", "a", "-s", "b", *given, *chosen, *rest)
    assert (code, out, err) == (0, "operations/x\n", "")
    script.requests[0].request_id = ""
    wire = """
        activation_set_id: "a" corpus: "corpora/c" model: "models/m" sites: ["a", "b"] aggregation: SENTENCE_MAX
        dtype: FLOAT16 intervention_sets: "interventionSets/s" include_special_tokens: true
        filter { layer: "upos" labelled_only: true labels: "N" per_label: 2 per_word_type: 3 seed: 4 }
    """
    assert script.requests == [text_format.Parse(wire, activations_pb2.CreateActivationSetRequest())]


@pytest.mark.parametrize(("options", "filtered"), [([], False), (["--seed", "4"], False), (["--per-label", "1"], True)])
async def test_create_filters_only_when_asked(script: Script, shell: Shell, options: list[str], filtered: bool) -> None:
    script.reply("CreateActivationSet", RUNNING)
    await shell.run("activations", "create", "corpora/c", "-s", "a", "--no-wait", *options)
    assert script.requests[0].HasField("filter") == filtered


async def test_create_as_json(script: Script, shell: Shell) -> None:
    script.reply("CreateActivationSet", DONE)
    script.reply("CreateActivationSet", RUNNING)
    command = ["activations", "create", "corpora/c", "-s", "a", "--json"]
    _, waited, _ = await shell.run(*command)
    _, left, _ = await shell.run(*command, "--no-wait")
    assert json.loads(waited)["sites"] == {"layers.0.mlp": 2}
    assert json.loads(left) == {"operation": "operations/x"}


async def test_create_fails_as_its_operation(script: Script, shell: Shell) -> None:
    script.reply("CreateActivationSet", FAILED)
    code, out, err = await shell.run("activations", "create", "corpora/c", "-s", "a")
    assert (code, out, err) == (1, "", "patchclamp: RESOURCE_EXHAUSTED: disk full\n")


@pytest.mark.parametrize("as_json", [False, True])
async def test_list_and_get(script: Script, shell: Shell, as_json: bool) -> None:
    script.reply("ListActivationSets", activations_pb2.ListActivationSetsResponse(activation_sets=[SET]))
    script.reply("GetActivationSet", SET)
    options = ["--json"] if as_json else []
    _, listed, _ = await shell.run("activations", "list", *options)
    _, got, _ = await shell.run("activations", "get", "activationSets/a", *options)
    if as_json:
        assert json.loads(listed) == [json.loads(got)]
        assert json.loads(got)["row_count"] == 1500
    else:
        assert rows(listed)[1] == rows(got)[1] == ROW


async def test_download(script: Script, shell: Shell, tmp_path: Path) -> None:
    script.reply("GetActivationSet", SET)
    chunk = activations_pb2.FileChunk(data=DATA, total_bytes=len(DATA), sha256=SET.sha256)
    script.reply("DownloadActivationSet", chunk)
    code, out, err = await shell.run("activations", "download", "activationSets/a", "-o", str(tmp_path))
    assert (code, out, err) == (0, f"{tmp_path / 'a.h5'}\n", "")
    assert (tmp_path / "a.h5").read_bytes() == DATA


async def test_download_replaces_a_file_only_when_told_to(script: Script, shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    path.write_text("mine")
    arguments = ["activations", "download", "activationSets/a", "-o", str(path)]
    script.reply("GetActivationSet", SET)
    code, _, err = await shell.run(*arguments)
    assert (code, path.read_text()) == (1, "mine")
    assert err.endswith("mine.h5 is there already; overwrite=True, or --force, replaces it\n")
    script.reply("GetActivationSet", SET)
    script.reply(
        "DownloadActivationSet", activations_pb2.FileChunk(data=DATA, total_bytes=len(DATA), sha256=SET.sha256)
    )
    assert (await shell.run(*arguments, "--force"))[0] == 0
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("neurons", "options", "wanted"),
    [
        ("layers.0.mlp[7,3]", [], ["7 0.5 2 -1 4", "3 1.5 2 -1 4", "over 1,200 rows"]),
        ("layers.0.mlp", ["--layer", "upos", "--label", "N"], ["0 0.5 2 -1 4", "1 1.5 2 -1 4", "over 1,200 rows"]),
    ],
)
async def test_stats(script: Script, shell: Shell, neurons: str, options: list[str], wanted: list[str]) -> None:
    parts = {"mean": [0.5, 1.5], "variance": [2, 2], "min": [-1, -1], "max": [4, 4]}
    tensors = {
        name: common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[2], data=np.array(values, "<f4").tobytes())
        for name, values in parts.items()
    }
    for _ in range(2):
        script.reply("GetActivationStatistics", activations_pb2.ActivationStatistics(count=1200, **tensors))
    command = ["activations", "stats", "activationSets/a", neurons, *options]
    code, out, _ = await shell.run(*command)
    _, as_json, _ = await shell.run(*command, "--json")
    assert (code, rows(out)[1:]) == (0, wanted)
    assert json.loads(as_json) == {"count": 1200, **parts}
    assert script.requests[0].label == ("N" if options else "")


async def test_delete(script: Script, shell: Shell) -> None:
    script.reply("DeleteActivationSet", empty_pb2.Empty())
    assert await shell.run("activations", "delete", "activationSets/a") == (0, "", "")
    assert script.requests[0].name == "activationSets/a"


async def test_operations_are_listed_with_their_state(script: Script, shell: Shell) -> None:
    script.reply("ListOperations", operations_pb2.ListOperationsResponse(operations=[RUNNING, FAILED, DONE]))
    code, out, _ = await shell.run("operations", "list", "--running")
    assert (code, script.requests[0].filter) == (0, "done=false")
    lines = [line.rpartition(" 1970")[0] or line for line in rows(out)[1:]]
    assert [line.removesuffix(" –") for line in lines] == [
        "operations/x CreateActivationSet activationSets/a extracting 3 of 9 sentences",
        "operations/x failed: RESOURCE_EXHAUSTED: disk full",
        "operations/x CreateActivationSet activationSets/a done",
    ]


async def test_operations_as_json(script: Script, shell: Shell) -> None:
    script.reply("ListOperations", operations_pb2.ListOperationsResponse(operations=[RUNNING, FAILED, DONE]))
    _, out, _ = await shell.run("operations", "list", "--json")
    running, failed, done = json.loads(out)
    assert (running["done"], running["metadata"]["total"], running["error"], running["result"]) == (
        False,
        9,
        None,
        None,
    )
    assert failed["error"] == {"code": "RESOURCE_EXHAUSTED", "message": "disk full", "reason": "", "field": ""}
    assert done["result"]["name"] == "activationSets/a"


async def test_an_operation_is_looked_at(script: Script, shell: Shell) -> None:
    script.reply("GetOperation", RUNNING)
    _, out, _ = await shell.run("operations", "get", "operations/x", "--json")
    assert json.loads(out)["name"] == "operations/x"


@pytest.mark.parametrize(
    ("end", "printed"),
    [
        (DONE, (0, "activationSets/a\n", "")),
        (FAILED, (1, "", "patchclamp: RESOURCE_EXHAUSTED: disk full\n")),
    ],
)
async def test_an_operation_is_waited_for(
    script: Script, shell: Shell, end: operations_pb2.Operation, printed: tuple[int, str, str]
) -> None:
    script.reply("GetOperation", RUNNING)
    script.reply("WaitOperation", end)
    assert await shell.run("operations", "wait", "operations/x") == printed


async def test_an_operation_that_takes_too_long_goes_on(script: Script, shell: Shell) -> None:
    for _ in range(2):
        script.reply("GetOperation", RUNNING)
    code, out, err = await shell.run("operations", "wait", "operations/x", "--for", "0")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "DEADLINE_EXCEEDED: operations/x is not done after 0 s, but extracting 3 of 9 sentences" in err


async def test_operations_are_cancelled_and_deleted(script: Script, shell: Shell) -> None:
    for command, method in (("cancel", "CancelOperation"), ("delete", "DeleteOperation")):
        script.reply(method, empty_pb2.Empty())
        assert await shell.run("operations", command, "operations/x") == (0, "", "")
    assert [request.name for request in script.requests] == ["operations/x", "operations/x"]


async def test_what_is_not_there_is_one_line(script: Script, shell: Shell) -> None:
    script.reply("GetActivationSet", Failure(grpc.StatusCode.NOT_FOUND, "no such set"))
    assert await shell.run("activations", "get", "activationSets/x") == (1, "", "patchclamp: NOT_FOUND: no such set\n")
