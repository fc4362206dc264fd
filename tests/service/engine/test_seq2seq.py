"""Encoder-decoders: equal to transformers with hooks written by hand on either side, alone and beside others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from patchclamp_service.engine.errors import BadModel, InvalidRequest, PatchclampError, Unsupported
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.pretrained import read_decoding
from patchclamp_service.engine.requests import (
    Ablate,
    Add,
    Capture,
    Condition,
    ExtractRequest,
    FinishReason,
    GenerateRequest,
    Head,
    Intervention,
    Limits,
    ModelKind,
    Patch,
    Pooling,
    Positions,
    Request,
    Sampling,
    Scale,
    ScoreItem,
    ScoreRequest,
    SentenceActivations,
    Set,
)
from torch import Tensor

from tests.service.engine import oracle
from tests.service.engine.conftest import Bench, Generated, make_bench
from tests.tiny import SEQ2SEQ, save_tiny, tiny_model

SMALL = Limits(batch_tokens=48, prefill_tokens=16, running=8)
PROMPT = tuple(range(20, 51))
READ, WRITTEN = "encoder.layers.1.neurons", "decoder.layers.0.neurons"
NEURONS = (3, 17, 31)

everyone = pytest.mark.parametrize("name", SEQ2SEQ)


def start(bench: Bench) -> int:
    found = bench.model.decoding.start
    assert found is not None
    return found


def logits(bench: Bench, source: Sequence[int], target: Sequence[int], edits: Sequence[oracle.OracleEdit]) -> Tensor:
    """Of every token of the decoder, [tokens, vocabulary]."""
    with oracle.edited(edits):
        output = bench.oracle(
            input_ids=torch.tensor([list(source)]), decoder_input_ids=torch.tensor([list(target)]), use_cache=False
        )
    return output.logits[0]  # type: ignore[no-any-return]


def greedy(
    bench: Bench, source: Sequence[int], count: int, edits: Sequence[oracle.OracleEdit] = ()
) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities, the decoder run anew for each."""
    target, found = [start(bench)], []
    for _ in range(count):
        last = torch.log_softmax(logits(bench, source, target, edits)[-1], -1)
        target.append(int(last.argmax()))
        found.append(float(last.max()))
    return target[1:], found


def violent(bench: Bench, seed: int) -> tuple[Intervention, ...]:
    random = np.random.default_rng(seed)
    sites = [site for site in bench.sites.sites if site.endswith(("residual", "neurons", "mlp", "cross_heads"))]
    return tuple(
        Intervention(site, Scale(-3.0), tuple(int(k) for k in random.choice(16, 5, replace=False)))
        for site in random.choice(sites, 3, replace=False)
    )


def crowd(bench: Bench, count: int = 12) -> list[Request]:
    generations: list[Request] = [
        GenerateRequest(token_ids=PROMPT[k:], max_new_tokens=3 + k, interventions=violent(bench, k))
        for k in range(count)
    ]
    others: list[Request] = [
        ScoreRequest(tuple(ScoreItem("the nurse" * k, " said so") for k in range(1, 5)), violent(bench, 99)),
        ExtractRequest(("he said",) * 4, ("decoder.layers.*.mlp",), targets=("so", "she", "was late", "a")),
    ]
    return generations + others


def close(found: object, expected: object, rtol: float = 0) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=2e-4, rtol=rtol)


def both(bench: Bench, change: Callable[[Tensor], Tensor]) -> list[oracle.OracleEdit]:
    return [oracle.OracleEdit(bench.sites.sites[site], NEURONS, change) for site in (READ, WRITTEN)]


async def beside(bench: Bench, request: GenerateRequest) -> Generated:
    others = [asyncio.ensure_future(bench.events(each)) for each in crowd(bench)]
    got = await bench.generate(request)
    await asyncio.gather(*others)
    return got


# --- generate


@everyone
async def test_greedy_tokens_are_those_of_transformers(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=12))
    expected = bench.oracle.generate(torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, num_beams=1)
    assert [start(bench), *got.ids] == expected[0].tolist()
    assert got.completed.prompt_tokens == len(PROMPT)
    assert got.completed.generated_tokens == len(got.ids)
    assert bench.engine.info.packed


