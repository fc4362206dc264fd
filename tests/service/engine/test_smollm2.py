"""The real model: ablating neurons is zeroing columns of the down projection, alone and in a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.requests import (
    Ablate,
    GenerateRequest,
    Intervention,
    Limits,
    Positions,
    Sampling,
    Scale,
    ScoreItem,
    ScoreRequest,
)

from tests.service.engine import oracle
from tests.service.engine.conftest import Bench, make_bench
from tests.tiny import CACHE

PROMPT = "The nurse said that"
NEURONS = {3: (5, 100, 1535), 17: tuple(range(0, 1536, 4)), 29: (7,)}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    model = load_model(ModelSpec.parse("smollm2-135m"), cache=CACHE)
    made = make_bench(model, Limits())
    yield made
    made.engine.stop()


def ablations(positions: Positions = Positions()) -> tuple[Intervention, ...]:  # noqa: B008
    return tuple(
        Intervention(f"layers.{layer}.neurons", Ablate(), neurons, positions) for layer, neurons in NEURONS.items()
    )


def violence(seed: int) -> tuple[Intervention, ...]:
    random = np.random.default_rng(seed)
    return tuple(
        Intervention(
            f"layers.{layer}.neurons", Scale(-3.0), tuple(int(k) for k in random.choice(1536, 40, replace=False))
        )
        for layer in random.choice(30, 4, replace=False)
    )


async def test_ablating_is_zeroing_columns_alone_and_beside_fifteen_others(bench: Bench) -> None:
    ids = bench.model.tokenizer(PROMPT)["input_ids"]
    request = GenerateRequest(prompt=PROMPT, max_new_tokens=24, interventions=ablations(), top_logprobs=5)
    crowd = [
        GenerateRequest(
            prompt="Once upon a time" + " there" * k,
            max_new_tokens=8 + k,
            interventions=violence(k),
            sampling=Sampling(temperature=1.0, seed=k),
        )
        for k in range(15)
    ]
    alone = await bench.generate(request)
    got, *_ = await asyncio.gather(*(bench.generate(each) for each in (request, *crowd)))
    weights = {layer: bench.oracle.model.layers[layer].mlp.down_proj.weight for layer in NEURONS}
    kept = {layer: weight.detach().clone() for layer, weight in weights.items()}
    try:
        for layer, neurons in NEURONS.items():
            weights[layer].data[:, list(neurons)] = 0
        expected = bench.oracle.generate(  # type: ignore[operator]
            torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=2
        )
        logits = oracle.logits(bench.oracle, expected[0, :-1].tolist())[len(ids) - 1 :]
    finally:
        for layer, weight in weights.items():
            weight.data.copy_(kept[layer])
    assert got.ids == alone.ids == expected[0, len(ids) :].tolist()
    logprobs = torch.log_softmax(logits, -1)
    for row, token in enumerate(got.tokens):
        for other in token.top:
            assert other.logprob == pytest.approx(float(logprobs[row, other.id]), abs=1e-4)


@pytest.mark.parametrize("where", ["prompt", "generated"])
async def test_prompt_only_and_generated_only_equal_hand_written_hooks(bench: Bench, where: str) -> None:
    ids = bench.model.tokenizer(PROMPT)["input_ids"]
    positions = Positions(prompt=where == "prompt", generated=where == "generated")
    interventions = tuple(
        Intervention(edit.site, Scale(-2.0), edit.indices, positions) for edit in ablations(positions)
    )
    got = await bench.generate(GenerateRequest(prompt=PROMPT, max_new_tokens=12, interventions=interventions))
    edits = [
        oracle.OracleEdit(
            bench.sites.sites[f"layers.{layer}.neurons"],
            neurons,
            lambda x: -2 * x,
            lambda place: (place < len(ids)) == (where == "prompt"),
        )
        for layer, neurons in NEURONS.items()
    ]
    expected, logprobs = oracle.greedy(bench.oracle, ids, 12, edits)
    assert got.ids == expected
    assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)


async def test_a_score_is_the_log_probability_of_the_continuation(bench: Bench) -> None:
    items = ((PROMPT, " she"), (PROMPT, " he was late"), ("Water boils at", " 100 degrees"))
    (result,) = await bench.events(ScoreRequest(tuple(ScoreItem(*item) for item in items)))
    for (prompt, continuation), score in zip(items, result.scores, strict=True):
        ids = bench.model.tokenizer(prompt + continuation)["input_ids"]
        logprobs = torch.log_softmax(oracle.logits(bench.oracle, ids), -1)
        start = len(ids) - len(score.token_ids)
        expected = [float(logprobs[k - 1, ids[k]]) for k in range(start, len(ids))]
        assert score.token_logprobs == pytest.approx(expected, abs=1e-4)
