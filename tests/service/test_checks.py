"""Bytes that are no message, and messages that break the contract's rules: always InvalidRequest, with the path."""

from __future__ import annotations

import math

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from patchclamp.v1.activations_pb2 import ExtractActivationsRequest, Sentence, Words
from patchclamp.v1.common_pb2 import Neurons, Tensor
from patchclamp.v1.inference_pb2 import (
    Capture,
    Chat,
    ChatMessage,
    GenerateRequest,
    Sampling,
    ScoreItem,
    ScoreRequest,
    TokenIds,
)
from patchclamp.v1.intervention_pb2 import Ablate, Clip, Condition, Intervention, ProjectOut, Scale, Set
from patchclamp.v1.models_pb2 import ListModelsRequest
from patchclamp_service.checks import check, parse
from patchclamp_service.engine.errors import Exhausted, InvalidRequest

HERE = Neurons(site="layers.0.neurons", indices=[1])


def edited(**parts: object) -> GenerateRequest:
    return GenerateRequest(prompt="x", interventions=[Intervention(**{"neurons": HERE, **parts})])  # type: ignore[arg-type]


BROKEN: list[tuple[str, Message]] = [
    ("input", GenerateRequest()),
    ("prompt", GenerateRequest(prompt="")),
    ("chat.messages[0].role", GenerateRequest(chat=Chat(messages=[ChatMessage(role="god", content="x")]))),
    ("token_ids.ids", GenerateRequest(token_ids=TokenIds())),
    ("sampling.temperature", GenerateRequest(prompt="x", sampling=Sampling(temperature=math.nan))),
    ("sampling.top_p", GenerateRequest(prompt="x", sampling=Sampling(top_p=0))),
    ("stop[1]", GenerateRequest(prompt="x", stop=["a", ""])),
    ("capture.sites", GenerateRequest(prompt="x", capture=Capture())),
    ("capture.dtype", GenerateRequest(prompt="x", capture=Capture(sites=["a"], dtype=77))),  # type: ignore[arg-type]
    ("interventions[0].edit", edited()),
    ("interventions[0].neurons", edited(neurons=None, ablate=Ablate())),
    ("interventions[0].neurons.site", edited(neurons=Neurons(), ablate=Ablate())),
    ("interventions[0].clip", edited(clip=Clip())),
    ("interventions[0].clip", edited(clip=Clip(min=2, max=1))),
    ("interventions[0].clip.min", edited(clip=Clip(min=-math.inf))),
    ("interventions[0].set.values[1]", edited(set=Set(values=[1, math.nan]))),
    ("interventions[0].set.values", edited(set=Set())),
    ("interventions[0].scale.factor", edited(scale=Scale(factor=math.inf))),
    ("interventions[0].condition", edited(ablate=Ablate(), condition=Condition(neurons=HERE))),
    ("interventions[0].project_out.direction", edited(project_out=ProjectOut())),
    (
        "interventions[0].project_out.direction.dtype",
        edited(project_out=ProjectOut(direction=Tensor(dtype=99))),  # type: ignore[arg-type]
    ),
    ("items", ScoreRequest()),
    ("items[1].continuation", ScoreRequest(items=[ScoreItem(prompt="a", continuation="b"), ScoreItem(prompt="a")])),
    ("sentences", ExtractActivationsRequest(sites=["a"])),
    ("sentences[0].content", ExtractActivationsRequest(sites=["a"], sentences=[Sentence()])),
    ("sentences[0].words.words", ExtractActivationsRequest(sites=["a"], sentences=[Sentence(words=Words())])),
    ("aggregation", ExtractActivationsRequest(sites=["a"], sentences=[Sentence(text="a")], aggregation=9)),  # type: ignore[arg-type]
    ("page_size", ListModelsRequest(page_size=-1)),
]


@pytest.mark.parametrize(("path", "message"), BROKEN, ids=[path for path, _ in BROKEN])
def test_a_broken_rule_names_its_field(path: str, message: Message) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(message)
    assert caught.value.field == path
    assert caught.value.message.startswith(path)


def test_a_good_message_passes() -> None:
    message = edited(ablate=Ablate())
    assert parse(message.SerializeToString(), GenerateRequest.FromString, 1000) == message


def bomb() -> bytes:
    """A group within a group, two thousand deep, in a field nobody knows."""
    return b"\xfb\x07" * 2000 + b"\xfc\x07" * 2000


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\x12\x05ab", b"\x12\x02\xff\xfe", b"\x12\x03\xed\xa0\x80", b"\x0f", b"\x00\x00", bomb()],
    ids=["varint", "truncated", "not-utf8", "surrogate", "wire-type", "field-zero", "nesting-bomb"],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(data, GenerateRequest.FromString, 10_000)
    assert caught.value.reason == "MALFORMED_MESSAGE"


def test_a_message_over_the_cap_names_the_limit() -> None:
    with pytest.raises(Exhausted) as caught:
        parse(b"x" * 11, GenerateRequest.FromString, 10)
    assert caught.value.quota == "message_bytes"


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_be_refused(data: bytes) -> None:
    for kind in (GenerateRequest, ScoreRequest, ExtractActivationsRequest):
        try:
            parse(data, kind.FromString, 100)
        except (InvalidRequest, Exhausted) as error:
            assert error.message