@everyone
async def test_edits_of_both_sides_are_its_own_beside_violent_neighbours(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    edits = tuple(Intervention(site, Scale(-3.0), NEURONS) for site in (READ, WRITTEN))
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=12, interventions=edits)
    alone, crowded = await bench.generate(request), await beside(bench, request)
    ids, logprobs = greedy(bench, PROMPT, len(alone.ids), both(bench, lambda x: -3 * x))
    forced = bench.model.decoding
    if forced.last is None:
        assert alone.ids == crowded.ids == ids
        for got in (alone, crowded):
            assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)
    assert alone.ids == crowded.ids
    counts = [edit.positions_edited for edit in alone.completed.receipt.edits]
    assert counts == [len(PROMPT), len(alone.ids)]


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize(
    ("site", "positions", "where"),
    [
        (READ, Positions(indices=(2, -1)), lambda place: place in (2, len(PROMPT) - 1)),
        (READ, Positions(prompt=True, generated=True), lambda place: True),
        (WRITTEN, Positions(generated=True), lambda place: True),
        (WRITTEN, Positions(exclude_special_tokens=True), lambda place: place > 0),
    ],
)
async def test_positions_equal_the_oracle(bench_of, name: str, site: str, positions: Positions, where) -> None:
    bench = bench_of(name, SMALL)
    edits = [oracle.OracleEdit(bench.sites.sites[site], NEURONS, lambda x: x * -4 + 1, where)]
    interventions = tuple(Intervention(site, edit, NEURONS, positions) for edit in (Scale(-4.0), Add((1.0,))))
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=8, interventions=interventions)
    for got in (await bench.generate(request), await beside(bench, request)):
        ids, logprobs = greedy(bench, PROMPT, len(got.ids), edits)
        assert got.ids == ids
        assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("name", ["t5", "marian"])
async def test_captures_come_from_both_sides(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    names = ("encoder.layers.2.residual", "decoder.layers.1.cross_heads", "decoder.embeddings")
    sites = [bench.sites.sites[site] for site in names]
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=6, capture=Capture(names, True, True))
    for got in (await bench.generate(request), await beside(bench, request)):
        captured: dict[str, Tensor] = {}
        with oracle.edited([], captured, sites):
            target = torch.tensor([[start(bench), *got.ids[:-1]]])
            bench.oracle(input_ids=torch.tensor([PROMPT]), decoder_input_ids=target)
        assert set(got.completed.captured_prompt) == {names[0]}
        close(got.completed.captured_prompt[names[0]], captured[names[0]])
        for site in names[1:]:
            rows = np.concatenate([token.captured[site] for token in got.tokens])
            close(rows, captured[site])


async def test_a_seed_gives_the_same_tokens_alone_and_in_a_crowd(bench_of) -> None:
    bench = bench_of("t5-gated", SMALL)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=12, sampling=Sampling(1.2, top_p=0.9, seed=3))
    assert (await bench.generate(request)).ids == (await beside(bench, request)).ids


async def test_a_repetition_penalty_is_about_what_is_written(bench_of) -> None:
    bench = bench_of("bart", SMALL)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=10, sampling=Sampling(repetition_penalty=1.7))
    got = await bench.generate(request)
    expected = bench.oracle.generate(torch.tensor([PROMPT]), max_new_tokens=10, do_sample=False, repetition_penalty=1.7)
    assert [start(bench), *got.ids] == expected[0].tolist()


async def test_forced_and_banned_tokens_are_kept_to() -> None:
    model = tiny_model("bart")
    settings = model.module.generation_config
    favourite = (await _once(model, 4))[1]
    settings.forced_bos_token_id, settings.forced_eos_token_id, settings.bad_words_ids = 1, 2, [[favourite]]
    model = replace(tiny_model("bart"), module=model.module)
    model = replace(model, decoding=read_decoding(model.module, model.tokenizer, model.kind, model.head))
    bench = make_bench(model, SMALL)
    try:
        got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=7, top_logprobs=1))
        expected = bench.oracle.generate(torch.tensor([PROMPT]), max_new_tokens=7, do_sample=False)  # type: ignore[operator]
        assert [start(bench), *got.ids] == expected[0].tolist()
        assert (got.ids[0], got.ids[-1]) == (1, 2)
        assert favourite not in got.ids
        assert got.completed.reason is FinishReason.LENGTH
        assert all(np.isfinite(token.logprob) for token in got.tokens)
    finally:
        bench.engine.stop()


