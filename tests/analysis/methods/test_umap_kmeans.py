"""Populations of neurons on a map."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_analysis.methods.umap_kmeans import UmapKmeans
from patchclamp_analysis.progress import Progress


def populations(width: int = 90, rows: int = 400) -> NDArray[np.float32]:
    """Three populations of neurons, each of which follows a signal of its own."""
    draw = np.random.default_rng(0)
    signals = draw.standard_normal((rows, 3))[:, np.arange(width) % 3]
    x = signals * draw.uniform(1, 50, width) + draw.standard_normal((rows, width)) * 0.3
    return np.asarray(x, np.float32)


def test_finds_populations():
    pytest.importorskip("umap", reason="the extra umap is not installed")
    data, method = Data.from_arrays(populations()), UmapKmeans(populations=3)
    seen: list[float] = []
    found = method.fit(data, progress=Progress(seen.append))
    assert found.positions.shape == (90, 2)
    assert found.clusters.labels.tolist() == [0, 1, 2] * 30
    assert np.array_equal(found.positions, method.fit(data).positions)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_parts_positions():
    draw = np.random.default_rng(0)
    positions = draw.standard_normal((60, 2)) + np.repeat([[0, 0], [30, 0], [0, 30]], 20, axis=0)
    labels = UmapKmeans(populations=3).partition(positions).reshape(3, 20)
    assert (labels == labels[:, :1]).all()
    assert sorted(labels[:, 0]) == [0, 1, 2]


def test_says_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(AnalysisError, match=r"umap_kmeans needs umap-learn: pip install"):
        UmapKmeans().fit(Data.from_arrays(populations()))


def test_refuses_few_neurons():
    pytest.importorskip("umap", reason="the extra umap is not installed")
    with pytest.raises(BadData, match="9 neurons are too few for a map of 10 populations"):
        UmapKmeans().fit(Data.from_arrays(populations(9)))


def test_says_what_it_needs():
    pytest.importorskip("umap", reason="the extra umap is not installed")
    data = Data.from_arrays(np.ones((2000, 600)), memory_bytes=LEAST_MEMORY)
    with pytest.raises(BadData, match="2000 rows of 600 neurons need 22080000 bytes"):
        UmapKmeans().fit(data)
