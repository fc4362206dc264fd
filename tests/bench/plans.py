"""What edits cost: sixteen users, each with a plan of his own, against the same users without."""

from __future__ import annotations

import asyncio
import random
from functools import partial

from patchclamp import AsyncClient, Intervention, ablate, scale

from tests.bench.generate import jobs
from tests.bench.harness import console, median_ratio, rounds, server

__all__ = ["run"]

USERS, NEW = 16, 48


def plan(user: int, kind: str, neurons: int, layers: int) -> list[Intervention]:
    """Edits of so many random neurons on one layer or on all. Scaling by 1 leaves the text as it is, so that all
    ways generate the same; ablations of one neuron more or less change little."""
    draw = random.Random(user)
    edits: list[Intervention] = []
    for layer in range(layers) if layers > 1 else [13]:
        chosen = ",".join(map(str, sorted(draw.sample(range(1536), neurons))))
        site = f"layers.{layer}.neurons[{chosen}]"
        edits.append(scale(site, 1.0) if kind == "scale" else ablate(site))
    return edits


async def _generate(client: AsyncClient, plans: list[list[Intervention]]) -> int:
    work = jobs(USERS)

    async def user(number: int) -> int:
        tokens = 0
        async for _ in client.generate(
            token_ids=work[number].ids[:16], max_new_tokens=NEW, interventions=plans[number]
        ):
            tokens += 1
        return tokens

    return sum(await asyncio.gather(*map(user, range(USERS))))


async def _measure(address: str, count: int) -> None:
    cases = [(kind, neurons, layers) for kind in ("scale", "ablate") for neurons in (10, 1000) for layers in (1, 30)]
    async with AsyncClient(address) as client:
        ways = {"none": partial(_generate, client, [[] for _ in range(USERS)])}
        for case in cases:
            ways[str(case)] = partial(_generate, client, [plan(user, *case) for user in range(USERS)])
        for way in ways.values():
            await way()
        rates = await rounds(ways, count)
    for kind, neurons, layers in cases:
        ratio = median_ratio(rates, str((kind, neurons, layers)), "none")
        where = "one layer " if layers == 1 else "all layers"
        console.print(f"  {kind:6} {neurons:5} neurons, {where}   {ratio:5.3f} of the speed without")


def run(count: int = 5) -> None:
    """Prints the ratios for plans of 10 and 1,000 neurons on one and on all layers."""
    console.print(f"[bold]{USERS} different plans in one batch[/] (SmolLM2, {NEW} new tokens each; goal 0.98)")
    with server("smollm2-135m") as address:
        asyncio.run(_measure(address, count))
