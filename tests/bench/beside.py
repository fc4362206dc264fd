"""What a running set creation costs a generation beside it: the time between its tokens, with and without."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import NamedTuple

from patchclamp import AsyncClient, CorpusSource

from tests.bench.extract import sentences
from tests.bench.generate import Job, jobs
from tests.bench.harness import console, server
from tests.service.activations.reference import SITES

__all__ = ["run"]

SHARE, NEW, USERS = 0.25, 64, (1, 4)
MODEL, OTHER = "models/smollm2-135m", "models/minilm-l6"


class Gaps(NamedTuple):
    """Seconds between tokens."""

    median: float
    mean: float


async def _between_tokens(client: AsyncClient, work: list[Job]) -> Gaps:
    """Seconds from a token to the next, over users who generate at once."""

    async def user(job: Job) -> list[float]:
        arrived = [
            time.perf_counter() async for _ in client.generate(token_ids=job.ids[:16], max_new_tokens=NEW, model=MODEL)
        ]
        return [after - before for before, after in pairwise(arrived)]

    gaps = [gap for found in await asyncio.gather(*map(user, work)) for gap in found]
    return Gaps(statistics.median(gaps), statistics.mean(gaps))


@asynccontextmanager
async def _creation(client: AsyncClient, corpus: str, model: str) -> AsyncIterator[None]:
    """A set creation that runs meanwhile."""
    operation = await client.activation_sets.create(corpus, SITES, model=model)
    try:
        yield
    finally:
        await operation.refresh()
        assert not operation.done, "the corpus is too small for this machine"
        await operation.cancel()
        await operation.wait()


async def _measure(address: str, users: int, count: int) -> None:
    work = jobs(users)
    async with AsyncClient(address) as client:
        names = {}
        for model, size in ((MODEL, 4000), (OTHER, 40_000)):
            source = CorpusSource.sentences([text.split() for text in sentences(size)])
            names[model] = (await client.corpora.upload(source)).name

        async def beside(model: str) -> Gaps:
            async with _creation(client, names[model], model):
                return await _between_tokens(client, work)

        ways: dict[str, Callable[[], Awaitable[Gaps]]] = {
            "alone": lambda: _between_tokens(client, work),
            "same": lambda: beside(MODEL),
            "other": lambda: beside(OTHER),
        }
        await ways["alone"]()
        gaps: dict[str, list[Gaps]] = {name: [] for name in ways}
        for number in range(count):
            for name in ways if number % 2 == 0 else reversed(ways):
                gaps[name].append(await ways[name]())
    for name, shown in (("same", "a set of the same model"), ("other", "a set of another model")):
        pairs = list(zip(gaps[name], gaps["alone"], strict=True))
        median, mean = (statistics.median(a[k] / b[k] for a, b in pairs) for k in (0, 1))
        console.print(f"  {users} users beside {shown:23}   {median:.2f}× the median time, {mean:.2f}× the mean")


def run(count: int = 5) -> None:
    """Prints how many times as long tokens take beside a set creation, on the same and on another model."""
    console.print(f"[bold]Time between tokens beside a set creation[/] (SmolLM2; background_share {SHARE})")
    with server("smollm2-135m", "minilm-l6", flags=("--background-share", str(SHARE))) as address:
        for users in USERS:
            asyncio.run(_measure(address, users, count))
