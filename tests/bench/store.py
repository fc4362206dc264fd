"""Activation sets: reading a site back against plain h5py, and writing against writing the bytes and no more."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median

import h5py
import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, RowBlock, SetDescription

from tests.bench.harness import console, median_ratio, rounds

__all__ = ["run"]

BLOCK, BLOCKS, SITES, WIDTH = 4096, 3, 31, 576
TAGS = tuple(f"T{number:02}" for number in range(17))
SITE = "layers.7.residual"


def description(tags: tuple[str, ...]) -> SetDescription:
    """SmolLM2's residual streams, with as many labels as UD has parts of speech, or none."""
    sites = (("embeddings", WIDTH), *((f"layers.{layer}.residual", WIDTH) for layer in range(SITES - 1)))
    return SetDescription(sites, "float32", layers=(("upos", tags),) if tags else ())


def row_blocks(tags: tuple[str, ...]) -> Iterator[RowBlock]:
    draw = np.random.default_rng(0)
    for start in range(0, BLOCK * BLOCKS, BLOCK):
        numbers = np.arange(start, start + BLOCK)
        words = [f"word{number}" for number in draw.integers(0, 9000, BLOCK)]
        labels = {"upos": [tags[code] for code in draw.integers(0, len(tags), BLOCK)]} if tags else {}
        yield RowBlock(numbers // 16, (numbers % 16).astype(np.int32), words, labels)


def plain(folder: Path, values: dict[str, NDArray[np.float32]]) -> int:
    """The bytes alone, made durable."""
    path = folder / "plain"
    with path.open("wb", buffering=0) as file:
        for _ in range(BLOCKS):
            for block in values.values():
                file.write(block.data)
        os.fsync(file.fileno())
    path.unlink()
    return BLOCKS * sum(block.nbytes for block in values.values())


def written(folder: Path, values: dict[str, NDArray[np.float32]], tags: tuple[str, ...], whole: bool) -> int:
    """A set up to its last row, or with statistics and digest."""
    path = folder / "set.h5"
    with ActivationSetWriter.open(path, description(tags), row_blocks(tags)) as writer:
        for _ in range(BLOCKS):
            writer.write(values, np.zeros(BLOCK, np.bool_))
        writer.commit()
        if whole:
            writer.finish()
        else:
            writer.discard()
    path.unlink(missing_ok=True)
    return BLOCKS * sum(block.nbytes for block in values.values())


async def _rates(ways: Mapping[str, Callable[[], int]], count: int) -> dict[str, list[float]]:
    async def run(way: Callable[[], int]) -> int:
        return way()

    return await rounds({name: partial(run, way) for name, way in ways.items()}, count)


def _reading(folder: Path, values: dict[str, NDArray[np.float32]], count: int) -> None:
    path = folder / "read.h5"
    with ActivationSetWriter.open(path, description(()), row_blocks(())) as writer:
        for _ in range(BLOCKS):
            writer.write(values, np.zeros(BLOCK, np.bool_))
        writer.finish()
    with ActivationSet.open(path) as stored, h5py.File(path) as file:
        data = file[f"activations/{SITE}"]
        ways = {"set": lambda: stored.read(SITE).nbytes, "h5py": lambda: int(data[()].nbytes)}
        asyncio.run(_rates(ways, 3))
        rates = asyncio.run(_rates(ways, 20 * count))
    console.print(
        f"  reading a site back   {median_ratio(rates, 'set', 'h5py'):5.2f}× plain h5py"
        f"   ({median(rates['set']) / 1e6:,.0f} MB/s, in the page cache)"
    )
    path.unlink()


def _writing(folder: Path, values: dict[str, NDArray[np.float32]], count: int) -> None:
    ways = {
        "plain": partial(plain, folder, values),
        "rows": partial(written, folder, values, (), False),
        "whole": partial(written, folder, values, (), True),
        "labels": partial(written, folder, values, TAGS, True),
    }
    asyncio.run(_rates(ways, 1))
    rates = asyncio.run(_rates(ways, count))
    for way, what in (
        ("rows", "rows alone"),
        ("whole", "with statistics and digest"),
        ("labels", f"the same, and for {len(TAGS)} labels"),
    ):
        console.print(
            f"  writing {what:30} {median_ratio(rates, way, 'plain'):5.2f}× the bytes alone, durable"
            f"   ({median(rates[way]) / 1e6:,.0f} MB/s)"
        )


def run(count: int = 5) -> None:
    """Prints the ratios for blocks as large as SmolLM2's residual streams."""
    console.print(f"[bold]Activation sets[/] ({BLOCK * BLOCKS:,} rows × {SITES} sites × {WIDTH}; goal 0.8 of h5py)")
    draw = np.random.default_rng(0)
    values = {site: draw.standard_normal((BLOCK, WIDTH), np.float32) for site, _ in description(()).sites}
    with tempfile.TemporaryDirectory() as folder:
        _reading(Path(folder), values, count)
        _writing(Path(folder), values, count)
