"""Correlation clusters and independent neurons: against NeuroX, scipy, and what was planted."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.data.blocks import steps
from patchclamp_analysis.data.correlation import Standardised, correlations
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods import correlation_clusters
from patchclamp_analysis.methods.clusters import Clusters
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from patchclamp_analysis.methods.variance import Variance
from patchclamp_analysis.progress import Progress
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

GOLDEN = Path(__file__).parents[1] / "golden" / "neurox"
clustering = np.load(GOLDEN / "clustering.npz")
SETTINGS = [name for name in clustering.files if name.startswith("labels_")]


@pytest.fixture(scope="module")
def neurox():
    return Data.from_arrays(np.load(GOLDEN / "inputs.npz")["X"])


@pytest.fixture(params=["at once", "in stripes"])
def way(request, monkeypatch):
    """Whether all correlations are held at once."""
    if request.param == "in stripes":
        monkeypatch.setattr(correlation_clusters, "_BYTES", 10**12)
        monkeypatch.setattr(correlation_clusters, "steps", lambda start, stop, _: steps(start, stop, 50))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_partitions_of_neurox(neurox, setting):
    _, absolute, threshold, linkage = setting.split("_")
    found = CorrelationClusters(float(threshold[1:]), absolute == "abs1", linkage).cluster(neurox)
    assert np.array_equal(found.labels, Clusters.of(neurox.neurons, clustering[setting]).labels)


@pytest.mark.usefixtures("way")
def test_constant_and_duplicate_neurons_as_in_neurox():
    data = Data.from_arrays(clustering["edge_X"])
    expected = Clusters.of(data.neurons, clustering["edge_labels_const5_exactdup6_7"])
    assert np.array_equal(CorrelationClusters(0.5).cluster(data).labels, expected.labels)


def test_independent_neurons_as_in_neurox(neurox):
    """One of each cluster, as there; which one is chance."""
    clusters = CorrelationClusters(0.5).cluster(neurox)
    theirs = clustering["independent_t0.5_npseed0"]
    ours = clusters.independent()
    assert sorted(clusters.labels[ours]) == sorted(clusters.labels[theirs]) == list(range(len(clusters)))


def expected(x: NDArray[np.float32], threshold: float, absolute: bool, linkage: str) -> NDArray[np.int32]:
    """By the definition."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.nan_to_num(np.corrcoef(x.astype(np.float64), rowvar=False))
    distances = np.maximum(1 - (np.abs(rho) if absolute else rho), 0)
    np.fill_diagonal(distances, 0)
    tree = hierarchy.linkage(squareform(distances, checks=False), linkage)
    return np.asarray(hierarchy.fcluster(tree, threshold, "distance"))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 60),
    st.sampled_from([0.2, 0.5, 0.7, 0.85, 1.3]),
    st.booleans(),
    st.sampled_from(["average", "complete", "single"]),
)
def test_as_all_at_once(seed, width, threshold, absolute, linkage):
    """Clustering linked groups alone changes nothing."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((40, 5)) @ draw.standard_normal((5, width)) + draw.standard_normal((40, width))
    data = Data.from_arrays(x.astype(np.float32))
    found = CorrelationClusters(threshold, absolute, linkage).cluster(data)
    wanted = expected(x.astype(np.float32), threshold, absolute, linkage)
    assert np.array_equal(found.labels, Clusters.of(data.neurons, wanted).labels)


def test_signs_count_unless_absolute():
    x = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    data = Data.from_arrays(np.column_stack([x[:, 0], -x[:, 0], x[:, 0], x[:, 1]]))
    assert CorrelationClusters().cluster(data).labels.tolist() == [0, 0, 0, 1]
    assert CorrelationClusters(absolute=False).cluster(data).labels.tolist() == [0, 1, 0, 2]


def test_chains_part_linkages():
    """Neighbours 0.29 apart or less, ends further: only single linkage goes along the chain."""
    turns = np.stack([(np.cos(angle), np.sin(angle)) for angle in np.radians([0, 40, 80])], axis=1)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 3)))[0]
    basis -= basis.mean(axis=0)
    data = Data.from_arrays((np.linalg.qr(basis)[0][:, :2] @ turns).astype(np.float32))
    assert len(CorrelationClusters(0.3, linkage="single").cluster(data)) == 1
    assert len(CorrelationClusters(0.3, linkage="complete").cluster(data)) == 2


@pytest.mark.parametrize(("threshold", "absolute"), [(1.0, True), (2.0, False)])
def test_the_largest_threshold_joins_all(threshold, absolute):
    data = Data.from_arrays(clustering["edge_X"])
    assert len(CorrelationClusters(threshold, absolute).cluster(data)) == 1


def test_only_equal_neurons_join_at_zero():
    x = np.random.default_rng(0).integers(-4, 4, (64, 3)).astype(np.float32)
    data = Data.from_arrays(np.column_stack([x, x[:, 1], np.full(64, 3.0)]))
    assert CorrelationClusters(1e-6).cluster(data).labels.tolist() == [0, 1, 2, 1, 3]


def test_one_neuron():
    assert CorrelationClusters().cluster(Data.from_arrays([[1.0], [2.0]])).labels.tolist() == [0]


def test_a_small_deviation_beside_a_large_mean():
    draw = np.random.default_rng(0)
    moves = draw.integers(-8, 8, (500, 3)) * 2.0**-6
    x = (20_000 + moves @ [[1, 1, 0], [0, 0, 1], [0, 0, 0]]).astype(np.float32)
    found = correlations(Standardised.of(Data.from_arrays(x)))
    assert found[0, 1] == pytest.approx(1, abs=1e-5)
    assert found[0, 2] == pytest.approx(np.corrcoef(moves[:, 0], moves[:, 1])[0, 1], abs=1e-5)


def test_stays_within_the_memory_bound(tmp_path):
    rows, width = 2000, 2200
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (rows, width))
    draw = np.random.default_rng(0)
    x[:] = draw.standard_normal((rows, width), np.float32)
    x[:, 1::2] = x[:, ::2]
    tracemalloc.start()
    try:
        found = CorrelationClusters().cluster(Data.from_arrays(x, memory_bytes=LEAST_MEMORY))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == width // 2
    assert peak < LEAST_MEMORY < 4 * width**2


def test_says_what_linked_neurons_need():
    x = np.repeat(np.random.default_rng(0).standard_normal((20, 1)), 1500, axis=1)
    data = Data.from_arrays(x.astype(np.float32), memory_bytes=LEAST_MEMORY)
    with pytest.raises(BadData, match=r"1500 neurons are linked .* need 20250000 bytes: raise memory_bytes = 16777216"):
        CorrelationClusters().cluster(data)


def test_progress_and_cancel(neurox):
    seen: list[float] = []
    CorrelationClusters().cluster(neurox, progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    left = iter(range(4))
    with pytest.raises(Cancelled):
        CorrelationClusters().cluster(neurox, progress=Progress(cancelled=lambda: next(left, None) is None))


def test_members_are_ordered_by_size():
    data = Data.from_arrays(np.ones((2, 6)))
    clusters = Clusters.of(data.neurons, np.array([7, 3, 3, 1, 1, 1]))
    assert [group.tolist() for group in clusters.members()] == [[3, 4, 5], [1, 2], [0]]
    assert clusters.sizes.tolist() == [1, 2, 3]
    assert clusters.redundant_share == 0.5


def test_independent_neurons_by_seed():
    clusters = Clusters.of(Data.from_arrays(np.ones((2, 40))).neurons, np.repeat(np.arange(4), 10))
    chosen = [clusters.independent(seed=seed).tolist() for seed in range(30)]
    assert clusters.independent(seed=3).tolist() == chosen[3]
    assert {at for places in chosen for at in places} > {0, 9, 10, 19}
    assert all([at // 10 for at in places] == [0, 1, 2, 3] for places in chosen)


def test_independent_neurons_by_ranking():
    data = Data.from_arrays(np.random.default_rng(0).standard_normal((50, 6)) * [1, 9, 3, 3, 5, 1])
    clusters = Clusters.of(data.neurons, np.array([0, 0, 0, 1, 1, 2]))
    assert clusters.independent(Variance().rank(data)).tolist() == [1, 4, 5]
    with pytest.raises(BadData, match="other neurons"):
        clusters.independent(Variance().rank(data.keep([1, 2])))


def test_the_table_names_neurons():
    data = Data.from_arrays({"a": np.ones((2, 1)), "b": np.ones((2, 2))})
    frame = Clusters.of(data.neurons, np.array([5, 2, 5])).to_pandas()
    assert frame.to_numpy().tolist() == [["a", 0, 0, 2], ["b", 0, 1, 1], ["b", 1, 0, 2]]
