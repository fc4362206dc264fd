"""Generation through the service against plain transformers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import torch
from patchclamp import AsyncClient

from tests.bench.harness import console, median_ratio, model, rounds, server

__all__ = ["run"]

WORDS = (
    "the",
    "a",
    "small",
    "old",
    "river",
    "garden",
    "answer",
    "letter",
    "music",
    "stone",
    "market",
    "winter",
    "paper",
)


@dataclass(frozen=True)
class Job:
    """A prompt and how many tokens are wanted."""

    ids: tuple[int, ...]
    new: int


def jobs(count: int = 16, longest: int = 64) -> list[Job]:
    """Prompts of 8 to 96 tokens, 16 to `longest` new ones."""
    draw = random.Random(0)
    tokenizer = model("smollm2-135m").tokenizer
    ids = tokenizer(" ".join(draw.choices(WORDS, k=4000)))["input_ids"]
    return [
        Job(tuple(ids[start : start + draw.randint(8, 96)]), draw.randint(16, longest))
        for start in (draw.randrange(3000) for _ in range(count))
    ]


def plain(job: Job) -> int:
    """transformers' generate, one request; returns the tokens it gave."""
    return static([job])


@torch.inference_mode()
def static(batch: list[Job]) -> int:
    """transformers' generate over a padded batch; counts the tokens that were asked for."""
    loaded = model("smollm2-135m")
    longest = max(len(job.ids) for job in batch)
    end = next(iter(loaded.decoding.stop))
    ids = torch.tensor([[end] * (longest - len(job.ids)) + list(job.ids) for job in batch])
    mask = torch.tensor([[0] * (longest - len(job.ids)) + [1] * len(job.ids) for job in batch])
    output = loaded.module.generate(  # type: ignore[operator]
        ids,
        attention_mask=mask,
        max_new_tokens=max(job.new for job in batch),
        do_sample=False,
        pad_token_id=end,
        eos_token_id=sorted(loaded.decoding.stop),
    )
    return sum(
        _asked(row[longest:].tolist(), job.new, loaded.decoding.stop) for row, job in zip(output, batch, strict=True)
    )


def _asked(tokens: list[int], new: int, ends: frozenset[int]) -> int:
    return next((k + 1 for k, token in enumerate(tokens[:new]) if token in ends), min(new, len(tokens)))


async def through_service(client: AsyncClient, work: list[Job], users: int) -> int:
    """So many users, each with one request at a time."""
    queue = list(reversed(work))

    async def user() -> int:
        tokens = 0
        while queue:
            job = queue.pop()
            async for _ in client.generate(token_ids=job.ids, max_new_tokens=job.new):
                tokens += 1
        return tokens

    return sum(await asyncio.gather(*(user() for _ in range(users))))


async def _measure(address: str, users: int, count: int) -> None:
    work = jobs()

    async def one_at_a_time() -> int:
        return await asyncio.to_thread(lambda: sum(plain(job) for job in work))

    async def batches() -> int:
        groups = [work[k : k + users] for k in range(0, len(work), users)]
        return await asyncio.to_thread(lambda: sum(static(group) for group in groups))

    async with AsyncClient(address) as client:

        async def service() -> int:
            return await through_service(client, work, users)

        ways: dict[str, Callable[[], Awaitable[int]]] = {"service": service, "one": one_at_a_time, "static": batches}
        await service()
        rates = await rounds(ways, count)
    one, static_ratio = median_ratio(rates, "service", "one"), median_ratio(rates, "service", "static")
    speed = sorted(rates["service"])[len(rates["service"]) // 2]
    console.print(
        f"  {users:2} users   {one:5.2f}× one request at a time   {static_ratio:5.2f}× static batches of {users}"
        f"   ({speed:.0f} tokens/s)"
    )


def run(count: int = 3) -> None:
    """Prints the ratios at 1, 4 and 16 users."""
    console.print("[bold]Generation through the service[/] (SmolLM2, 16 requests, 8–96 prompt and 16–64 new tokens)")
    console.print("  goals at 16 users: 4.5× one request at a time, 1.25× static batches")
    with server("smollm2-135m") as address:
        for users in (1, 4, 16):
            asyncio.run(_measure(address, users, count))