async def _once(model, count: int) -> list[int]:
    bench = make_bench(model, SMALL)
    try:
        return (await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=count))).ids
    finally:
        bench.engine.stop()
        model.module.set_attn_implementation("sdpa")


# --- score


def scored(bench: Bench, prompt: str, continuation: str, edits: Sequence[oracle.OracleEdit]) -> list[float]:
    source = bench.model.tokenizer(prompt)["input_ids"]
    labels = bench.model.tokenizer(continuation)["input_ids"][:-1]
    first = bench.model.decoding.first
    begins = [1] if labels[0] == 1 or first is not None else []
    own = labels[1:] if labels[0] == 1 else labels
    target = [start(bench), *begins, *own[:-1]]
    found = torch.log_softmax(logits(bench, source, target, edits), -1)[-len(own) :]
    return [float(row[token]) for row, token in zip(found, own, strict=True)]


@everyone
async def test_scores_equal_the_oracle_with_and_without_edits(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    items = [
        ("one two three four", " five six"),
        ("one two three four", " seven"),
        ("x", "y"),
        *(("the nurse said that she " * 6, f" would be {word}") for word in "abcdefghijkl"),
    ]
    edits = tuple(Intervention(site, Scale(-2.0), NEURONS) for site in (READ, WRITTEN))
    for interventions, changes in (((), []), (edits, both(bench, lambda x: -2 * x))):
        request = ScoreRequest(tuple(ScoreItem(*item) for item in items), interventions)
        (alone,) = await bench.events(request)
        (crowded,), *_ = await asyncio.gather(*(bench.events(each) for each in (request, *crowd(bench, 4))))
        for result in (alone, crowded):
            for item, score in zip(items, result.scores, strict=True):
                assert score.token_logprobs == pytest.approx(scored(bench, *item, changes), abs=1e-4)


async def test_equal_prompts_are_read_once(bench_of) -> None:
    bench = bench_of("t5", SMALL)
    before = len(bench.steps.reports)
    items = tuple(ScoreItem("the nurse said that she would be late", f" {word}") for word in "abcdefghij")
    await bench.events(ScoreRequest(items))
    await bench.settled()
    tokens = sum(report.prefill_tokens for report in bench.steps.reports[before:])
    source = len(bench.model.tokenizer(items[0].prompt)["input_ids"])
    assert tokens == source + sum(len(bench.model.tokenizer(item.continuation)["input_ids"]) - 1 for item in items)


# --- extract


@everyone
async def test_activations_of_both_sides_equal_the_oracle(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    texts = ("one two three", "a", "the cat sat on the mat and " * 6, "one two four")
    targets = ("eins zwei", "the nurse said that she " * 4, "x", "so it was")
    sites = list(bench.sites.sites.values())
    edits = both(bench, lambda x: x + 2)
    request = ExtractRequest(
        texts,
        tuple(site.name for site in sites),
        interventions=tuple(Intervention(site, Add((2.0,)), NEURONS) for site in (READ, WRITTEN)),
        include_special_tokens=True,
        targets=targets,
    )
    got, *_ = await asyncio.gather(*(bench.events(each) for each in (request, *crowd(bench, 4))))
    for text, target, event in zip(texts, targets, got, strict=True):
        assert isinstance(event, SentenceActivations)
        source = bench.model.tokenizer(text)["input_ids"]
        reads = [start(bench), *bench.model.tokenizer(target)["input_ids"][:-1]]
        captured: dict[str, Tensor] = {}
        with oracle.edited(edits, captured, sites):
            bench.oracle(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([reads]))
        assert (len(event.tokens), len(event.target_tokens)) == (len(source), len(reads))
        for site in sites:
            close(event.captured[site.name], captured[site.name], rtol=1e-4)


def picked(rows: Tensor, pooling: Pooling | None) -> Tensor:
    """One row of a word's."""
    return rows[0] if pooling is Pooling.FIRST else rows[-1] if pooling is Pooling.LAST else rows.mean(0)


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("pooling", [None, Pooling.FIRST, Pooling.LAST, Pooling.SENTENCE_AVERAGE])
async def test_words_are_aligned_on_both_sides(bench_of, name: str, pooling: Pooling | None) -> None:
    bench = bench_of(name, SMALL)
    words, target = ("The", "unbelievable-nurse", "said"), ("so", "e\u0301tait-elle")
    names = ("encoder.layers.2.residual", "decoder.layers.1.residual")
    (got,) = await bench.events(ExtractRequest((words,), names, pooling, targets=(target,)))
    captured: dict[str, Tensor] = {}
    own = {}
    for site, content in zip(names, (words, target), strict=True):
        own[site] = bench.model.tokenizer.backend_tokenizer.encode(" ".join(content))
    reads = [start(bench), *own[names[1]].ids[:-1]]
    with oracle.edited([], captured, [bench.sites.sites[site] for site in names]):
        bench.oracle(input_ids=torch.tensor([own[names[0]].ids]), decoder_input_ids=torch.tensor([reads]))
    for site, content, shift in zip(names, (words, target), (0, 1), strict=True):
        begin, groups = 0, []
        for word in content:
            end = begin + len(word)
            offsets = enumerate(own[site].offsets)
            groups.append([k + shift for k, (a, b) in offsets if max(a, begin) < min(b, end)])
            begin = end + 1
        if pooling is Pooling.SENTENCE_AVERAGE:
            special = own[site].special_tokens_mask
            groups = [[place + shift for place, is_special in enumerate(special) if not is_special]]
        rows = [captured[site][group] for group in groups]
        close(got.captured[site], torch.stack([picked(each, pooling) for each in rows]))
    if pooling is not Pooling.SENTENCE_AVERAGE:
        assert (got.tokens, got.target_tokens) == (words, target)


async def test_a_word_without_a_token_is_masked_on_its_side(bench_of) -> None:
    bench = bench_of("t5", SMALL)
    reader = bench.engine._door.text
    tokens = reader.target(("a", "b"), Pooling.AVERAGE, include_special=False)
    assert [len(row) for row in tokens.rows] == [1, 1]
    (got,) = await bench.events(
        ExtractRequest((("a", "b"),), ("decoder.embeddings", "encoder.embeddings"), targets=(("c", "d", "e"),))
    )
    assert {site: len(rows) for site, rows in got.captured.items()} == {
        "decoder.embeddings": 3,
        "encoder.embeddings": 2,
    }
    assert (got.masked, got.target_masked) == ((), ())


async def test_sentence_first_is_the_first_token_of_either_side(bench_of) -> None:
    bench = bench_of("bart", SMALL)
    names = ("encoder.embeddings", "decoder.embeddings")
    pooled = ExtractRequest(("he said",), names, Pooling.SENTENCE_FIRST, targets=("so",))
    all_rows = replace(pooled, pooling=Pooling.NONE, include_special_tokens=True)
    (one,), (every,) = await bench.events(pooled), await bench.events(all_rows)
    for site in names:
        np.testing.assert_array_equal(one.captured[site], every.captured[site][:1])


async def test_the_encoder_alone_needs_no_target(bench_of) -> None:
    bench = bench_of("t5", SMALL)
    (got,) = await bench.events(ExtractRequest(("he said",), ("encoder.layers.*.residual",)))
    assert (len(got.captured), got.target_tokens) == (3, ())


async def test_a_patch_sets_what_the_encoder_reads(bench_of) -> None:
    bench = bench_of("bart", SMALL)
    site = bench.sites.sites[READ]
    source = "the doctor said that he"
    captured: dict[str, Tensor] = {}
    with oracle.edited([], captured, [site]):
        bench.oracle(
            input_ids=torch.tensor([bench.model.tokenizer(source)["input_ids"]]), decoder_input_ids=torch.tensor([[2]])
        )
    values = captured[READ][-2, [4, 2]]
    edit = Intervention(READ, Patch(source, -2), (4, 2), Positions(indices=(-1,)))
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=6, interventions=(edit,)))
    change = oracle.OracleEdit(site, [4, 2], lambda x: values, lambda place: place == len(PROMPT) - 1)
    ids, logprobs = greedy(bench, PROMPT, len(got.ids), [change])
    assert got.ids == ids
    assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
