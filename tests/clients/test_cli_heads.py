"""`patchclamp classify` and `patchclamp fill-mask`, against a real server."""

from __future__ import annotations

import json

import pytest
from google.protobuf import text_format
from patchclamp.v1 import inference_pb2

from tests.clients.scripted import Script
from tests.clients.shell import Shell
from tests.clients.wire import RECEIPT

YES = inference_pb2.ClassScore(index=1, label="[yes]", logit=2, probability=0.75)
TOKEN = inference_pb2.TokenLogprob(id=7, text=" she", logprob=-0.5)


def rows(out: str) -> list[str]:
    """Lines with single blanks."""
    return [" ".join(line.split()) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("options", "wire"),
    [
        ([], 'sentences { text: "a b" }'),
        (["--words"], 'sentences { words { words: ["a", "b"] } }'),
        (
            ["--second", "c", "--top", "1", "-m", "models/m"],
            'sentences { text: "a b" second: "c" } top: 1 model: "models/m"',
        ),
    ],
)
async def test_classify_sends_its_options(script: Script, shell: Shell, options: list[str], wire: str) -> None:
    script.reply("Classify", inference_pb2.ClassifyResponse(results=[inference_pb2.Classification(classes=[YES])]))
    code, out, err = await shell.run("classify", "a b", *options)
    assert (code, rows(out)[1:], err) == (0, ["a b [yes] 0.7500 2.0000"], "")
    assert script.requests == [text_format.Parse(wire, inference_pb2.ClassifyRequest())]


async def test_classify_words(script: Script, shell: Shell) -> None:
    word = inference_pb2.WordClassification(word="nurse", classes=[YES])
    results = [inference_pb2.Classification(words=[word, word])]
    script.reply("Classify", inference_pb2.ClassifyResponse(results=results, applied=RECEIPT))
    code, out, err = await shell.run("classify", "nurse nurse", "-e", "ablate layers.1.mlp")
    assert (code, rows(out)[1:]) == (0, ["nurse [yes] 0.7500 2.0000"] * 2)
    assert err == "applied interventionSets/a@3\nedited 5 positions: ablate layers.1.mlp\n"


async def test_classify_as_json(script: Script, shell: Shell) -> None:
    results = [inference_pb2.Classification(classes=[YES])]
    script.reply("Classify", inference_pb2.ClassifyResponse(results=results, applied=RECEIPT))
    _, out, _ = await shell.run("classify", "a", "--json")
    found = json.loads(out)
    assert (found["results"][0]["classes"][0]["label"], found["applied"]["digest"]) == ("[yes]", "d1")


@pytest.mark.parametrize("as_json", [False, True])
async def test_fill_mask(script: Script, shell: Shell, as_json: bool) -> None:
    mask = inference_pb2.FilledMask(position=4, top=[TOKEN], targets=[TOKEN])
    response = inference_pb2.FillMaskResponse(results=[inference_pb2.FilledText(masks=[mask])], applied=RECEIPT)
    script.reply("FillMask", response)
    options = ["--top", "3", "--token", "she", "-m", "models/m", *(["--json"] if as_json else [])]
    code, out, _ = await shell.run("fill-mask", "a [MASK]", *options)
    assert code == 0
    wire = 'model: "models/m" texts: "a [MASK]" top: 3 targets: "she"'
    assert script.requests == [text_format.Parse(wire, inference_pb2.FillMaskRequest())]
    if as_json:
        (filled,) = json.loads(out)["results"]
        assert [token["text"] for token in filled[0]["top"]] == [" she"]
    else:
        assert rows(out)[1:] == ["a [MASK] 4 ' she' -0.5000"] * 2
