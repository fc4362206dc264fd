"""Text that is read at once: what counts as one, and what comes with it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from patchclamp import Pair
from patchclamp.v1 import activations_pb2
from patchclamp.v1 import analysis_pb2 as v1

from tests.clients.halves import Half
from tests.clients.sample_analyses import ANALYSIS, done
from tests.clients.scripted import Script


async def test_a_text_brings_its_own_options(script: Script, half: Half) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    script.reply("TopWords", v1.TopWordsResponse())
    options = {
        "text": "the nurse said",
        "model": "models/a",
        "aggregation": "last",
        "interventions": "ablate layers.0.mlp[1]",
        "intervention_sets": ["interventionSets/a"],
    }
    async with half.client(script.target) as client:
        await half.wait(client.analysis.analyze, method="top_words", neurons="layers.0.mlp[1]", **options)
        await half.wait(client.analysis.top_words, neurons="layers.0.mlp[1]", **options)
    wire = """
        model: "models/a" sentences { text: "the nurse said" } aggregation: LAST
        interventions { neurons { site: "layers.0.mlp" indices: 1 } ablate {} }
        intervention_sets: "interventionSets/a"
    """
    expected = text_format.Parse(wire, v1.LiveText())
    assert [(request.activation_set, request.text) for request in script.requests] == [("", expected)] * 2


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("the nurse", ["the nurse"]),
        (["the", "nurse"], [["the", "nurse"]]),
        (["said"], [["said"]]),
        ([["the", "New York"], ["said"]], [["the", "New York"], ["said"]]),
        (["the nurse", "he said"], ["the nurse", "he said"]),
        (dict.fromkeys(["the nurse", "he said"]), ["the nurse", "he said"]),
        ([Pair("a", "b")], [Pair("a", "b")]),
    ],
)
async def test_what_a_text_is(script: Script, half: Half, text: Any, sentences: list[Any]) -> None:
    script.reply("AnalyzeActivations", done(ANALYSIS))
    async with half.client(script.target) as client:
        await half.wait(client.analysis.analyze, method="top_words", text=text)
    expected = [
        activations_pb2.Sentence(text=each)
        if isinstance(each, str)
        else activations_pb2.Sentence(text=each.first, second=each.second)
        if isinstance(each, Pair)
        else activations_pb2.Sentence(words=activations_pb2.Words(words=each))
        for each in sentences
    ]
    assert list(script.requests[0].text.sentences) == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"activation_set": "activationSets/a", "text": "a b"}, "not both"),
        ({}, "give an activation set or a text$"),
        ({"activation_set": "activationSets/a", "model": "models/a"}, "model: only for a text"),
        ({"activation_set": "activationSets/a", "interventions": "ablate layers.0.mlp"}, "interventions: only for a"),
        ({"activation_set": "activationSets/a", "aggregation": "last"}, "aggregation: only for a text"),
        ({"text": ["I", "love", "New York"]}, r"'New York'\) and without"),
        ({"text": []}, "no sentences"),
    ],
)
@pytest.mark.parametrize("method", ["analyze", "top_words"])
async def test_what_is_not_clear_is_not_sent(
    script: Script, half: Half, method: str, options: dict[str, Any], says: str
) -> None:
    needed = {"method": "top_words"} if method == "analyze" else {}
    async with half.client(script.target) as client:
        with pytest.raises(ValueError, match=says):
            await half.wait(getattr(client.analysis, method), neurons="layers.0.mlp[1]", **needed, **options)
    assert script.requests == []


async def test_top_words_of_no_neurons(script: Script, half: Half) -> None:
    async with half.client(script.target) as client:
        with pytest.raises(ValueError, match="give neurons"):
            await half.wait(client.analysis.top_words, "activationSets/a")
    assert script.requests == []
