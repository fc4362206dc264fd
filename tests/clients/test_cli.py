"""The command line, against a real server."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import types
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from patchclamp import __version__
from patchclamp._cli import main
from patchclamp.v1 import activations_pb2, common_pb2, inference_pb2, intervention_pb2, models_pb2

from tests.clients.scripted import Failure, Script
from tests.clients.shell import COMMANDS, Shell

ROOT = Path(__file__).parents[2]

RECEIPT = intervention_pb2.AppliedInterventions(edits=[intervention_pb2.AppliedEdit(positions_edited=5)])
MODEL = models_pb2.Model(
    name="models/a",
    kind=models_pb2.MODEL_KIND_DECODER,
    architecture="LlamaForCausalLM",
    parameter_count=1_500_000,
    sites=[models_pb2.Site(name="layers.0.mlp", width=2, module="model.layers.0.mlp.output")],
    refused_sites=[models_pb2.RefusedSite(name="layers.*.heads", reason="[no heads]")],
    modules=[models_pb2.Module(path="lm_head", type="Linear", input_width=2)],
    limits=models_pb2.Limits(sentences=2, request_tokens=1000, capture_bytes=10_000),
)


def sentence(index: int, tokens: list[str]) -> activations_pb2.ExtractActivationsResponse:
    data = np.full((len(tokens), 2), index, "<f4").tobytes()
    values = common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[len(tokens), 2], data=data)
    captured = [activations_pb2.CapturedSite(site="layers.0.mlp", values=values)]
    return activations_pb2.ExtractActivationsResponse(sentence=index, tokens=tokens, captured=captured, applied=RECEIPT)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def reply_with_text(script: Script, *texts: str) -> None:
    tokens = [inference_pb2.GenerateResponse(token=inference_pb2.Token(text=text)) for text in texts]
    completed = inference_pb2.Completed(reason=inference_pb2.LENGTH, applied=RECEIPT)
    script.reply("Generate", *tokens, inference_pb2.GenerateResponse(completed=completed))


async def test_models(script: Script, shell: Shell) -> None:
    for _ in range(2):
        script.reply("ListModels", models_pb2.ListModelsResponse(models=[MODEL]))
    code, out, _ = await shell.run("models")
    assert code == 0
    assert "models/a" in out
    assert "1.5 M" in out
    _, out, _ = await shell.run("models", "--json")
    assert [(model["name"], model["kind"]) for model in json.loads(out)] == [("models/a", "decoder")]


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ([], ["layers.0.mlp 2 model.layers.0.mlp.output", "layers.*.heads [no heads]"]),
        (["models/a", "--modules"], ["module:lm_head Linear 2 –"]),
    ],
)
async def test_sites(script: Script, shell: Shell, options: list[str], rows: list[str]) -> None:
    script.reply("GetModel", MODEL)
    code, out, _ = await shell.run("sites", *options)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (code, set(rows) <= set(lines)) == (0, True), out


async def test_sites_as_json(script: Script, shell: Shell) -> None:
    script.reply("GetModel", MODEL)
    _, out, _ = await shell.run("sites", "--json")
    model = json.loads(out)
    assert model["sites"] == [{"name": "layers.0.mlp", "width": 2, "module": "model.layers.0.mlp.output"}]


async def test_generate_prints_the_text_and_says_what_was_edited(script: Script, shell: Shell) -> None:
    reply_with_text(script, " she", " said")
    code, out, err = await shell.run("generate", "The nurse", "-e", "ablate layers.0.mlp[1] @prompt")
    assert (code, out) == (0, " she said\n")
    assert err == "edited 5 positions: ablate layers.0.mlp[1] @prompt\n"


async def test_generate_sends_its_options(script: Script, shell: Shell, tmp_path: Path) -> None:
    reply_with_text(script)
    edits = tmp_path / "edits.json"
    edits.write_text('[{"neurons": {"site": "layers.0.mlp"}, "scale": {"factor": 2}}]')
    own = ["--edits", str(edits), "--edit", "ablate layers.0.mlp", "--set", "interventionSets/a", "-m", "models/a"]
    sampling = ["--temperature", "0.5", "--top-k", "3", "--top-p", "0.9", "--min-p", "0.1", "--seed", "7"]
    rest = ["--repetition-penalty", "2", "--max-new-tokens", "9", "--stop", ".", "--top-logprobs", "1", "--chat"]
    code, _, err = await shell.run("generate", "Hi", *own, *sampling, *rest)
    assert (code, err.count("edited")) == (0, 1)
    (request,) = script.requests
    assert [edit.WhichOneof("edit") for edit in request.interventions] == ["scale", "ablate"]
    assert (request.model, list(request.intervention_sets)) == ("models/a", ["interventionSets/a"])
    assert (request.chat.messages[0].content, request.sampling.seed, request.sampling.top_k) == ("Hi", 7, 3)
    assert (request.max_new_tokens, list(request.stop), request.top_logprobs) == (9, ["."], 1)


async def test_generate_as_json(script: Script, shell: Shell) -> None:
    reply_with_text(script, " she")
    _, out, err = await shell.run("generate", "Hi", "--json")
    generation = json.loads(out)
    assert (generation["text"], generation["reason"], err) == (" she", "length", "")
    assert generation["applied"]["edits"] == [{"positions_edited": 5, "gate_firings": 0}]


async def test_generate_reads_standard_input(script: Script, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    reply_with_text(script)
    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe"))
    await shell.run("generate", "-")
    assert script.requests[0].prompt == "from a pipe"


@pytest.mark.parametrize("as_json", [False, True])
async def test_score(script: Script, shell: Shell, as_json: bool) -> None:
    scores = [inference_pb2.ItemScore(logprob=value, token_ids=[1]) for value in (-1, -2.5)]
    script.reply("Score", inference_pb2.ScoreResponse(scores=scores))
    code, out, _ = await shell.run("score", "The nurse", " she", " he", *(["--json"] if as_json else []))
    assert code == 0
    if as_json:
        assert {after: score["logprob"] for after, score in json.loads(out)["scores"].items()} == {
            " she": -1,
            " he": -2.5,
        }
    else:
        assert [line.split() for line in out.splitlines()[1:]] == [
            ["'", "she'", "-1.0000", "0.368", "1"],
            ["'", "he'", "-2.5000", "0.0821", "1"],
        ]


@pytest.mark.parametrize("suffix", ["npz", "h5", "jsonl"])
async def test_extract_writes_a_file(script: Script, shell: Shell, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "sentences.txt", tmp_path / f"out.{suffix}"
    source.write_text("a b\nc\nd\n", encoding="utf-8")
    script.reply("GetModel", MODEL)
    script.reply("ExtractActivations", sentence(0, ["a", "b"]), sentence(1, ["c"]))
    script.reply("ExtractActivations", sentence(0, ["d"]))
    edit = ["-e", "ablate layers.0.mlp"]
    code, out, err = await shell.run("extract", str(source), "--words", "-s", "layers.0.mlp", "-o", str(target), *edit)
    assert (code, out, err) == (0, "", "edited 10 positions: ablate layers.0.mlp\n")
    assert [len(request.sentences) for request in script.requests[1:]] == [2, 1]
    assert list(script.requests[1].sentences[0].words.words) == ["a", "b"]
    assert target.stat().st_size > 0


async def test_extract_numbers_sentences_through_all_requests(script: Script, shell: Shell, tmp_path: Path) -> None:
    source, target = tmp_path / "sentences.txt", tmp_path / "out.jsonl"
    source.write_text("a\nb\nc", encoding="utf-8")
    script.reply("GetModel", MODEL)
    script.reply("ExtractActivations", sentence(0, ["a"]), sentence(1, ["b"]))
    script.reply("ExtractActivations", sentence(0, ["c"]))
    await shell.run("extract", str(source), "-s", "layers.0.mlp", "-o", str(target))
    assert [json.loads(line)["sentence"] for line in target.read_text().splitlines()] == [0, 1, 2]


async def test_a_failed_extraction_leaves_no_file(script: Script, shell: Shell, tmp_path: Path) -> None:
    source, target = tmp_path / "sentences.txt", tmp_path / "out.jsonl"
    source.write_text("a\nb", encoding="utf-8")
    script.reply("GetModel", MODEL)
    script.reply("ExtractActivations", sentence(0, ["a"]), Failure(grpc.StatusCode.INTERNAL, "broken"))
    code, _, err = await shell.run("extract", str(source), "-s", "layers.0.mlp", "-o", str(target))
    assert (code, err) == (1, "patchclamp: INTERNAL: broken\n")
    assert names_in(tmp_path) == [source.name]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "x", "-e", "ablat layers.0.mlp"], "column 1: 'ablat' is not an edit"),
        (["generate", "x", "--edits", "/nowhere.json"], "No such file or directory: '/nowhere.json'"),
        (["generate", "x", "--timeout", "0"], "timeout is 0.0"),
        (["extract", "{blank}", "-s", "s", "-o", "a.npz"], "line 2 is blank"),
        (["extract", "{text}", "-s", "s", "-o", "a.csv"], "should end in one of .npz, .h5, .jsonl"),
    ],
)
async def test_an_error_is_one_line(shell: Shell, tmp_path: Path, arguments: list[str], says: str) -> None:
    files = {"blank": tmp_path / "blank.txt", "text": tmp_path / "text.txt"}
    files["blank"].write_text("a\n\nb")
    files["text"].write_text("a")
    code, out, err = await shell.run(*(argument.format_map(files) for argument in arguments))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("patchclamp: ")
    assert says in err


async def test_a_refusal_names_field_and_reason(script: Script, shell: Shell) -> None:
    details = (
        error_details_pb2.ErrorInfo(reason="INDEX_OUT_OF_RANGE"),
        error_details_pb2.BadRequest(field_violations=[error_details_pb2.BadRequest.FieldViolation(field="f[0]")]),
    )
    script.reply("Generate", Failure(grpc.StatusCode.INVALID_ARGUMENT, "two\nlines", details))
    code, out, err = await shell.run("generate", "x")
    assert (code, out) == (1, "")
    assert err == "patchclamp: INVALID_ARGUMENT (INDEX_OUT_OF_RANGE) at f[0]: two lines\n"


async def test_no_server_is_said_with_what_to_do(shell: Shell) -> None:
    shell.target = "127.0.0.1:1"
    code, _, err = await shell.run("models")
    assert (code, err.count("\n")) == (1, 1)
    assert "`patchclamp serve` starts one" in err


async def test_the_target_may_come_from_the_environment(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script.reply("ListModels", models_pb2.ListModelsResponse())
    monkeypatch.setenv("PATCHCLAMP_TARGET", script.target)
    assert await asyncio.to_thread(main, ["models", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"patchclamp {__version__}\n"


@pytest.mark.parametrize("arguments", [["generate"], ["nonsense"], ["models", "--nonsense"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Usage: patchclamp" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(COMMANDS - {"serve"}))
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert f"patchclamp {command} " in capsys.readouterr().out.split("\n", 1)[1]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_stands_in_the_readme(command: str) -> None:
    assert f"patchclamp {command}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_commands_are_all_there() -> None:
    plain = {
        "serve",
        "models",
        "sites",
        "generate",
        "score",
        "classify",
        "fill-mask",
        "extract",
        "methods",
        "rank",
        "redundant",
        "top-words",
        "analyze",
        "evaluate",
    }
    corpora = {"upload", "annotate", "sample", "split", "list", "get", "show", "delete"}
    activations = {"create", "list", "get", "download", "stats", "delete"}
    operations = {"list", "get", "wait", "cancel", "delete"}
    rankings = {"list", "get", "compare", "export", "delete"}
    probes = {"train", "evaluate", "list", "get", "delete"}
    analyses = {"list", "get", "export", "delete"}
    groups = {
        "corpora": corpora,
        "activations": activations,
        "rankings": rankings,
        "probes": probes,
        "analyses": analyses,
        "operations": operations,
    }
    assert plain | {f"{group} {name}" for group, names in groups.items() for name in names} == COMMANDS


def test_serve_without_the_service_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "patchclamp_service.__main__", None)
    assert main(["serve", "--model", "x"]) == 1
    assert capsys.readouterr().err == "patchclamp serve needs the service extra: pip install 'patchclamp[service]'\n"


@pytest.mark.parametrize("arguments", [["--model", "a=b", "--listen", ":0"], ["--help"], ["config", "--x=1"]])
def test_serve_hands_its_arguments_on(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    received: list[list[str]] = []

    def serve_main(argv: list[str]) -> int:
        received.append(argv)
        return 3

    service = types.ModuleType("patchclamp_service.__main__")
    vars(service)["main"] = serve_main
    monkeypatch.setitem(sys.modules, "patchclamp_service", types.ModuleType("patchclamp_service"))
    monkeypatch.setitem(sys.modules, "patchclamp_service.__main__", service)
    assert main(["serve", *arguments]) == 3
    assert received == [arguments]
