"""Extraction through the service against plain transformers: every layer's residual stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import torch
from patchclamp import AsyncClient

from tests.bench.generate import WORDS
from tests.bench.harness import console, median_ratio, model, rounds, server

__all__ = ["run"]

BATCH_TOKENS = 512


def sentences(count: int) -> list[str]:
    """Sentences of 3 to 45 words, most of them short."""
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS, k=min(45, 3 + int(draw.expovariate(1 / 14))))) for _ in range(count)]


@torch.inference_mode()
def one_at_a_time(name: str, texts: list[str]) -> int:
    """As NeuroX does it: a forward pass a sentence, all layers to numpy."""
    loaded = model(name)
    for text in texts:
        inputs = loaded.tokenizer(text, return_tensors="pt")
        states = loaded.module(**inputs, output_hidden_states=True).hidden_states
        torch.stack(states)[:, 0].numpy()
    return len(texts)


@torch.inference_mode()
def bare_batches(name: str, texts: list[str]) -> int:
    """The forward passes alone, over batches sorted by length; what is read is thrown away."""
    loaded = model(name)
    inner = loaded.module.model if loaded.is_decoder else loaded.module
    encoded = sorted((loaded.tokenizer(text)["input_ids"] for text in texts), key=len)
    batch: list[list[int]] = []
    for number, ids in enumerate(encoded):
        batch.append(ids)
        following = encoded[number + 1] if number + 1 < len(encoded) else None
        if following is None or (len(batch) + 1) * len(following) > BATCH_TOKENS:
            longest = max(map(len, batch))
            padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in batch])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
            inner(input_ids=padded, attention_mask=mask, output_hidden_states=True)
            batch = []
    return len(texts)


async def _measure(address: str, name: str, count: int, texts: list[str]) -> None:
    def thread(way: Callable[[str, list[str]], int]) -> Callable[[], asyncio.Future[int]]:
        return lambda: asyncio.ensure_future(asyncio.to_thread(way, name, texts))

    async with AsyncClient(address) as client:

        async def service() -> int:
            done = 0
            async for _ in client.extract(texts, ["embeddings", "layers.*.residual"], model=f"models/{name}"):
                done += 1
            return done

        await service()
        rates = await rounds({"service": service, "one": thread(one_at_a_time), "bare": thread(bare_batches)}, count)
    speed = sorted(rates["service"])[len(rates["service"]) // 2]
    console.print(
        f"  {name:13} {median_ratio(rates, 'service', 'one'):5.2f}× one sentence at a time   "
        f"{median_ratio(rates, 'service', 'bare'):5.2f}× the bare batched forward   ({speed:.0f} sentences/s)"
    )


def run(count: int = 5) -> None:
    """Prints the ratios for an encoder and a decoder."""
    console.print("[bold]Extraction through the service[/] (every layer's residual; goal 0.85 of the bare forward)")
    with server("smollm2-135m", "minilm-l6") as address:
        asyncio.run(_measure(address, "minilm-l6", count, sentences(400)))
        asyncio.run(_measure(address, "smollm2-135m", count, sentences(80)))
