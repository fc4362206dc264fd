"""Extractions: what the client sends, and sentences put together from the messages they come in."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from patchclamp import Pair, ProtocolError
from patchclamp.v1 import activations_pb2

from tests.clients.halves import Half
from tests.clients.scripted import HOLD, Script
from tests.clients.wire import APPLIED, RECEIPT, captured


def part(sentence: int, rows: int, **fields: Any) -> activations_pb2.ExtractActivationsResponse:
    fields.setdefault("captured", captured(rows))
    return activations_pb2.ExtractActivationsResponse(sentence=sentence, **fields)


@pytest.mark.parametrize(
    ("sentences", "options", "wire"),
    [
        (["a b"], {}, 'sentences { text: "a b" } sites: "s" dtype: FLOAT32'),
        (
            [["a", "b"]],
            {"aggregation": "first", "dtype": "float16", "include_special_tokens": True, "model": "m"},
            'sentences { words { words: ["a", "b"] } } sites: "s" aggregation: FIRST dtype: FLOAT16 '
            'include_special_tokens: true model: "m"',
        ),
    ],
)
async def test_extract_sends_what_it_is_given(
    script: Script, half: Half, sentences: Any, options: dict[str, Any], wire: str
) -> None:
    script.reply("ExtractActivations", part(0, 1, tokens=["a"]))
    async with half.client(script.target) as client:
        await half.items(client.extract(sentences, ["s"], **options))
    assert script.requests == [text_format.Parse(wire, activations_pb2.ExtractActivationsRequest())]


async def test_extract_puts_sentences_together(script: Script, half: Half) -> None:
    script.reply(
        "ExtractActivations",
        part(0, 2, tokens=["a", "b", "c"], masked=[2], captured=captured(2, 0, ("s", "t"))),
        part(0, 1, row_offset=2, captured=captured(1, 4, ("s", "t"))),
        part(1, 0),
        part(2, 1, tokens=["d"], applied=RECEIPT),
    )
    async with half.client(script.target) as client:
        stream = client.extract(["abc", "-", "d"], ["s", "t"])
        sentences = await half.items(stream)
    assert [sentence.tokens for sentence in sentences] == [("a", "b", "c"), (), ("d",)]
    assert [sentence.index for sentence in sentences] == [0, 1, 2]
    assert sentences[0].activations["t"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert sentences[0].masked.tolist() == [False, False, True]
    assert sentences[1].activations["s"].shape == (0, 2)
    assert stream.applied == APPLIED


@pytest.mark.parametrize(
    ("sentences", "options", "wire"),
    [
        ([Pair("a", "b")], {"aggregation": "sentence_first"}, 'sentences { text: "a" second: "b" } aggregation: 5'),
        (["a"], {"targets": ["b c"]}, 'sentences { text: "a" target: "b c" }'),
        ([["a"]], {"targets": [["b", "c"]]}, 'sentences { words { words: "a" } target: "b c" }'),
    ],
)
async def test_extract_takes_pairs_and_targets(
    script: Script, half: Half, sentences: Any, options: dict[str, Any], wire: str
) -> None:
    script.reply("ExtractActivations", part(0, 1, tokens=["a"]))
    async with half.client(script.target) as client:
        await half.items(client.extract(sentences, ["s"], **options))
    wanted = text_format.Parse(f'{wire} sites: "s" dtype: FLOAT32', activations_pb2.ExtractActivationsRequest())
    assert script.requests == [wanted]


@pytest.mark.parametrize(("targets", "error"), [(["b", "c"], ValueError), ("b", TypeError)])
async def test_each_sentence_has_a_target(half: Half, targets: Any, error: type[Exception]) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(error, match="targets"):
            client.extract(["a"], ["s"], targets=targets)


async def test_both_sides_of_an_encoder_decoder_are_put_together(script: Script, half: Half) -> None:
    both = {"tokens": ["a", "b", "c"], "target_tokens": ["d", "e"], "target_masked": [1]}
    script.reply(
        "ExtractActivations",
        part(0, 0, **both, captured=captured(2, 0) + captured(2, 8, ("t",))),
        part(0, 0, row_offset=2, captured=captured(1, 4)),
        part(1, 0, **both, captured=captured(2, 8, ("t",))),
        part(2, 0, **both, captured=captured(1, 8, ("t",))),
        part(2, 0, row_offset=1, captured=captured(1, 10, ("t",))),
    )
    async with half.client(script.target) as client:
        sentences = await half.items(client.extract(["x"] * 3, ["s", "t"], targets=["y"] * 3))
    assert [sentence.index for sentence in sentences] == [0, 1, 2]
    assert {site: len(values) for site, values in sentences[0].activations.items()} == {"s": 3, "t": 2}
    assert (sentences[0].target_tokens, sentences[0].target_masked.tolist()) == (("d", "e"), [False, True])
    for sentence in sentences:
        assert sentence.activations["t"].tolist() == [[8, 9], [10, 11]]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([("t", 1), ("s", 3)], "ended after 1 of 2 or 3 rows of t"),
        ([("t", 1)], "ended after 1 of 2 or 3 rows of t"),
        ([("t", 4)], "more rows than the sentence's 3 tokens"),
    ],
)
async def test_sides_that_do_not_add_up_are_an_error(
    script: Script, half: Half, parts: list[tuple[str, int]], says: str
) -> None:
    sites = [site for name, rows in parts for site in captured(rows, 0, (name,))]
    message = part(0, 0, tokens=["a", "b", "c"], target_tokens=["d", "e"], captured=sites)
    script.reply("ExtractActivations", message)
    async with half.client(script.target) as client:
        with pytest.raises(ProtocolError, match=says):
            await half.items(client.extract(["x"], ["s", "t"], targets=["y"]))


async def test_a_sentence_comes_before_the_next_one_is_computed(script: Script, half: Half) -> None:
    script.reply("ExtractActivations", part(0, 1, tokens=["a"]), HOLD)
    async with half.client(script.target) as client:
        stream = client.extract(["a", "b"], ["s"])
        assert (await half.next(stream)).tokens == ("a",)
        await half.leave(stream)
        await script.cancelled.wait()


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([part(0, 1, tokens=["a"])], "ended 1 sentences early"),
        ([part(0, 1, tokens=["a", "b"])], "ended after 1 of 2 rows"),
        ([part(0, 2, tokens=["a"])], "more rows than the sentence's 1 tokens"),
        ([part(0, 1, tokens=["a", "b"]), part(1, 1, tokens=["c"])], "sentence 0 ended after 1 of 2 rows"),
        ([part(0, 1, tokens=["a", "b"]), part(0, 1, row_offset=3)], "row 3 came after sentence 0, row 1"),
        (
            [part(0, 1, tokens=["a", "b"]), part(0, 1, row_offset=1, captured=captured(1, 0, ("t",)))],
            r"has the sites \['t'\]",
        ),
        ([part(0, 1, tokens=["a"], masked=[1])], r"masks rows \[1\] of 1"),
        ([part(0, 1, tokens=["a"], captured=captured(1) + captured(2, sites=("t",)))], "with equal rows"),
    ],
)
async def test_a_reply_that_does_not_add_up_is_an_error(
    script: Script, half: Half, parts: list[activations_pb2.ExtractActivationsResponse], says: str
) -> None:
    script.reply("ExtractActivations", *parts)
    async with half.client(script.target) as client:
        with pytest.raises(ProtocolError, match=says):
            await half.items(client.extract(["a", "b"], ["s"]))


@pytest.mark.parametrize(("sentences", "sites"), [("a sentence", ["s"]), (["a sentence"], "s")])
async def test_a_string_is_no_list(half: Half, sentences: Any, sites: Any) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="give a list"):
            client.extract(sentences, sites)


async def test_large_replies_are_received(script: Script, half: Half) -> None:
    rows = 1_000_000  # more than gRPC's own limit of 4 MiB
    script.reply("ExtractActivations", part(0, rows, tokens=["a"] * rows, captured=captured(rows)))
    async with half.client(script.target) as client:
        sentence = await half.next(client.extract(["a"], ["s"]))
    assert sentence.activations["s"].shape == (rows, 2)