async def test_a_condition_gates_position_by_position(bench_of, side: str) -> None:
    bench = bench_of("t5", SMALL)
    gate, site = (bench.sites.sites[f"{side}.layers.{k}.residual"] for k in (0, 1))
    text, target = "the cat sat on the mat", "the nurse said so"
    ids = {"encoder": bench.model.tokenizer(text)["input_ids"]}
    ids["decoder"] = [start(bench), *bench.model.tokenizer(target)["input_ids"][:-1]]
    before: dict[str, Tensor] = {}
    with oracle.edited([], before, [gate, site]):
        bench.oracle(input_ids=torch.tensor([ids["encoder"]]), decoder_input_ids=torch.tensor([ids["decoder"]]))
    bound = float(before[gate.name][:, 3].median())
    fires = before[gate.name][:, 3] > bound
    edit = Intervention(site.name, Add((5.0,)), (2,), condition=Condition(gate.name, 3, above=bound))
    request = ExtractRequest(
        (text,), (site.name,), interventions=(edit,), include_special_tokens=True, targets=(target,)
    )
    (event,), *_ = await asyncio.gather(*(bench.events(each) for each in (request, *crowd(bench, 3))))
    expected = before[site.name].clone()
    expected[fires, 2] += 5
    np.testing.assert_allclose(event.captured[site.name], expected, atol=2e-4)
    assert event.receipt.edits[0].gate_firings == int(fires.sum())


