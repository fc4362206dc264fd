"""Correlation clusters: against numpy's corrcoef and scipy's linkage of all distances at once."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods.clusters import Clusters
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from tests.bench.harness import console, median_ratio, rounds

__all__ = ["run"]

ROWS, WIDTH, FACTORS, THRESHOLD = 20_000, 2304, 400, 0.3


def activations(rows: int = ROWS, width: int = WIDTH) -> NDArray[np.float32]:
    """Neurons that follow some of fewer factors, a third of them so closely that they are redundant."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((rows, width), np.float32)
    x *= np.where(np.arange(width) % 3, np.float32(2.0), np.float32(0.3))
    x += draw.standard_normal((rows, FACTORS), np.float32)[:, draw.integers(FACTORS, size=width)]
    return x


def plain(x: NDArray[np.float32]) -> NDArray[np.int32]:
    """What the definition says, line by line."""
    distances = 1.0 - np.abs(np.nan_to_num(np.corrcoef(x, rowvar=False)))
    np.fill_diagonal(distances, 0.0)
    tree = hierarchy.linkage(squareform(distances, checks=False), "average")
    return np.asarray(hierarchy.fcluster(tree, THRESHOLD, "distance"))


def ours(x: NDArray[np.float32]) -> NDArray[np.int64]:
    return CorrelationClusters(THRESHOLD).cluster(Data.from_arrays(x)).labels


def peak(way: Callable[[NDArray[np.float32]], object], x: NDArray[np.float32]) -> float:
    """The most bytes that numpy held at a time, beside the activations."""
    tracemalloc.start()
    try:
        way(x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def run(count: int = 5) -> None:
    """Prints seconds, peak memory and their ratio for activations as large as a small model's residual streams."""
    console.print(f"[bold]Correlation clusters[/] ({ROWS:,} rows × {WIDTH:,} neurons; goal 2× as fast)")
    x = activations()
    neurons = Data.from_arrays(x).neurons
    found = ours(x)
    assert np.array_equal(Clusters.of(neurons, plain(x)).labels, found)

    async def clustered(way: Callable[[NDArray[np.float32]], object]) -> int:
        way(x)
        return 1

    rates = asyncio.run(rounds({"ours": lambda: clustered(ours), "plain": lambda: clustered(plain)}, count))
    for name, way in (("ours", ours), ("plain", plain)):
        console.print(f"  {name:6} {1 / median(rates[name]):6.2f} s   {peak(way, x) / 1e6:6,.0f} MB")
    ratio = median_ratio(rates, "ours", "plain")
    console.print(f"  {ratio:.1f}× as fast as numpy and scipy, the same {found.max() + 1:,} clusters")
