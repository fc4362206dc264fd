"""Classes and masks: from messages to the engine's dataclasses and back."""

from __future__ import annotations

from typing import Any

import pytest
from patchclamp.v1 import activations_pb2 as activations_v1
from patchclamp.v1 import inference_pb2 as inference_v1
from patchclamp.v1 import models_pb2 as models_v1
from patchclamp_service.engine import requests as engine
from patchclamp_service.engine.errors import EngineFailure, InvalidRequest
from patchclamp_service.servicers.models import summary
from patchclamp_service.wire.heads import (
    classify_request,
    classify_response,
    fill_mask_request,
    fill_mask_response,
    sentences,
)

RECEIPT = engine.Receipt("d1", (engine.AppliedEdit(3, 2),))
EDIT = (engine.Intervention("embeddings", engine.Ablate()),)
TEXT = activations_v1.Sentence(text="a b")
PAIR = activations_v1.Sentence(text="a", second="b")
WORDS = activations_v1.Sentence(words=activations_v1.Words(words=["a", "b"]))


@pytest.mark.parametrize(
    ("message", "expected"), [(TEXT, "a b"), (PAIR, engine.TextPair("a", "b")), (WORDS, ("a", "b"))]
)
def test_sentences_are_text_words_or_pairs(message: activations_v1.Sentence, expected: object) -> None:
    assert sentences([message, message]) == (expected, expected)
    request = inference_v1.ClassifyRequest(sentences=[message], top=2)
    assert classify_request(request, EDIT) == engine.ClassifyRequest((expected,), 2, EDIT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([TEXT, PAIR], "sentences[1]"),
        ([WORDS, WORDS, TEXT], "sentences[2]"),
        ([activations_v1.Sentence(words=WORDS.words, second="c")], "sentences[0].second"),
        ([TEXT, activations_v1.Sentence(text="a", target="c")], "sentences[1].target"),
    ],
)
def test_refused_sentences_name_the_field(messages: list[activations_v1.Sentence], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        classify_request(inference_v1.ClassifyRequest(sentences=messages), ())
    assert caught.value.field == field


@pytest.mark.parametrize(("top", "expected"), [(0, 5), (3, 3)])
def test_masks_get_five_tokens_unless_told(top: int, expected: int) -> None:
    request = inference_v1.FillMaskRequest(texts=["a [MASK]"], top=top, targets=["b"])
    assert fill_mask_request(request, EDIT) == engine.FillMaskRequest(("a [MASK]",), expected, ("b",), EDIT)


def test_classes_come_back_with_their_receipt() -> None:
    one = engine.ClassScore(1, "verb", 0.5, 0.75)
    results = (engine.Classification((one,)), engine.Classification(words=(engine.WordClasses("so", (one,)),)))
    response = classify_response(engine.ClassifyResult(results, RECEIPT), "m1")
    classes, words = response.results
    expected = inference_v1.ClassScore(index=1, label="verb", logit=0.5, probability=0.75)
    assert list(classes.classes) == [expected]
    assert [(word.word, list(word.classes)) for word in words.words] == [("so", [expected])]
    assert (response.applied.digest, response.applied.model_digest) == ("d1", "m1")


def test_masks_come_back_with_their_receipt() -> None:
    token = engine.TokenLogprob(7, "so", -0.5)
    result = engine.FillMaskResult(((engine.FilledMask(2, (token,), (token, token)),), ()), RECEIPT)
    response = fill_mask_response(result, "m1")
    (mask,) = response.results[0].masks
    expected = inference_v1.TokenLogprob(id=7, text="so", logprob=-0.5)
    assert (mask.position, list(mask.top), list(mask.targets)) == (2, [expected], [expected, expected])
    assert not response.results[1].masks
    assert response.applied.edits[0].positions_edited == 3


@pytest.mark.parametrize("convert", [classify_response, fill_mask_response])
def test_another_event_is_a_failure_of_ours(convert: Any) -> None:
    with pytest.raises(EngineFailure):
        convert(engine.ScoreResult((), RECEIPT), "m1")


@pytest.mark.parametrize("kind", engine.ModelKind)
@pytest.mark.parametrize("head", engine.Head)
def test_every_kind_and_head_has_a_name_on_the_wire(kind: engine.ModelKind, head: engine.Head) -> None:
    info = engine.ModelInfo(
        name="m",
        architecture="M",
        family="m",
        kind=kind,
        head=head,
        labels=("a", "b"),
        mask_token="[MASK]",
        digest="",
        dtype="float32",
        device="cpu",
        layers=1,
        hidden_size=1,
        vocabulary_size=1,
        parameters=1,
        context_tokens=1,
        sites=(),
        refused_sites=(),
        modules=(),
        packed=False,
        load_seconds=0.0,
    )
    model = summary(info, engine.Limits())
    assert models_v1.ModelKind.Name(model.kind) == f"MODEL_KIND_{kind.name}"
    assert models_v1.ModelHead.Name(model.head).removeprefix("MODEL_HEAD_") == head.name.replace("NONE", "UNSPECIFIED")
    assert (list(model.labels), model.mask_token) == (["a", "b"], "[MASK]")
