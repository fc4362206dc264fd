"""From messages to the engine's dataclasses and back; what is refused without asking the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp.v1 import activations_pb2 as activations_v1
from patchclamp.v1 import inference_pb2 as inference_v1
from patchclamp.v1 import intervention_pb2 as v1
from patchclamp.v1.common_pb2 import BFLOAT16, FLOAT16, FLOAT32, INT64, Neurons, Tensor
from patchclamp_service.engine import requests as engine
from patchclamp_service.engine.errors import InvalidRequest, NotFound, PatchclampError
from patchclamp_service.servicers.inference import generate_request, generate_response, score_response
from patchclamp_service.wire.extraction import extract_request, extract_responses
from patchclamp_service.wire.interventions import interventions, refuse_sets
from patchclamp_service.wire.tensors import tensor

SITE = "layers.0.neurons"
RECEIPT = engine.Receipt("d1", (engine.AppliedEdit(3, 2),))


def one(indices: list[int] | None = None, **parts: Any) -> engine.Intervention:
    (made,) = interventions([v1.Intervention(neurons=Neurons(site=SITE, indices=indices or []), **parts)])
    return made


def floats(*values: float) -> Tensor:
    return Tensor(dtype=FLOAT32, shape=[len(values)], data=np.array(values, "<f4").tobytes())


@pytest.mark.parametrize(
    ("parts", "edit"),
    [
        ({"ablate": v1.Ablate()}, engine.Ablate()),
        ({"set": v1.Set(values=[1, 2])}, engine.Set((1.0, 2.0))),
        ({"scale": v1.Scale(factor=-3)}, engine.Scale(-3.0)),
        ({"add": v1.Add(values=[0.5])}, engine.Add((0.5,))),
        ({"clip": v1.Clip(min=0)}, engine.Clip(0.0, None)),
        ({"clip": v1.Clip(max=0)}, engine.Clip(None, 0.0)),
        ({"patch": v1.Patch(source_text="a", source_position=-1)}, engine.Patch("a", -1)),
    ],
)
def test_edits(parts: dict[str, Any], edit: engine.Edit) -> None:
    assert one([3, 1], **parts) == engine.Intervention(SITE, edit, (3, 1))


def test_a_direction() -> None:
    edit = one(project_out=v1.ProjectOut(direction=floats(1, 0, 2))).edit
    assert isinstance(edit, engine.ProjectOut)
    assert edit.direction.tolist() == [1, 0, 2]


def test_where_and_when() -> None:
    positions = v1.Positions(prompt=True, indices=[-1], tokens=[" she"], exclude_special_tokens=True)
    condition = v1.Condition(neurons=Neurons(site=SITE, indices=[7]), above=0)
    made = one(ablate=v1.Ablate(), positions=positions, condition=condition)
    assert made.positions == engine.Positions(True, False, (-1,), (" she",), True)
    assert made.condition == engine.Condition(SITE, 7, 0.0, None)


@pytest.mark.parametrize(
    ("indices", "parts", "field"),
    [
        ([1, 2, 1], {"ablate": v1.Ablate()}, "neurons.indices[2]"),
        ([1, 2, 3], {"set": v1.Set(values=[1, 2])}, "set.values"),
        ([1], {"add": v1.Add(values=[1, 2])}, "add.values"),
        ([], {"set_to_mean": v1.SetToMean(activation_set="activationSets/x")}, "set_to_mean"),
        ([1], {"project_out": v1.ProjectOut(direction=floats(1))}, "neurons.indices"),
        ([], {"project_out": v1.ProjectOut(direction=floats(0, 0))}, "project_out.direction"),
        ([], {"project_out": v1.ProjectOut(direction=floats(1, float("nan")))}, "project_out.direction"),
        ([], {"project_out": v1.ProjectOut(direction=Tensor(dtype=INT64))}, "project_out.direction.dtype"),
        ([], {"project_out": v1.ProjectOut(direction=Tensor(dtype=FLOAT32))}, "project_out.direction.shape"),
        (
            [],
            {"project_out": v1.ProjectOut(direction=Tensor(dtype=FLOAT32, shape=[2**62], data=b"1234"))},
            "project_out.direction.data",
        ),
        (
            [],
            {"ablate": v1.Ablate(), "condition": v1.Condition(neurons=Neurons(site=SITE))},
            "condition.neurons.indices",
        ),
        (
            [],
            {
                "ablate": v1.Ablate(),
                "condition": v1.Condition(neurons=Neurons(site=SITE, indices=[1]), above=2, below=1),
            },
            "condition",
        ),
    ],
)
def test_refused_interventions_name_the_field(indices: list[int], parts: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        one(indices, **parts)
    assert caught.value.field == f"interventions[0].{field}"


@pytest.mark.parametrize("name", ["interventionSets/a", "interventionSets/a@3"])
def test_named_sets_are_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        refuse_sets([name])


@pytest.mark.parametrize("name", ["", "a", "interventionSets/", "interventionSets/../a", "interventionSets/a@0", "/a"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        refuse_sets([name])
    assert caught.value.field == "intervention_sets[0]"


def test_what_generate_assumes() -> None:
    assert generate_request(inference_v1.GenerateRequest(prompt="x")) == engine.GenerateRequest(prompt="x")


def test_all_of_a_generate_request() -> None:
    message = inference_v1.GenerateRequest(
        chat=inference_v1.Chat(messages=[inference_v1.ChatMessage(role="user", content="hi")]),
        sampling=inference_v1.Sampling(temperature=0.5, top_k=3, top_p=0.5, min_p=0.25, repetition_penalty=2, seed=0),
        max_new_tokens=5,
        stop=["."],
        capture=inference_v1.Capture(sites=["embeddings"], prompt=True, dtype=BFLOAT16),
        top_logprobs=2,
    )
    assert generate_request(message) == engine.GenerateRequest(
        chat=(("user", "hi"),),
        sampling=engine.Sampling(0.5, 3, 0.5, 0.25, 2.0, 0),
        max_new_tokens=5,
        stop=(".",),
        capture=engine.Capture(("embeddings",), prompt=True, dtype="bfloat16"),
        top_logprobs=2,
    )


def test_the_end_of_a_generation() -> None:
    event = engine.Completed(engine.FinishReason.STOP_SEQUENCE, 3, 2, 7, RECEIPT)
    completed = generate_response(event, "m1").completed
    assert completed.reason == inference_v1.STOP_SEQUENCE
    assert (completed.usage.prompt_tokens, completed.usage.generated_tokens, completed.usage.seed) == (3, 2, 7)
    assert (completed.applied.digest, completed.applied.model_digest) == ("d1", "m1")
    assert [(e.positions_edited, e.gate_firings) for e in completed.applied.edits] == [(3, 2)]


def test_scores_add_up_in_double_precision() -> None:
    parts = np.full(1000, -0.1, np.float32)
    result = engine.ScoreResult((engine.ItemScore(parts, tuple(range(1000))),), RECEIPT)
    assert score_response(result, "m1").scores[0].logprob == float(parts.astype(np.float64).sum())


@pytest.mark.parametrize(
    ("dtype", "wire"), [(np.float32, FLOAT32), (np.float16, FLOAT16), (np.uint16, BFLOAT16), (">f4", FLOAT32)]
)
def test_tensors(dtype: Any, wire: int) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    message = tensor(array.T)
    assert (message.dtype, list(message.shape)) == (wire, [3, 2])
    assert message.data == array.T.astype(array.dtype.newbyteorder("<")).tobytes()


def extract(*sentences: activations_v1.Sentence, **parts: Any) -> engine.ExtractRequest:
    return extract_request(activations_v1.ExtractActivationsRequest(sentences=sentences, sites=["embeddings"], **parts))


def words(*given: str) -> activations_v1.Sentence:
    return activations_v1.Sentence(words=activations_v1.Words(words=given))


TEXT = activations_v1.Sentence(text="a b")


def test_what_extraction_assumes() -> None:
    assert extract(TEXT) == engine.ExtractRequest(("a b",), ("embeddings",), engine.Pooling.NONE)
    assert extract(words("a", "b")) == engine.ExtractRequest((("a", "b"),), ("embeddings",), engine.Pooling.AVERAGE)
    assert extract(words("a"), aggregation=activations_v1.NONE).pooling is engine.Pooling.NONE


@pytest.mark.parametrize(
    ("sentences", "parts", "field"),
    [
        ((TEXT, words("a")), {}, "sentences[1]"),
        ((TEXT,), {"aggregation": activations_v1.FIRST}, "aggregation"),
        ((TEXT,), {"dtype": INT64}, "dtype"),
    ],
)
def test_refused_extractions(sentences: tuple[activations_v1.Sentence, ...], parts: dict[str, Any], field: str) -> None:
    with pytest.raises(PatchclampError) as caught:
        extract(*sentences, **parts)
    assert caught.value.field == field


@settings(deadline=None)
@given(rows=st.integers(0, 40), width=st.integers(1, 50), chunk=st.integers(1, 5000))
def test_a_long_sentence_comes_in_pieces(rows: int, width: int, chunk: int) -> None:
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    captured: dict[str, Any] = {"a": values, "b": values[:, :1]}
    event = engine.SentenceActivations(4, tuple(map(str, range(rows))), captured, (0,), RECEIPT)
    pieces = list(extract_responses(event, "m1", chunk))
    assert b"".join(piece.captured[0].values.data for piece in pieces) == values.tobytes()
    assert all(sum(len(c.values.data) for c in piece.captured) <= max(chunk, 4 * (width + 1)) for piece in pieces)
    assert [bool(piece.tokens or piece.masked) for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [piece.HasField("applied") for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert [piece.row_offset for piece in pieces] == list(
        np.cumsum([0] + [p.captured[0].values.shape[0] for p in pieces[:-1]])
    )
