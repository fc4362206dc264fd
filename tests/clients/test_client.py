"""What the client sends, and what it makes of the replies."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from google.protobuf import text_format
from patchclamp import (
    AsyncClient,
    AsyncGenerationStream,
    Cancelled,
    FinishReason,
    Limits,
    Model,
    ModelHead,
    ModelKind,
    ProtocolError,
    TokenLogprob,
    Usage,
    ablate,
)
from patchclamp.v1 import inference_pb2, models_pb2

from tests.clients.halves import Half
from tests.clients.scripted import HOLD, Script, serving
from tests.clients.wire import APPLIED, RECEIPT, captured


def token(text: str, **fields: Any) -> inference_pb2.GenerateResponse:
    return inference_pb2.GenerateResponse(token=inference_pb2.Token(text=text, **fields))


def completed(**fields: Any) -> inference_pb2.GenerateResponse:
    return inference_pb2.GenerateResponse(completed=inference_pb2.Completed(**fields))


DEFAULTS = "sampling {}"


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [
        ({"prompt": "Hi"}, f'prompt: "Hi" {DEFAULTS}'),
        ({"token_ids": [1, 2]}, f"token_ids {{ ids: [1, 2] }} {DEFAULTS}"),
        (
            {"messages": [{"role": "user", "content": "Hi"}]},
            f'chat {{ messages {{ role: "user" content: "Hi" }} }} {DEFAULTS}',
        ),
        (
            {
                "prompt": "Hi",
                "model": "models/m",
                "max_new_tokens": 7,
                "temperature": 0.5,
                "top_k": 3,
                "top_p": 0.9,
                "min_p": 0.1,
                "repetition_penalty": 1.5,
                "seed": 0,
                "stop": ["."],
                "intervention_sets": ["interventionSets/a"],
                "top_logprobs": 2,
            },
            'prompt: "Hi" model: "models/m" max_new_tokens: 7 stop: "." intervention_sets: "interventionSets/a" '
            "sampling { temperature: 0.5 top_k: 3 top_p: 0.9 min_p: 0.1 repetition_penalty: 1.5 seed: 0 } "
            "top_logprobs: 2",
        ),
        (
            {"prompt": "Hi", "interventions": [[ablate("layers.1.mlp")]]},
            f'prompt: "Hi" {DEFAULTS} interventions {{ neurons {{ site: "layers.1.mlp" }} ablate {{}} }}',
        ),
        (
            {"prompt": "Hi", "capture": ["layers.*.mlp"], "capture_prompt": True, "dtype": "bfloat16"},
            f'prompt: "Hi" {DEFAULTS} capture {{ sites: "layers.*.mlp" prompt: true generated: true dtype: BFLOAT16 }}',
        ),
    ],
)
async def test_generate_sends_what_it_is_given(
    script: Script, half: Half, arguments: dict[str, Any], wire: str
) -> None:
    script.reply("Generate", completed())
    async with half.client(script.target) as client:
        await half.wait(client.generate(**arguments).result)
    assert script.requests == [text_format.Parse(wire, inference_pb2.GenerateRequest())]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "exactly one of"),
        ({"prompt": "a", "token_ids": [1]}, "exactly one of"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]"),
        ({"prompt": "a", "capture": ["s"], "dtype": "float64"}, "dtype is 'float64'"),
        ({"prompt": "a", "top_k": -1}, "top_k is -1"),
        ({"prompt": "a", "interventions": "ablat x"}, "did you mean 'ablate'"),
    ],
)
async def test_generate_refuses_what_it_cannot_send(half: Half, arguments: dict[str, Any], says: str) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=says):
            client.generate(**arguments)


async def test_generate_gives_tokens_and_then_the_result(script: Script, half: Half) -> None:
    top = [inference_pb2.TokenLogprob(id=9, text="b", logprob=-0.5)]
    script.reply(
        "Generate",
        token("a", id=8, logprob=-1.5, top=top, captured=captured(1, 3)),
        token("b"),
        completed(
            reason=inference_pb2.LENGTH,
            usage=inference_pb2.Usage(prompt_tokens=3, generated_tokens=2, seed=4),
            applied=RECEIPT,
            captured_prompt=captured(3),
        ),
    )
    async with half.client(script.target) as client:
        stream = client.generate("x")
        tokens = await half.items(stream)
        result = await half.wait(stream.result)
        assert await half.wait(stream.text) == "ab"
    assert (tokens[0].id, tokens[0].text, tokens[0].logprob) == (8, "a", -1.5)
    assert tokens[0].top == (TokenLogprob(9, "b", -0.5),)
    assert tokens[0].captured["s"].tolist() == [[3, 4]]
    assert list(result.tokens) == tokens
    assert (result.reason, result.usage, result.applied) == (FinishReason.LENGTH, Usage(3, 2, 4), APPLIED)
    assert result.captured_prompt["s"].shape == (3, 2)


async def test_leaving_early_cancels_the_work(script: Script, half: Half) -> None:
    script.reply("Generate", token("a"), HOLD)
    async with half.client(script.target) as client:
        stream = client.generate("x")
        await half.next(stream)
        await half.leave(stream)
        await script.cancelled.wait()
        assert await half.items(stream) == []
        with pytest.raises(Cancelled, match="after 1 tokens"):
            await half.wait(stream.result)


async def test_dropping_a_stream_cancels_the_work(script: Script, half: Half) -> None:
    script.reply("Generate", token("a"), HOLD)
    async with half.client(script.target) as client:
        stream = client.generate("x")
        await half.next(stream)
        del stream
        await script.cancelled.wait()


def test_a_stream_may_outlive_its_event_loop() -> None:
    async def begin() -> AsyncGenerationStream:
        async with serving(Script()) as script:
            script.reply("Generate", token("a"), HOLD)
            stream = AsyncClient(script.target).generate("x")
            await anext(stream)
            return stream

    stream = asyncio.run(begin())
    del stream


async def test_cancelling_the_task_cancels_the_work(script: Script) -> None:
    script.reply("Generate", token("a"), HOLD)
    async with AsyncClient(script.target) as client:
        stream = client.generate("x")
        await anext(stream)
        task = asyncio.create_task(stream.result())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await script.cancelled.wait()


async def test_leaving_a_finished_stream_keeps_its_result(script: Script, half: Half) -> None:
    script.reply("Generate", token("a"), completed())
    async with half.client(script.target) as client:
        stream = client.generate("x")
        await half.wait(stream.result)
        await half.leave(stream)
        assert await half.wait(stream.text) == "a"


async def test_a_generation_without_its_end_is_an_error(script: Script, half: Half) -> None:
    script.reply("Generate", token("a"))
    async with half.client(script.target) as client:
        with pytest.raises(ProtocolError, match="after 1 tokens without its last message"):
            await half.wait(client.generate("x").text)


async def test_score(script: Script, half: Half) -> None:
    item = inference_pb2.ItemScore(logprob=-3, token_logprobs=[-1, -2], token_ids=[4, 5])
    script.reply("Score", inference_pb2.ScoreResponse(scores=[item], applied=RECEIPT))
    async with half.client(script.target) as client:
        scores = await half.wait(client.score, [("a", " b")], model="m", interventions=["ablate layers.1.mlp"])
    wire = 'model: "m" items { prompt: "a" continuation: " b" } '
    wire += 'interventions { neurons { site: "layers.1.mlp" } ablate {} }'
    assert script.requests == [text_format.Parse(wire, inference_pb2.ScoreRequest())]
    assert ([score.logprob for score in scores], scores[0].token_ids, scores.applied) == ([-3], (4, 5), APPLIED)
    assert (scores[0].token_logprobs.dtype.name, scores[0].token_logprobs.tolist()) == ("float32", [-1, -2])


async def test_a_score_that_is_missing_is_an_error(script: Script, half: Half) -> None:
    script.reply("Score", inference_pb2.ScoreResponse())
    async with half.client(script.target) as client:
        with pytest.raises(ProtocolError, match="0 scores came for 1 pairs"):
            await half.wait(client.score, [("a", " b")])


async def test_models_reads_every_page(script: Script, half: Half) -> None:
    script.reply(
        "ListModels", models_pb2.ListModelsResponse(models=[models_pb2.Model(name="models/a")], next_page_token="n")
    )
    script.reply("ListModels", models_pb2.ListModelsResponse(models=[models_pb2.Model(name="models/b")]))
    async with half.client(script.target) as client:
        assert [model.name for model in await half.wait(client.models)] == ["models/a", "models/b"]
    assert [request.page_token for request in script.requests] == ["", "n"]


async def test_a_model_with_all_that_is_known_of_it(script: Script, half: Half) -> None:
    message = models_pb2.Model(name="models/a", kind=models_pb2.MODEL_KIND_ENCODER, layer_count=2, packed=True)
    message.sites.add(name="embeddings", width=4, module="m.input")
    message.refused_sites.add(name="layers.*.neurons", reason="why")
    message.modules.add(path="m", type="Linear", input_width=4, output_width=8)
    message.limits.sentences = 9
    script.reply("GetModel", message)
    async with half.client(script.target) as client:
        model = await half.wait(client.model, "models/a")
    assert (model.kind, model.layer_count, model.packed) == (ModelKind.ENCODER, 2, True)
    assert (model.sites[0].name, model.sites[0].width, model.sites[0].module) == ("embeddings", 4, "m.input")
    assert (model.refused_sites[0].reason, model.modules[0].output_width) == ("why", 8)
    assert isinstance(model.limits, Limits)
    assert model.limits.sentences == 9


@pytest.mark.parametrize(
    ("wire", "kind", "head"),
    [
        ("kind: MODEL_KIND_DECODER head: MODEL_HEAD_LANGUAGE", ModelKind.DECODER, ModelHead.LANGUAGE),
        ("kind: MODEL_KIND_ENCODER_DECODER", ModelKind.ENCODER_DECODER, ModelHead.NONE),
        ("head: MODEL_HEAD_MASKED_LANGUAGE", ModelKind.UNKNOWN, ModelHead.MASKED_LANGUAGE),
        ("kind: 9 head: 9", ModelKind.UNKNOWN, ModelHead.UNKNOWN),
    ],
)
def test_what_a_model_can_do(wire: str, kind: ModelKind, head: ModelHead) -> None:
    message = text_format.Parse(f'{wire} labels: ["no", "yes"] mask_token: "[MASK]"', models_pb2.Model())
    model = Model.from_proto(message)
    assert (model.kind, model.head, model.labels, model.mask_token) == (kind, head, ("no", "yes"), "[MASK]")


def test_the_limits_are_those_of_the_wire() -> None:
    assert list(Limits.__dataclass_fields__) == [field.name for field in models_pb2.Limits.DESCRIPTOR.fields]


async def test_metadata_goes_with_every_call(script: Script, half: Half) -> None:
    script.reply("GetModel", models_pb2.Model())
    script.reply("Generate", completed())
    async with half.client(script.target, metadata={"authorization": "Bearer x"}, timeout=math.inf) as client:
        await half.wait(client.model)
        await half.wait(client.generate("x").result)
    assert [metadata["authorization"] for metadata in script.metadata] == ["Bearer x", "Bearer x"]


async def test_a_closed_client_says_so(script: Script, half: Half) -> None:
    async with half.client(script.target) as client:
        pass
    with pytest.raises(RuntimeError, match="is closed"):
        client.generate("x")
