"""Background extractions: the same values, and they give way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.pace import Pace
from patchclamp_service.engine.requests import (
    ExtractRequest,
    GenerateRequest,
    Limits,
    SentenceActivations,
    StepReport,
)
from patchclamp_service.engine.sites import build_site_map

from tests.service.engine.conftest import Steps
from tests.tiny import tiny_model

SENTENCES = tuple(f"a sentence of some words {number}" for number in range(40))
SITES = ("layers.*.residual",)


@pytest.fixture
def polite() -> Iterator[tuple[Engine, Steps]]:
    """An engine whose background work runs only while nobody else is there."""
    model, steps = tiny_model("llama"), Steps()
    limits = Limits(batch_tokens=64, prefill_tokens=16)
    engine = Engine(model, build_site_map(model), limits, steps, Pace(0.0))
    engine.start()
    yield engine, steps
    engine.stop()


async def extracted(engine: Engine, request: ExtractRequest) -> list[SentenceActivations]:
    return [event async for event in await engine.submit(request) if isinstance(event, SentenceActivations)]


async def test_the_values_are_those_of_the_foreground(polite: tuple[Engine, Steps]) -> None:
    engine, _ = polite
    ahead = await extracted(engine, ExtractRequest(SENTENCES, SITES))
    behind = await extracted(engine, ExtractRequest(SENTENCES, SITES, background=True))
    for left, right in zip(ahead, behind, strict=True):
        for site, values in left.captured.items():
            np.testing.assert_allclose(np.asarray(right.captured[site], float), np.asarray(values, float), atol=1e-5)


async def test_it_waits_until_a_generation_is_through(polite: tuple[Engine, Steps]) -> None:
    engine, steps = polite
    generation = await engine.submit(GenerateRequest(token_ids=tuple(range(20, 40)), max_new_tokens=60))
    await anext(generation)
    extraction = asyncio.create_task(extracted(engine, ExtractRequest(SENTENCES, SITES, background=True)))
    async for _ in generation:
        pass
    assert len(await extraction) == len(SENTENCES)
    decoding = [number for number, report in enumerate(steps.reports) if report.decode_rows]
    reading = [number for number, report in enumerate(steps.reports) if not report.decode_rows]
    assert decoding[-1] < reading[1], "the passes after the prompt's are the extraction's"


async def test_it_goes_on_when_others_wait_for_the_room_it_holds() -> None:
    model = tiny_model("llama")
    limits = Limits(batch_tokens=8, prefill_tokens=8, cache_tokens=512, context_tokens=256)
    pace, steps = Pace(0.0), Steps()
    engine = Engine(model, build_site_map(model), limits, steps, pace)
    engine.start()
    try:
        long = ExtractRequest((" ".join(["word"] * 60),), SITES, background=True)
        extraction = asyncio.create_task(extracted(engine, long))
        while not steps.reports:
            await asyncio.sleep(0)
        tokens = [event async for event in await engine.submit(GenerateRequest(token_ids=(5, 6), max_new_tokens=4))]
        assert len(tokens) >= 2
        assert len(await extraction) == 1
    finally:
        engine.stop()


async def test_a_share_lets_both_go_on() -> None:
    model, order = tiny_model("llama"), []

    class Order(Steps):
        def on_step(self, report: StepReport) -> None:
            order.append(bool(report.decode_rows))

    engine = Engine(model, build_site_map(model), Limits(), Order(), Pace(1.0))
    engine.start()
    try:
        generation = await engine.submit(GenerateRequest(token_ids=tuple(range(20, 40)), max_new_tokens=200))
        await anext(generation)
        extraction = asyncio.create_task(extracted(engine, ExtractRequest(SENTENCES, SITES, background=True)))
        async for _ in generation:
            pass
        await extraction
        assert False in order[1 : len(order) - order[::-1].index(True)], "some of it ran between the tokens"
    finally:
        engine.stop()
