"""What gRPC costs: the same engine in this process and behind a server."""

from __future__ import annotations

import asyncio

from patchclamp import AsyncClient
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.requests import ExtractRequest, GenerateRequest
from patchclamp_service.engine.sites import build_site_map

from tests.bench.extract import sentences
from tests.bench.generate import Job, jobs
from tests.bench.harness import console, median_ratio, model, rounds, server

__all__ = ["run"]

USERS, NEW = 16, 48


async def _generate(client: AsyncClient, work: list[Job]) -> int:
    async def user(job: Job) -> int:
        tokens = 0
        async for _ in client.generate(token_ids=job.ids[:16], max_new_tokens=NEW):
            tokens += 1
        return tokens

    return sum(await asyncio.gather(*map(user, work)))


async def _generate_here(engine: Engine, work: list[Job]) -> int:
    async def user(job: Job) -> int:
        events = [
            event async for event in await engine.submit(GenerateRequest(token_ids=job.ids[:16], max_new_tokens=NEW))
        ]
        return len(events) - 1

    return sum(await asyncio.gather(*map(user, work)))


async def _measure(address: str, engines: dict[str, Engine], count: int) -> None:
    work, texts = jobs(USERS), sentences(400)
    sites = ("embeddings", "layers.*.residual")
    async with AsyncClient(address) as client:

        async def extract() -> int:
            return len([None async for _ in client.extract(texts, sites, model="models/minilm-l6")])

        async def extract_here() -> int:
            stream = await engines["minilm-l6"].submit(ExtractRequest(tuple(texts), sites))
            return len([None async for _ in stream])

        async def generate() -> int:
            return await _generate(client, work)

        async def generate_here() -> int:
            return await _generate_here(engines["smollm2-135m"], work)

        for what, ways in (
            ("generation, 16 users", {"grpc": generate, "here": generate_here}),
            ("extraction, MiniLM  ", {"grpc": extract, "here": extract_here}),
        ):
            for way in ways.values():
                await way()
            console.print(f"  {what}   {median_ratio(await rounds(ways, count), 'grpc', 'here'):5.3f} of in-process")


def run(count: int = 5) -> None:
    """Prints how fast the service is against the engine in process."""
    console.print("[bold]gRPC against in-process[/]")
    engines = {}
    for name in ("smollm2-135m", "minilm-l6"):
        loaded = model(name)
        engines[name] = Engine(loaded, build_site_map(loaded))
        engines[name].start()
    try:
        with server("smollm2-135m", "minilm-l6") as address:
            asyncio.run(_measure(address, engines, count))
    finally:
        for engine in engines.values():
            engine.stop()
