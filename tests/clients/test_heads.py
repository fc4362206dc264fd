"""Classification and masked tokens: what the client sends, and what it makes of the replies."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from patchclamp import ClassScore, FilledMask, Pair, ProtocolError, TokenLogprob, WordClassification
from patchclamp.v1 import inference_pb2

from tests.clients.halves import Half
from tests.clients.scripted import Script
from tests.clients.wire import APPLIED, RECEIPT

YES = inference_pb2.ClassScore(index=1, label="yes", logit=2, probability=0.75)
SCORE = ClassScore(1, "yes", 2.0, 0.75)
EDIT = 'interventions { neurons { site: "layers.1.mlp" } ablate {} } intervention_sets: "interventionSets/s"'
OPTIONS: dict[str, Any] = {
    "model": "models/m",
    "top": 3,
    "interventions": "ablate layers.1.mlp",
    "intervention_sets": ["interventionSets/s"],
}


@pytest.mark.parametrize(
    ("sentence", "wire"),
    [
        ("a b", 'text: "a b"'),
        (["a", "b"], 'words { words: ["a", "b"] }'),
        (Pair("a", "b"), 'text: "a" second: "b"'),
    ],
)
async def test_classify_sends_what_it_is_given(script: Script, half: Half, sentence: Any, wire: str) -> None:
    script.reply("Classify", inference_pb2.ClassifyResponse(results=[inference_pb2.Classification()]))
    async with half.client(script.target) as client:
        await half.wait(client.classify, [sentence], **OPTIONS)
    wanted = text_format.Parse(
        f'model: "models/m" sentences {{ {wire} }} top: 3 {EDIT}', inference_pb2.ClassifyRequest()
    )
    assert script.requests == [wanted]


async def test_classify_gives_classes_of_sentences_and_of_words(script: Script, half: Half) -> None:
    word = inference_pb2.WordClassification(word="a", classes=[YES])
    results = [inference_pb2.Classification(classes=[YES]), inference_pb2.Classification(words=[word])]
    script.reply("Classify", inference_pb2.ClassifyResponse(results=results, applied=RECEIPT))
    async with half.client(script.target) as client:
        found = await half.wait(client.classify, ["a", "b"])
    assert [result.classes for result in found] == [(SCORE,), ()]
    assert [result.words for result in found] == [(), (WordClassification("a", (SCORE,)),)]
    assert found.applied == APPLIED


async def test_fill_mask(script: Script, half: Half) -> None:
    masks = [
        inference_pb2.FilledMask(
            position=4,
            top=[inference_pb2.TokenLogprob(id=7, text="x", logprob=-0.5)],
            targets=[inference_pb2.TokenLogprob(id=8, text="she", logprob=-2)],
        )
    ]
    results = [inference_pb2.FilledText(masks=masks), inference_pb2.FilledText(masks=masks * 2)]
    script.reply("FillMask", inference_pb2.FillMaskResponse(results=results, applied=RECEIPT))
    async with half.client(script.target) as client:
        found = await half.wait(client.fill_mask, ["a [M]", "[M] [M]"], targets=["she"], **OPTIONS)
    wire = f'model: "models/m" texts: ["a [M]", "[M] [M]"] top: 3 targets: "she" {EDIT}'
    assert script.requests == [text_format.Parse(wire, inference_pb2.FillMaskRequest())]
    mask = FilledMask(4, (TokenLogprob(7, "x", -0.5),), (TokenLogprob(8, "she", -2.0),))
    assert list(found) == [(mask,), (mask, mask)]
    assert found.applied == APPLIED


@pytest.mark.parametrize("method", ["Classify", "FillMask"])
async def test_a_result_that_is_missing_is_an_error(script: Script, half: Half, method: str) -> None:
    response = {"Classify": inference_pb2.ClassifyResponse(), "FillMask": inference_pb2.FillMaskResponse()}
    script.reply(method, response[method])
    async with half.client(script.target) as client:
        call = {"Classify": client.classify, "FillMask": client.fill_mask}[method]
        with pytest.raises(ProtocolError, match=r"0 .* came for 1"):
            await half.wait(call, ["a"])


@pytest.mark.parametrize(
    ("name", "arguments", "error", "says"),
    [
        ("classify", {"sentences": "a"}, TypeError, "give a list"),
        ("classify", {"sentences": ["a"], "top": -1}, ValueError, "top is -1"),
        ("fill_mask", {"texts": "a"}, TypeError, "a list of texts"),
        ("fill_mask", {"texts": ["a"], "targets": "a"}, TypeError, "a list of targets"),
        ("fill_mask", {"texts": ["a"], "top": -1}, ValueError, "top is -1"),
    ],
)
async def test_what_cannot_be_sent_is_refused(
    half: Half, name: str, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(error, match=says):
            await half.wait(getattr(client, name), **arguments)