# --- what holds for all


async def test_edits_that_change_nothing_change_no_bit_and_leave_no_hook(bench_of) -> None:
    bench = bench_of("bart", SMALL)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=10, top_logprobs=5)
    neutral = tuple(Intervention(site, Scale(1.0), (1, 2)) for site in (READ, WRITTEN))
    plain, again, same = [await bench.generate(replace(request, interventions=edits)) for edits in ((), (), neutral)]
    assert [t.top for t in plain.tokens] == [t.top for t in again.tokens] == [t.top for t in same.tokens]
    await bench.settled()
    modules = bench.model.module.modules()
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules) == 0


@pytest.mark.parametrize("name", ["t5", "bart"])
@pytest.mark.parametrize("site", [READ, WRITTEN])
async def test_a_broken_neighbour_reaches_nobody(bench_of, name: str, site: str) -> None:
    bench = bench_of(name, SMALL)
    broken = (Intervention(site, Set((3e38,))),)
    for _ in range(3):
        requests = [
            GenerateRequest(token_ids=PROMPT, max_new_tokens=3, interventions=broken),
            GenerateRequest(token_ids=PROMPT, max_new_tokens=20),
            GenerateRequest(token_ids=PROMPT[:3], max_new_tokens=25),
            ScoreRequest((ScoreItem("a b", " c d"),) * 3, broken),
        ]
        failed, one, other, score = await asyncio.gather(
            *(bench.events(each) for each in requests), return_exceptions=True
        )
        for failure in (failed, score):
            assert isinstance(failure, InvalidRequest)
            assert failure.reason == "NOT_FINITE"
        for request, events in zip(requests[1:3], (one, other), strict=True):
            assert isinstance(events, list)
            ids = [token.id for token in events[:-1]]
            assert isinstance(request, GenerateRequest)
            assert request.token_ids
            assert ids == greedy(bench, request.token_ids, len(ids))[0]
    await bench.settled()
    assert bench.engine.load().queued_tokens == 0


