"""Every decoder family, packed or padded, equals plain transformers with hooks written by hand."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from patchclamp_service.engine.requests import (
    Ablate,
    Add,
    Condition,
    ExtractRequest,
    GenerateRequest,
    Intervention,
    Limits,
    Positions,
    Scale,
    ScoreItem,
    ScoreRequest,
)

from tests.service.engine import oracle
from tests.tiny import DECODERS, ENCODERS, MIXTURES

PADDED = {name for name in DECODERS if name.split("-")[0] in {"gptj", "bloom", "falcon"}}
"""Their attention is their own: it does not go through transformers' interface."""

SMALL = Limits(batch_tokens=24, prefill_tokens=6, running=8)
"""So small that prompts are cut into chunks."""

PROMPT = tuple(range(20, 51))


def violent(bench, seed: int) -> tuple[Intervention, ...]:
    random = np.random.default_rng(seed)
    sites = [site for site in bench.sites.sites if site.endswith(("residual", "neurons", "mlp"))]
    return tuple(
        Intervention(site, Scale(-3.0), tuple(int(k) for k in random.choice(16, 5, replace=False)))
        for site in random.choice(sites, 3, replace=False)
    )


@pytest.mark.parametrize("name", [*DECODERS, *MIXTURES])
async def test_greedy_tokens_and_logprobs_equal_the_oracle(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    assert bench.engine.info.packed == (name not in PADDED)
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=12))
    ids, logprobs = oracle.greedy(bench.oracle, PROMPT, len(got.ids))
    assert got.ids == ids
    assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("name", DECODERS)
async def test_an_ablation_is_its_own_beside_violent_neighbours(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    site = bench.sites.sites["layers.1.neurons"]
    edits = [oracle.OracleEdit(site, [3, 17, 40], torch.zeros_like)]
    request = GenerateRequest(
        token_ids=PROMPT, max_new_tokens=12, interventions=(Intervention(site.name, Ablate(), (3, 17, 40)),)
    )
    crowd = [
        GenerateRequest(token_ids=PROMPT[k:], max_new_tokens=4 + k, interventions=violent(bench, k)) for k in range(15)
    ]
    alone = await bench.generate(request)
    got, *_ = await asyncio.gather(*(bench.generate(each) for each in (request, *crowd)))
    ids, logprobs = oracle.greedy(bench.oracle, PROMPT, len(got.ids), edits)
    assert got.ids == alone.ids == ids
    assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("positions", [Positions(prompt=True), Positions(generated=True), Positions(indices=(2, -1))])
async def test_positions_equal_the_oracle(bench_of, name: str, positions: Positions) -> None:
    bench = bench_of(name, SMALL)
    places = {2, len(PROMPT) - 1}

    def where(place: int) -> bool:
        prompt = place < len(PROMPT)
        return (
            (positions.prompt and prompt)
            or (positions.generated and not prompt)
            or (bool(positions.indices) and place in places)
        )

    site = bench.sites.sites["layers.0.residual"]
    edits = [oracle.OracleEdit(site, [1, 5], lambda x: x * -4 + 1, where)]
    interventions = tuple(
        Intervention(site.name, edit, (1, 5), positions=positions) for edit in (Scale(-4.0), Add((1.0,)))
    )
    got = await bench.generate(GenerateRequest(token_ids=PROMPT, max_new_tokens=10, interventions=interventions))
    ids, logprobs = oracle.greedy(bench.oracle, PROMPT, len(got.ids), edits)
    assert got.ids == ids
    assert [token.logprob for token in got.tokens] == pytest.approx(logprobs, abs=1e-4)
    prompt_edits = len(PROMPT) if positions.prompt else len(positions.indices)
    expected = len(got.ids) - 1 if positions.generated else prompt_edits
    assert [edit.positions_edited for edit in got.completed.receipt.edits] == [expected] * 2


@pytest.mark.parametrize("name", DECODERS)
async def test_scores_equal_the_oracle_with_and_without_edits(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    items = [
        ("one two three four", " five six"),
        ("one two three four", " seven"),
        ("a b c " * 20, " d e f"),
        ("x", "y"),
    ]
    site = bench.sites.sites["layers.1.mlp"]
    edit = Intervention(site.name, Scale(-2.0), (4, 5))
    for interventions, edits in (
        ((), []),
        ((edit,), [oracle.OracleEdit(site, [4, 5], lambda x: -2 * x)]),
    ):
        (result,) = await bench.events(ScoreRequest(tuple(ScoreItem(*item) for item in items), interventions))
        for (prompt, _), score in zip(items, result.scores, strict=True):
            ids = bench.model.tokenizer.backend_tokenizer.encode(prompt).ids + list(score.token_ids)
            all_logits = torch.log_softmax(oracle.logits(bench.oracle, ids, edits), -1)
            start = len(ids) - len(score.token_ids)
            expected = [float(all_logits[k - 1, ids[k]]) for k in range(start, len(ids))]
            assert score.token_logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", [*DECODERS, *ENCODERS, *MIXTURES])
async def test_activations_equal_the_oracle(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    texts = ["one two three", "a", "the cat sat on the mat and " * 6, "one two four"]
    sites = list(bench.sites.sites.values())
    edited = bench.sites.sites["layers.0.residual"]
    edits = [oracle.OracleEdit(edited, [0, 7], lambda x: x + 2)]
    request = ExtractRequest(
        tuple(texts),
        tuple(site.name for site in sites),
        interventions=(Intervention(edited.name, Add((2.0,)), (0, 7)),),
        include_special_tokens=True,
    )
    got = await bench.events(request)
    assert [event.sentence for event in got] == [0, 1, 2, 3]
    for text, event in zip(texts, got, strict=True):
        ids = bench.model.tokenizer.backend_tokenizer.encode(text).ids
        captured: dict[str, torch.Tensor] = {}
        with oracle.edited(edits, captured, sites):
            bench.oracle(input_ids=torch.tensor([ids]))
        for site in sites:
            assert event.captured[site.name].shape == (len(ids), site.width)
            np.testing.assert_allclose(event.captured[site.name], captured[site.name], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gptj", "gemma3", "bert"])
async def test_a_condition_gates_position_by_position(bench_of, name: str) -> None:
    bench = bench_of(name, SMALL)
    text = "the cat sat on the mat"
    gate, site = bench.sites.sites["layers.0.residual"], bench.sites.sites["layers.1.residual"]
    ids = bench.model.tokenizer.backend_tokenizer.encode(text).ids
    before: dict[str, torch.Tensor] = {}
    with oracle.edited([], before, [gate, site]):
        bench.oracle(input_ids=torch.tensor([ids]))
    bound = float(before[gate.name][:, 3].median())
    fires = before[gate.name][:, 3] > bound
    request = ExtractRequest(
        (text,),
        (site.name,),
        interventions=(Intervention(site.name, Add((5.0,)), (2,), condition=Condition(gate.name, 3, above=bound)),),
        include_special_tokens=True,
    )
    (event,) = await bench.events(request)
    expected = before[site.name].clone()
    expected[fires, 2] += 5
    np.testing.assert_allclose(event.captured[site.name], expected, atol=2e-4)
    (edit,) = event.receipt.edits
    assert edit.gate_firings == edit.positions_edited == int(fires.sum())
