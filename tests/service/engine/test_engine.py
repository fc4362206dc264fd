"""What callers may rely on: seeds, cancellation, no hook left, captures, limits, the text they get."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_service.engine.errors import (
    EngineFailure,
    Exhausted,
    InvalidRequest,
    NotReady,
    PatchclampError,
    Unsupported,
)
from patchclamp_service.engine.pooling import pooled
from patchclamp_service.engine.requests import (
    Ablate,
    Add,
    Capture,
    Clip,
    Condition,
    ExtractRequest,
    FinishReason,
    GenerateRequest,
    Intervention,
    Limits,
    Patch,
    Pooling,
    Positions,
    ProjectOut,
    Sampling,
    Scale,
    ScoreItem,
    ScoreRequest,
    Set,
)
from patchclamp_service.engine.text import GrowingText, Text

from tests.service.engine import oracle
from tests.service.engine.conftest import Bench, make_bench
from tests.tiny import tiny_model, tiny_tokenizer

PROMPT = tuple(range(20, 40))
NO_END = Limits(running=64, batch_tokens=64, prefill_tokens=16)


def hooks(bench: Bench) -> int:
    modules = bench.model.module.modules()
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


def crowd(count: int) -> list[GenerateRequest]:
    edits = (Intervention("layers.1.residual", Scale(-3.0), (1, 2, 3)),)
    return [
        GenerateRequest(
            token_ids=PROMPT[k % 7 :], max_new_tokens=20, interventions=edits, sampling=Sampling(1.0, seed=k)
        )
        for k in range(count)
    ]


# --- sampling


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0, seed=7),
        Sampling(temperature=1.3, top_k=5, seed=7),
        Sampling(temperature=1.0, top_p=0.8, seed=8),
        Sampling(temperature=0.9, min_p=0.1, repetition_penalty=1.2, seed=9),
    ],
)
async def test_a_seed_gives_the_same_tokens_alone_and_in_a_crowd(bench_of, sampling: Sampling) -> None:
    bench = bench_of("llama", NO_END)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=24, sampling=sampling)
    alone = await bench.generate(request)
    again, *_ = await asyncio.gather(*(bench.generate(each) for each in (request, *crowd(12))))
    other = await bench.generate(replace(request, sampling=replace(sampling, seed=12345)))
    assert again.ids == alone.ids
    assert other.ids != alone.ids
    assert alone.completed.seed == sampling.seed


async def test_a_drawn_seed_is_told_and_repeats(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=16, sampling=Sampling(temperature=1.0))
    first = await bench.generate(request)
    again = await bench.generate(replace(request, sampling=Sampling(1.0, seed=first.completed.seed)))
    assert first.ids == again.ids


async def test_sampling_follows_the_distribution(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    logits = oracle.logits(bench.oracle, PROMPT)[-1]
    top = torch.topk(logits, 3)
    expected = torch.softmax(top.values / 0.7, -1)
    requests = [
        GenerateRequest(token_ids=PROMPT, max_new_tokens=1, sampling=Sampling(0.7, top_k=3, seed=seed))
        for seed in range(600)
    ]
    drawn = [(await task).ids[0] for task in [asyncio.ensure_future(bench.generate(each)) for each in requests]]
    shares = [drawn.count(int(token)) / len(drawn) for token in top.indices]
    assert shares == pytest.approx(expected.tolist(), abs=0.07)
    assert sum(shares) == pytest.approx(1)


async def test_a_repetition_penalty_changes_greedy_as_transformers_does(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=12, sampling=Sampling(repetition_penalty=1.7))
    got = await bench.generate(request)
    expected = bench.oracle.generate(
        torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, repetition_penalty=1.7, pad_token_id=3
    )
    assert got.ids == expected[0, len(PROMPT) :].tolist()


async def test_top_logprobs_are_the_best_of_the_model(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=1, top_logprobs=4))
    best = torch.topk(torch.log_softmax(oracle.logits(bench.oracle, PROMPT)[-1], -1), 4)
    (token,) = got.tokens
    assert [other.id for other in token.top] == best.indices.tolist()
    assert [other.logprob for other in token.top] == pytest.approx(best.values.tolist(), abs=1e-4)


# --- leaving, failing, hooks


async def test_fifty_streams_cut_in_the_middle_leave_the_engine_empty(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    edits = (Intervention("layers.0.neurons", Ablate(), (1,)),)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=200, interventions=edits)
    streams = [await bench.engine.submit(replace(request, stop=())) for _ in range(50)]
    for stream in streams:
        await anext(stream)
    for stream in streams:
        await stream.aclose()
    before = len(bench.steps.reports)
    await bench.settled()
    assert bench.engine.load().running_requests == bench.engine.load().queued_tokens == 0
    assert len(bench.steps.reports) <= before + 1
    assert hooks(bench) == 0


async def test_no_hook_is_left_after_success_and_after_an_error(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    edits = (
        Intervention(
            "layers.0.neurons",
            Set((3e38,)),
        ),
    )
    await bench.generate(
        GenerateRequest(token_ids=PROMPT, max_new_tokens=3, interventions=(Intervention("layers.0.neurons", Ablate()),))
    )
    with pytest.raises(InvalidRequest) as caught:
        await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=3, interventions=edits))
    assert caught.value.reason == "NOT_FINITE"
    assert caught.value.field == "interventions"
    await bench.settled()
    assert hooks(bench) == 0


async def test_a_forward_pass_that_fails_takes_only_its_requests_along() -> None:
    bench = make_bench(tiny_model("llama"), NO_END)

    def fail(*_: object) -> None:
        raise RuntimeError("a secret path")

    try:
        handle = bench.model.module.model.layers[1].register_forward_pre_hook(fail)
        with pytest.raises(EngineFailure):
            await bench.generate(
                GenerateRequest(token_ids=PROMPT, interventions=(Intervention("layers.0.mlp", Ablate()),))
            )
        handle.remove()
        await bench.settled()
        assert hooks(bench) == 0
        got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=5))
        assert got.ids == oracle.greedy(bench.oracle, PROMPT, len(got.ids))[0]
    finally:
        bench.engine.stop()


async def test_what_a_broken_neighbour_leaves_in_the_cache_reaches_nobody(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    broken = Intervention("layers.0.neurons", Set((3e38,)))
    for _ in range(3):
        requests = [
            GenerateRequest(token_ids=PROMPT * 4, max_new_tokens=3, interventions=(broken,)),
            GenerateRequest(token_ids=PROMPT, max_new_tokens=30),
            GenerateRequest(token_ids=PROMPT[:3], max_new_tokens=40),
            GenerateRequest(token_ids=PROMPT * 5, max_new_tokens=20),
        ]
        failed, *fine = await asyncio.gather(*(bench.generate(each) for each in requests), return_exceptions=True)
        assert isinstance(failed, InvalidRequest)
        for request, got in zip(requests[1:], fine, strict=True):
            assert not isinstance(got, BaseException)
            assert request.token_ids
            assert got.ids == oracle.greedy(bench.oracle, request.token_ids, len(got.ids))[0]


async def test_an_empty_plan_is_bit_equal_to_none_and_installs_nothing(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=10, top_logprobs=5)
    one, other = await bench.generate(request), await bench.generate(replace(request, interventions=()))
    assert [token.top for token in one.tokens] == [token.top for token in other.tokens]
    assert one.completed.receipt.digest == ""
    assert hooks(bench) == 0


async def test_edits_that_change_nothing_give_the_same_logits(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    request = GenerateRequest(token_ids=PROMPT, max_new_tokens=10, top_logprobs=5)
    neutral = tuple(Intervention(site, Scale(1.0), (1, 2)) for site in ("layers.0.neurons", "layers.2.residual"))
    one, other = await bench.generate(request), await bench.generate(replace(request, interventions=neutral))
    assert [token.top for token in one.tokens] == [token.top for token in other.tokens]


async def test_draining_lets_the_running_finish_and_refuses_the_rest() -> None:
    bench = make_bench(tiny_model("llama"), NO_END)
    stream = await bench.engine.submit(GenerateRequest(token_ids=PROMPT, max_new_tokens=60))
    await anext(stream)
    drain = asyncio.create_task(bench.engine.drain(30))
    await asyncio.sleep(0)
    with pytest.raises(NotReady) as caught:
        await bench.engine.submit(GenerateRequest(token_ids=PROMPT))
    assert caught.value.retry_after
    events = [event async for event in stream]
    assert events[-1].reason in FinishReason
    await drain


async def test_a_full_queue_says_no_at_once() -> None:
    bench = make_bench(tiny_model("llama"), replace(NO_END, queued_tokens=100))
    try:
        async with await bench.engine.submit(GenerateRequest(token_ids=PROMPT, max_new_tokens=60)):
            with pytest.raises(Exhausted) as caught:
                await bench.engine.submit(GenerateRequest(token_ids=PROMPT, max_new_tokens=60))
        assert caught.value.quota == "queued_tokens"
        assert caught.value.retry_after
    finally:
        bench.engine.stop()


async def test_a_slow_reader_makes_its_extraction_wait() -> None:
    bench = make_bench(tiny_model("bert"), Limits(batch_tokens=16, buffered_bytes=2000))
    try:
        sentences = tuple(f"the cat sat on mat {k}" for k in range(200))
        stream = await bench.engine.submit(ExtractRequest(sentences, ("layers.*.residual",)))
        first = await anext(stream)
        await bench.settled()
        assert len(bench.steps.reports) < 100
        rest = [event async for event in stream]
        assert [event.sentence for event in (first, *rest)] == list(range(200))
    finally:
        bench.engine.stop()


# --- captures


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
async def test_captures_of_prompt_and_generated_tokens_equal_the_oracle(bench_of, dtype: str) -> None:
    bench = bench_of("llama", replace(NO_END, batch_tokens=8))
    site = bench.sites.sites["layers.1.residual"]
    edits = (Intervention(site.name, Add((2.0,)), (3,)),)
    request = GenerateRequest(
        token_ids=PROMPT, max_new_tokens=6, interventions=edits, capture=Capture((site.name,), True, True, dtype)
    )
    got = await bench.generate(request)
    captured: dict[str, torch.Tensor] = {}
    with oracle.edited([oracle.OracleEdit(site, [3], lambda x: x + 2)], captured, [site]):
        bench.oracle(input_ids=torch.tensor([[*PROMPT, *got.ids]]))

    def numbers(array: np.ndarray) -> np.ndarray:
        if dtype == "bfloat16":
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32)

    loose = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 5e-2}[dtype]
    expected = captured[site.name].numpy()
    np.testing.assert_allclose(
        numbers(got.completed.captured_prompt[site.name]), expected[: len(PROMPT)], atol=loose, rtol=loose
    )
    rows = np.concatenate([numbers(token.captured[site.name]) for token in got.tokens])
    start = len(PROMPT) - 1
    np.testing.assert_allclose(rows, expected[start : start + len(rows)], atol=loose, rtol=loose)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
async def test_what_float16_cannot_hold_is_refused_and_not_infinite(bench_of, dtype: str) -> None:
    bench = bench_of("llama", replace(NO_END, batch_tokens=16))
    site = "layers.0.residual"
    large = (Intervention(site, Set((1e6,)), (3,), Positions(indices=(-1,))),)
    extract = ExtractRequest(("the nurse said " * 5,) * 20, ("embeddings", site), None, dtype, large)
    capture = Capture((site,), prompt=True, dtype=dtype)
    generate = GenerateRequest(token_ids=PROMPT, max_new_tokens=3, interventions=large, capture=capture)
    for request, field in ((extract, "dtype"), (generate, "capture.dtype")):
        if dtype == "bfloat16":
            assert await bench.events(request)
            continue
        with pytest.raises(
            InvalidRequest, match=f"{site} has values up to 1e[+]06, and float16 ends at 65504"
        ) as caught:
            await bench.events(request)
        assert (caught.value.reason, caught.value.field) == ("NOT_FINITE", field)
        await bench.settled()
        assert bench.engine.load().queued_tokens == 0


async def test_a_patch_sets_what_the_neurons_are_on_another_text(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    site = bench.sites.sites["layers.1.neurons"]
    source = "the doctor said that he"
    ids = bench.model.tokenizer.backend_tokenizer.encode(source).ids
    captured: dict[str, torch.Tensor] = {}
    with oracle.edited([], captured, [site]):
        bench.oracle(input_ids=torch.tensor([ids]))
    values = captured[site.name][-2, [4, 2]]
    edit = Intervention(site.name, Patch(source, -2), (4, 2), Positions(indices=(-1,)))
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=6, interventions=(edit,)))
    where = len(PROMPT) - 1
    change = oracle.OracleEdit(site, [4, 2], lambda x: values, lambda place: place == where)
    ids, logprobs = oracle.greedy(bench.oracle, PROMPT, 6, [change])
    assert got.ids == ids[: len(got.ids)]
    assert [token.logprob for token in got.tokens] == pytest.approx(logprobs[: len(got.ids)], abs=1e-4)


# --- words


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("pooling", [Pooling.FIRST, Pooling.LAST, Pooling.AVERAGE, None])
async def test_words_are_pooled_by_character_offsets(bench_of, name: str, pooling: Pooling | None) -> None:
    bench = bench_of(name, NO_END)
    words = ("The", "unbelievable-nurse", "said", "so")
    site = "layers.2.residual"
    (got,) = await bench.events(ExtractRequest((words,), (site,), pooling))
    text = " ".join(words)
    encoding = bench.model.tokenizer.backend_tokenizer.encode(text)
    captured: dict[str, torch.Tensor] = {}
    with oracle.edited([], captured, [bench.sites.sites[site]]):
        bench.oracle(input_ids=torch.tensor([encoding.ids]))
    start = 0
    for row, word in zip(got.captured[site], words, strict=True):
        end = start + len(word)
        own = [
            k
            for k, (a, b) in enumerate(encoding.offsets)
            if a < end and b > start and b > a and not encoding.special_tokens_mask[k]
        ]
        rows = captured[site][own]
        expected = {Pooling.FIRST: rows[0], Pooling.LAST: rows[-1]}.get(pooling or Pooling.AVERAGE, rows.mean(0))
        np.testing.assert_allclose(row, expected, atol=1e-4)
        start = end + 1
    assert got.tokens == words


# --- text


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=2))
def test_growing_text_is_the_whole_text_up_to_a_stop(text: str, stop: list[str]) -> None:
    tokenizer = tiny_tokenizer().backend_tokenizer
    ids = tokenizer.encode(text).ids
    growing = GrowingText(tokenizer, stop)
    parts = []
    for token in ids:
        parts.append(growing.push(token))
        if growing.stopped:
            break
    parts.append(growing.finish())
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    places = [whole.find(each) for each in stop if each in whole]
    got = "".join(parts)
    assert got == (whole[: min(places)] if places else whole)
    for part in parts[:-1]:
        part.encode()


async def test_a_stop_string_over_token_boundaries_ends_the_text(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    whole = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=40))
    middle = len(whole.text) // 2
    stop = whole.text[middle : middle + 4]
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=40, stop=(stop,)))
    assert got.text == whole.text[: whole.text.find(stop)]
    assert got.completed.reason is FinishReason.STOP_SEQUENCE
    assert got.completed.generated_tokens == len(got.ids) < len(whole.ids)


def test_words_of_any_kind_keep_one_row_each() -> None:
    text = Text(tiny_tokenizer(), 400)
    words = ["naïve", "e\u0301te\u0301", "👩‍👩‍👧", "日本語", "שלום", "[SEP]", "a\u00a0b", "x" * 10_000]
    tokens = text.words(words)
    assert len(tokens.rows) == len(words) == len(tokens.names)
    joined = " ".join(words)
    encoding = text._literal.encode(joined)
    for word, row in zip(words, tokens.rows, strict=True):
        assert row, word
        covered = "".join(joined[slice(*encoding.offsets[place])] for place in row)
        assert set(word) <= set(covered)


# --- refusals

SITE = "layers.1.neurons"


def generate(**options: object) -> GenerateRequest:
    return GenerateRequest(**{"token_ids": PROMPT, "max_new_tokens": 4} | options)  # type: ignore[arg-type]


def edits(*interventions: Intervention) -> GenerateRequest:
    return generate(interventions=interventions)


BAD: dict[str, tuple[object, str, str]] = {
    "unknown site": (edits(Intervention("layers.1.neuron", Ablate())), "interventions[0].neurons.site", "UNKNOWN_SITE"),
    "layer too high": (edits(Intervention("layers.9.mlp", Ablate())), "interventions[0].neurons.site", "UNKNOWN_SITE"),
    "index": (
        edits(Intervention(SITE, Ablate(), (1, 48))),
        "interventions[0].neurons.indices[1]",
        "INDEX_OUT_OF_RANGE",
    ),
    "index twice": (
        edits(Intervention(SITE, Ablate(), (1, 1))),
        "interventions[0].neurons.indices[1]",
        "DUPLICATE_INDEX",
    ),
    "values": (edits(Intervention(SITE, Set((1.0, 2.0)), (1, 2, 3))), "interventions[0].set.values", "WRONG_LENGTH"),
    "nan": (edits(Intervention(SITE, Add((float("nan"),)), (1,))), "interventions[0].add.values[0]", "NOT_FINITE"),
    "overflow": (edits(Intervention(SITE, Scale(1e39), (1,))), "interventions[0].scale.factor", "NOT_FINITE"),
    "interval": (edits(Intervention(SITE, Clip(2.0, 1.0), (1,))), "interventions[0].clip", "EMPTY_INTERVAL"),
    "direction length": (
        edits(Intervention(SITE, ProjectOut(np.ones(3, np.float32)))),
        "interventions[0].project_out.direction",
        "WRONG_SHAPE",
    ),
    "zero direction": (
        edits(Intervention(SITE, ProjectOut(np.zeros(48, np.float32)))),
        "interventions[0].project_out.direction",
        "ZERO_DIRECTION",
    ),
    "direction with indices": (
        edits(Intervention(SITE, ProjectOut(np.ones(48, np.float32)), (1,))),
        "interventions[0].neurons.indices",
        "INDICES_WITH_DIRECTION",
    ),
    "late condition": (
        edits(Intervention(SITE, Ablate(), (1,), condition=Condition("layers.2.residual", 0, above=1.0))),
        "interventions[0].condition.neurons.site",
        "CONDITION_TOO_LATE",
    ),
    "condition index": (
        edits(Intervention(SITE, Ablate(), (1,), condition=Condition(SITE, 48, above=1.0))),
        "interventions[0].condition.neurons.indices[0]",
        "INDEX_OUT_OF_RANGE",
    ),
    "position": (
        edits(Intervention(SITE, Ablate(), (1,), Positions(indices=(0, 20)))),
        "interventions[0].positions.indices[1]",
        "POSITION_OUT_OF_RANGE",
    ),
    "token": (
        edits(Intervention(SITE, Ablate(), (1,), Positions(tokens=("no such token",)))),
        "interventions[0].positions.tokens[0]",
        "UNKNOWN_TOKEN",
    ),
    "never generated": (
        generate(max_new_tokens=1, interventions=(Intervention(SITE, Ablate(), (1,), Positions(generated=True)),)),
        "interventions[0].positions",
        "SELECTS_NOTHING",
    ),
    "two sets": (
        edits(Intervention(SITE, Set((1.0,)), (1, 2)), Intervention(SITE, Set((2.0,)), (2, 3), Positions(prompt=True))),
        "interventions[1].set",
        "CONFLICTING_SETS",
    ),
    "patch position": (
        edits(Intervention(SITE, Patch("a b", 99), (1,))),
        "interventions[0].patch.source_position",
        "POSITION_OUT_OF_RANGE",
    ),
    "token id": (generate(token_ids=(1, 10_000)), "token_ids.ids[1]", "TOKEN_OUT_OF_RANGE"),
    "empty prompt": (generate(token_ids=None, prompt=""), "prompt", "EMPTY_PROMPT"),
    "long prompt": (generate(token_ids=(5,) * 256), "token_ids", "PROMPT_TOO_LONG"),
    "too many new": (generate(max_new_tokens=250), "max_new_tokens", "LIMIT_EXCEEDED"),
    "stops": (generate(stop=("a",) * 17), "stop", "LIMIT_EXCEEDED"),
    "top": (generate(top_logprobs=21), "top_logprobs", "LIMIT_EXCEEDED"),
    "top_p": (generate(sampling=Sampling(top_p=0.0)), "sampling.top_p", "BAD_SAMPLING"),
    "temperature": (generate(sampling=Sampling(temperature=float("nan"))), "sampling.temperature", "BAD_SAMPLING"),
    "capture nothing": (generate(capture=Capture(("embeddings",))), "capture", "EMPTY_CAPTURE"),
    "capture site": (generate(capture=Capture(("embeddings", "x"), True)), "capture.sites[1]", "UNKNOWN_SITE"),
    "many interventions": (
        edits(*[Intervention(SITE, Scale(1.0), (1,))] * 1025),
        "interventions",
        "LIMIT_EXCEEDED",
    ),
    "empty continuation": (ScoreRequest((ScoreItem("a", ""),)), "items[0].continuation", "EMPTY_CONTINUATION"),
    "blank word": (ExtractRequest((("a", " "),), ("embeddings",)), "sentences[0].words.words[1]", "EMPTY_WORD"),
    "generated in extract": (
        ExtractRequest(
            ("a",), ("embeddings",), interventions=(Intervention(SITE, Ablate(), (1,), Positions(generated=True)),)
        ),
        "interventions[0].positions",
        "SELECTS_NOTHING",
    ),
    "extract site": (ExtractRequest(("a",), ("layers.*.nothing",)), "sites[0]", "UNKNOWN_SITE"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_requests_name_their_field_and_cost_nothing(bench_of, case: str) -> None:
    bench = bench_of("llama", NO_END)
    request, field, reason = BAD[case]
    with pytest.raises(PatchclampError) as caught:
        await bench.engine.submit(request)
    assert (caught.value.field, caught.value.reason) == (field, reason)
    assert bench.engine.load().queued_tokens == 0


async def test_an_encoder_neither_generates_nor_scores(bench_of) -> None:
    bench = bench_of("bert", NO_END)
    for request in (GenerateRequest(prompt="a"), ScoreRequest((ScoreItem("a", "b"),))):
        with pytest.raises(Unsupported):
            await bench.engine.submit(request)


@pytest.mark.parametrize("patch", [Positions(), Positions(prompt=True), Positions(tokens=(" the",))])
async def test_two_sets_with_different_gates_are_allowed(bench_of, patch: Positions) -> None:
    bench = bench_of("llama", NO_END)
    gates = (Condition(SITE, 5, above=0.0), Condition(SITE, 5, below=0.0))
    both = tuple(Intervention(SITE, Set((float(k),)), (1,), condition=gate) for k, gate in enumerate(gates))
    got = await bench.generate(edits(*both))
    fired = sum(edit.gate_firings for edit in got.completed.receipt.edits)
    assert fired == len(PROMPT) + len(got.ids) - 1


@pytest.mark.parametrize("name", ["mlp.down_proj.input", "mlp.output", "self_attn.o_proj.input"])
async def test_a_module_that_is_a_site_is_the_same_place(bench_of, name: str) -> None:
    bench = bench_of("llama", NO_END)
    alias = f"module:model.layers.1.{name}"
    site = bench.sites.find(alias, "").name
    gate = Condition(alias, 3, above=-100.0)
    one, other = [
        await bench.generate(edits(Intervention(place, Scale(-2.0), (1, 2), condition=gate))) for place in (alias, site)
    ]
    assert one.ids == other.ids
    assert one.completed.receipt == other.completed.receipt
    patched = await bench.generate(edits(Intervention(alias, Patch("a b", 0), (1,))))
    assert patched.completed.receipt.edits[0].positions_edited


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=1e-38, seed=1), Sampling(temperature=1e-6, top_p=0.5, seed=1)]
)
async def test_next_to_no_temperature_is_greedy(bench_of, sampling: Sampling) -> None:
    bench = bench_of("llama", NO_END)
    greedy, cold = [
        await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=8, sampling=each))
        for each in (Sampling(), sampling)
    ]
    assert cold.ids == greedy.ids


async def test_positions_that_cost_too_much_to_work_out_are_refused(bench_of) -> None:
    bench = bench_of("llama", NO_END)
    many = tuple(
        Intervention(SITE, Scale(1.0), (k % 48,), Positions(prompt=True, tokens=(" the",))) for k in range(1000)
    )
    request = ScoreRequest(tuple(ScoreItem("the nurse said that " * 8, " she") for _ in range(1000)), many)
    with pytest.raises(InvalidRequest) as caught:
        await bench.engine.submit(request)
    assert caught.value.reason == "LIMIT_EXCEEDED"


@pytest.mark.parametrize("pooling", [Pooling.FIRST, Pooling.LAST, Pooling.AVERAGE])
def test_a_word_without_a_token_has_no_number(pooling: Pooling) -> None:
    rows = pooled(torch.arange(6.0).view(3, 2), ((0,), (), (1, 2)), pooling)
    assert torch.isnan(rows).all(1).tolist() == [False, True, False]