async def test_streams_cut_in_the_middle_leave_the_engine_empty(bench_of) -> None:
    bench = bench_of("t5", SMALL)
    edits = (Intervention(WRITTEN, Ablate(), (1,)),)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=200, interventions=edits)
    streams = [await bench.engine.submit(request) for _ in range(20)]
    scores = await bench.engine.submit(ScoreRequest((ScoreItem("the nurse said " * 10, " so"),) * 200))
    for stream in streams:
        await anext(stream)
    for stream in (*streams, scores):
        await stream.aclose()
    await bench.settled()
    assert bench.engine.load().running_requests == bench.engine.load().queued_tokens == 0
    assert bench.engine._scheduler.cache_tokens_used == 0
    assert not bench.engine._runner._states


def edits(*interventions: Intervention) -> GenerateRequest:
    return GenerateRequest(token_ids=PROMPT, max_new_tokens=4, interventions=interventions)


BAD: dict[str, tuple[Request, str, str]] = {
    "no target": (ExtractRequest(("a", "b"), (WRITTEN,)), "sentences[0].target", "TARGET_NEEDED"),
    "too few targets": (ExtractRequest(("a", "b"), (WRITTEN,), targets=("c",)), "sentences[1].target", "TARGET_NEEDED"),
    "empty target": (ExtractRequest(("a",), (WRITTEN,), targets=("",)), "sentences[0].target", "TARGET_NEEDED"),
    "long target": (ExtractRequest(("a",), (WRITTEN,), targets=("a b " * 300,)), "sentences[0].target",
                    "PROMPT_TOO_LONG"),
    "decoder in the prompt": (edits(Intervention(WRITTEN, Ablate(), (1,), Positions(prompt=True))),
                              "interventions[0].positions", "SELECTS_NOTHING"),
    "encoder in what is generated": (edits(Intervention(READ, Ablate(), (1,), Positions(generated=True))),
                                     "interventions[0].positions", "SELECTS_NOTHING"),
    "decoder by index": (edits(Intervention(WRITTEN, Ablate(), (1,), Positions(indices=(0,)))),
                         "interventions[0].positions", "SELECTS_NOTHING"),
    "decoder that does not run": (ExtractRequest(("a",), (READ,), interventions=(Intervention(WRITTEN, Ablate()),)),
                                  "interventions", "SELECTS_NOTHING"),
    "condition across": (edits(Intervention(WRITTEN, Ablate(), (1,), condition=Condition(READ, 0, above=0.0))),
                         "interventions[0].condition.neurons.site", "CONDITION_OF_OTHER_SIDE"),
    "patch of the decoder": (edits(Intervention(WRITTEN, Patch("a b", 0), (1,))), "interventions[0].patch",
                             "PATCH_OF_DECODER"),
    "capture of the other side": (
        GenerateRequest(token_ids=PROMPT, capture=Capture((READ, WRITTEN), prompt=True)), "capture.sites",
        "EMPTY_CAPTURE"),
    "capture of nothing generated": (
        GenerateRequest(token_ids=PROMPT, capture=Capture((READ,), prompt=True, generated=True)), "capture.generated",
        "EMPTY_CAPTURE"),
    "long prompt": (GenerateRequest(token_ids=(5,) * 257), "token_ids", "PROMPT_TOO_LONG"),
    "too many new": (GenerateRequest(token_ids=PROMPT, max_new_tokens=256), "max_new_tokens", "LIMIT_EXCEEDED"),
    "plain layer": (edits(Intervention("layers.0.mlp", Ablate())), "interventions[0].neurons.site", "UNKNOWN_SITE"),
    "layer too high": (edits(Intervention("decoder.layers.2.mlp", Ablate())), "interventions[0].neurons.site",
                       "UNKNOWN_SITE"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
async def test_bad_requests_name_their_field_and_cost_nothing(bench_of, case: str) -> None:
    bench = bench_of("t5", SMALL)
    request, field, reason = BAD[case]
    with pytest.raises(PatchclampError) as caught:
        await bench.engine.submit(request)
    assert (caught.value.field, caught.value.reason) == (field, reason)
    assert bench.engine.load().queued_tokens == 0


async def test_both_sides_have_the_whole_context_to_themselves(bench_of) -> None:
    bench = bench_of("bart", SMALL)
    got = await bench.generate(GenerateRequest(token_ids=(30,) * 256, max_new_tokens=255))
    assert len(got.ids) == 255 or got.completed.reason is FinishReason.END_OF_SEQUENCE


async def test_only_encoder_decoders_take_targets(bench_of) -> None:
    for name in ("llama", "bert"):
        with pytest.raises(InvalidRequest) as caught:
            await bench_of(name, SMALL).engine.submit(ExtractRequest(("a",), ("embeddings",), targets=("b",)))
        assert (caught.value.field, caught.value.reason) == ("sentences[0].target", "TARGET_NOT_READ")


def test_sites_of_both_sides_are_named_and_counted(bench_of) -> None:
    info = bench_of("mt5", SMALL).engine.info
    assert (info.kind, info.head, info.layers) == (ModelKind.ENCODER_DECODER, Head.LANGUAGE, 5)
    kinds = {"attention", "heads", "mlp", "neurons", "residual"}
    expected = {f"encoder.layers.{k}.{kind}" for k in range(3) for kind in kinds}
    expected |= {f"decoder.layers.{k}.{kind}" for k in range(2) for kind in kinds | {"cross_attention", "cross_heads"}}
    assert {site.name for site in info.sites} == expected | {"encoder.embeddings", "decoder.embeddings"}
    assert info.refused_sites == ()


@everyone
@pytest.mark.parametrize("kind", ["neurons", "heads", "cross_heads"])
async def test_zeroing_a_neuron_is_zeroing_its_column(bench_of, name: str, kind: str) -> None:
    bench = bench_of(name, SMALL)
    sides = ("decoder",) if kind == "cross_heads" else ("encoder", "decoder")
    sites = [site for side in sides for site in bench.sites.expand(f"{side}.layers.*.{kind}", "")]
    interventions = tuple(Intervention(site.name, Ablate(), NEURONS[:2]) for site in sites)
    items = (ScoreItem("the nurse said", " that she"),)
    (got,) = await bench.events(ScoreRequest(items, interventions))
    kept = [site.module.weight.detach().clone() for site in sites]
    try:
        for site in sites:
            site.module.weight.data[:, list(NEURONS[:2])] = 0
        expected = scored(bench, items[0].prompt, items[0].continuation, [])
    finally:
        for site, weight in zip(sites, kept, strict=True):
            site.module.weight.data.copy_(weight)
    assert got.scores[0].token_logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("name", "bare"), [("t5", "T5Model"), ("bart", "BartModel")])
async def test_one_without_a_head_can_be_read_only(tmp_path: Path, name: str, bare: str) -> None:
    directory = save_tiny(name, tmp_path / "model")
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": [bare]}))
    model = load_model(ModelSpec("bare", str(directory)), cache=tmp_path)
    assert (model.kind, model.head) == (ModelKind.ENCODER_DECODER, Head.NONE)
    bench = make_bench(model, SMALL)
    whole = make_bench(tiny_model(name), SMALL)
    try:
        with pytest.raises(Unsupported) as caught:
            await bench.engine.submit(GenerateRequest(prompt="a"))
        assert caught.value.reason == "NO_LANGUAGE_HEAD"
        request = ExtractRequest(("he said so",), ("decoder.layers.1.residual", READ), targets=("so he said",))
        (one,), (other,) = await bench.events(request), await whole.events(request)
        for site, rows in one.captured.items():
            close(rows, other.captured[site])
    finally:
        bench.engine.stop()
        whole.engine.stop()


def test_one_whose_decoder_starts_with_nothing_is_refused(tmp_path: Path) -> None:
    directory = save_tiny("t5", tmp_path / "model")
    for name in ("config.json", "generation_config.json"):
        file = directory / name
        settings = json.loads(file.read_text())
        file.write_text(json.dumps(settings | {"decoder_start_token_id": None, "bos_token_id": None}))
    with pytest.raises(BadModel, match="which token starts the decoder"):
        load_model(ModelSpec("mine", str(directory)), cache=tmp_path)
