"""Correlation clusters: against numpy's corrcoef and scipy's linkage of all distances at once."""

from __future__ import annotations

from statistics import median

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods.clusters import Clusters
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from tests.bench.harness import console, in_turn, one_core, ratio
from tests.bench.methods_sample import ROWS, WIDTH, Sample

__all__ = ["THRESHOLD", "activations", "plain", "run", "sample"]

FACTORS, THRESHOLD = 400, 0.3


def activations(rows: int, width: int) -> NDArray[np.float32]:
    """Neurons that follow some of fewer factors, a third of them so closely that they are redundant."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((rows, width), np.float32)
    x *= np.where(np.arange(width) % 3, np.float32(2.0), np.float32(0.3))
    x += draw.standard_normal((rows, FACTORS), np.float32)[:, draw.integers(FACTORS, size=width)]
    return x


def sample(rows: int, width: int) -> Sample:
    """The same, with classes and words."""
    return Sample.of(activations(rows, width))


def plain(x: NDArray[np.float32]) -> NDArray[np.int32]:
    """What the definition says, line by line."""
    distances = 1.0 - np.abs(np.nan_to_num(np.corrcoef(x, rowvar=False)))
    np.fill_diagonal(distances, 0.0)
    tree = hierarchy.linkage(squareform(distances, checks=False), "average")
    return np.asarray(hierarchy.fcluster(tree, THRESHOLD, "distance"))


def ours(x: NDArray[np.float32]) -> NDArray[np.int64]:
    return CorrelationClusters(THRESHOLD).cluster(Data.from_arrays(x)).labels


def run(count: int = 5) -> None:
    """Prints whether the clusters are the same, and the ratio, for activations as large as a small model's residual
    streams. Memory stands in the table of `methods`.
    """
    console.print(f"[bold]Correlation clusters[/] ({ROWS:,} rows × {WIDTH:,} neurons; one core; goal 2× as fast)")
    x = activations(ROWS, WIDTH)
    with one_core():
        found = ours(x)
        assert np.array_equal(Clusters.of(Data.from_arrays(x).neurons, plain(x)).labels, found)
        seconds = in_turn({"ours": lambda: ours(x), "plain": lambda: plain(x)}, count)
    times = f"{median(seconds['ours']):.2f} s, {ratio(seconds, 'plain', 'ours'):.1f}× as fast as numpy and scipy"
    console.print(f"  {times}, the same {found.max() + 1:,} clusters")
