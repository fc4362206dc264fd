"""Engines on tiny models, each beside an untouched copy of its model."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.model import LoadedModel
from patchclamp_service.engine.requests import (
    Completed,
    Event,
    GenerateRequest,
    Limits,
    Observer,
    Request,
    StepReport,
    Token,
)
from patchclamp_service.engine.site_map import SiteMap
from patchclamp_service.engine.sites import build_site_map
from transformers import PreTrainedModel

from tests.tiny import tiny_model


@dataclass
class Generated:
    """What a generation gave."""

    tokens: list[Token]
    completed: Completed

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)


@dataclass
class Steps(Observer):
    """Remembers every pass."""

    reports: list[StepReport] = field(default_factory=list)

    def on_step(self, report: StepReport) -> None:
        self.reports.append(report)


@dataclass
class Bench:
    """An engine, its model, and the oracle: the same model untouched, with a site map of its own."""

    engine: Engine
    model: LoadedModel
    oracle: PreTrainedModel
    sites: SiteMap
    steps: Steps

    async def events(self, request: Request) -> list[Event]:
        return [event async for event in await self.engine.submit(request)]

    async def generate(self, request: GenerateRequest) -> Generated:
        *tokens, completed = await self.events(request)
        assert isinstance(completed, Completed)
        return Generated([token for token in tokens if isinstance(token, Token)], completed)

    async def settled(self) -> None:
        """Waits until the engine's thread has done everything that was posted to it, and a step more."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        post = self.engine._post

        def tell() -> None:
            loop.call_soon_threadsafe(done.set)

        post(lambda: post(tell))
        await done.wait()


def make_bench(model: LoadedModel, limits: Limits) -> Bench:
    oracle = copy.deepcopy(model.module)
    sites = build_site_map(replace(model, module=oracle))
    steps = Steps()
    engine = Engine(model, build_site_map(model), limits, steps)
    engine.start()
    return Bench(engine, model, oracle, sites, steps)


@pytest.fixture(scope="module")
def benches() -> Iterator[dict[tuple[str, Limits], Bench]]:
    made: dict[tuple[str, Limits], Bench] = {}
    yield made
    for bench in made.values():
        bench.engine.stop()


@pytest.fixture
def bench_of(benches: dict[tuple[str, Limits], Bench]):
    """Makes, or finds, the bench of a family."""

    def find(name: str, limits: Limits = Limits()) -> Bench:  # noqa: B008
        if (name, limits) not in benches:
            benches[name, limits] = make_bench(tiny_model(name), limits)
        return benches[name, limits]

    return find
