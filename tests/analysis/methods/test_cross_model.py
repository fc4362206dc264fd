"""Several models on the same words: neurons they share, and how much alike they are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.cross_model import CrossModel
from patchclamp_analysis.methods.representation_similarity import RepresentationSimilarity
from patchclamp_analysis.progress import Progress

Matrix = NDArray[np.floating]

ROWS = 800
MEASURES = ("max_corr", "min_corr", "lin_reg", "svcca")


def noise(width: int, seed: int = 0, rows: int = ROWS) -> Matrix:
    return np.random.default_rng(seed).standard_normal((rows, width))


def models() -> dict[str, Data]:
    """Neuron 0 of "a" is in "b" and, turned over, in "c"; 1 in "b" only; 2 is spread over neurons of both others; 3 is
    dead; the rest is noise of each model's own.
    """
    a, b, c = noise(8, 1), noise(10, 2), noise(9, 3)
    b[:, 5], c[:, 7] = 3 * a[:, 0] + 2, -a[:, 0]
    b[:, 6] = a[:, 1]
    b[:, 1] = a[:, 2] - b[:, 0]
    c[:, 1] = 0.5 * a[:, 2] + c[:, 0]
    a[:, 3] = 0.25
    return {name: Data.from_arrays(x) for name, x in (("a", a), ("b", b), ("c", c))}


def matrix(data: Data) -> Matrix:
    x = data.read_rows(slice(0, len(data))).astype(np.float64)
    return np.asarray(x - x.mean(axis=0))


def components(x: Matrix, variance: float = 1.0) -> Matrix:
    """Left singular vectors."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    rank = int(np.sum(s > 1e-6 * s[0]))
    shares = np.cumsum(s[:rank] ** 2) / np.sum(s[:rank] ** 2)
    return u[:, : int(np.argmax(shares >= variance - 1e-12)) + 1]


def by_definition(measure: str, x: Matrix, y: Matrix) -> Matrix:
    lengths = np.maximum(np.linalg.norm(x, axis=0), 1e-30)
    if measure in ("max_corr", "min_corr"):
        sizes = np.maximum(np.linalg.norm(y, axis=0), 1e-30)
        return np.asarray(np.abs(x.T @ y / lengths[:, None] / sizes).max(axis=1) * (lengths > 1e-6))
    if measure == "lin_reg":
        return np.asarray(np.linalg.norm(components(y).T @ x, axis=0) / lengths * (lengths > 1e-6))
    w, v = components(x, 0.99), components(y, 0.99)
    return np.asarray(np.linalg.norm(v.T @ w @ (w.T @ x), axis=0) / lengths * (lengths > 1e-6))


@pytest.mark.parametrize("measure", MEASURES)
def test_by_definition(measure):
    datas = models()
    found = CrossModel(measure).compare(datas)
    for name, ranking in found.items():
        others = [by_definition(measure, matrix(datas[name]), matrix(datas[other])) for other in datas if other != name]
        overall = np.max(others, axis=0) if measure == "max_corr" else np.min(others, axis=0)
        assert np.allclose(ranking.details["by_model"], others, atol=2e-6)
        assert np.allclose(ranking.scores, overall, atol=2e-6)
        assert ranking.neurons == datas[name].neurons


@pytest.mark.parametrize(("measure", "first"), [("max_corr", [0, 1]), ("min_corr", [0]), ("lin_reg", [0, 2])])
def test_finds_what_is_shared(measure, first):
    ranking = CrossModel(measure).compare(models())["a"]
    assert sorted(ranking.order()[: len(first)]) == first
    assert ranking.scores[first[0]] == pytest.approx(1, abs=1e-6)
    assert ranking.scores[3] == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_scales_of_neurons_can_be_taken_out(measure):
    datas = models()
    scaled = {
        name: Data.from_arrays(matrix(data) * 10.0 ** np.arange(len(data.neurons))) for name, data in datas.items()
    }
    method = CrossModel(measure, standardise=True)
    assert method.compare(scaled)["a"].scores == pytest.approx(method.compare(datas)["a"].scores, abs=1e-4)


@pytest.mark.parametrize("measure", ["cka", "svcca", "pwcca"])
def test_similarity_of_standardised_neurons(measure):
    common = noise(3, 0)
    unit = {name: common @ noise(3, width, 3)[:, :width] + noise(width, width) for name, width in (("a", 3), ("b", 2))}
    unit = {name: (x - x.mean(axis=0)) / x.std(axis=0) for name, x in unit.items()}
    scaled = {name: Data.from_arrays(x * 10.0 ** np.arange(x.shape[1]) - 7) for name, x in unit.items()}
    expected = RepresentationSimilarity(measure).compare({name: Data.from_arrays(x) for name, x in unit.items()}).values
    assert RepresentationSimilarity(measure, standardise=True).compare(scaled).values == pytest.approx(
        expected, abs=1e-5
    )
    if measure != "pwcca":
        assert RepresentationSimilarity(measure).compare(scaled).values != pytest.approx(expected, abs=1e-2)


def test_max_corr_misses_what_is_spread():
    found = CrossModel("max_corr").compare(models())["a"]
    assert found.scores[2] < 0.8
    assert CrossModel("lin_reg").compare(models())["a"].scores[2] > 0.999


@pytest.mark.parametrize("measure", MEASURES)
def test_fewer_rows_than_neurons(measure):
    datas = {"a": Data.from_arrays(noise(30, 1, 12)), "b": Data.from_arrays(noise(40, 2, 12))}
    scores = CrossModel(measure).compare(datas)["a"].scores
    assert scores == pytest.approx(by_definition(measure, matrix(datas["a"]), matrix(datas["b"])), abs=2e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_out_of_core_is_as_in_memory(measure, tmp_path):
    datas = models()
    small = {}
    for name, data in datas.items():
        np.save(tmp_path / f"{name}.npy", data.read_rows(slice(0, ROWS)))
        stored = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        small[name] = Data.from_arrays(stored, memory_bytes=LEAST_MEMORY)
    for name, ranking in CrossModel(measure).compare(small).items():
        assert np.array_equal(ranking.scores, CrossModel(measure).compare(datas)[name].scores)


@pytest.mark.parametrize("compare", [CrossModel("min_corr").compare, RepresentationSimilarity("cka").compare])
def test_stays_within_the_memory_bound(compare, tmp_path):
    datas = {}
    for number, name in enumerate("ab"):
        x = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, (150, 2100))
        x[:] = noise(2100, number, 150)
        datas[name] = Data.from_arrays(x, memory_bytes=LEAST_MEMORY)
    tracemalloc.start()
    try:
        compare(datas)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LEAST_MEMORY < 4 * 2100**2


@pytest.mark.parametrize("method", [CrossModel("lin_reg"), RepresentationSimilarity("svcca")])
def test_says_what_covariances_need(method):
    wide = {name: Data.from_arrays(np.ones((3, 1000)), memory_bytes=LEAST_MEMORY) for name in "ab"}
    with pytest.raises(BadData, match="a: 1000 neurons need 72000000 bytes, and memory_bytes is 16777216"):
        method.compare(wide)


def alike_by_definition(measure: str, x: Matrix, y: Matrix) -> float:
    if measure == "cka":
        return float(np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))
    part = 0.99 if measure == "svcca" else 1.0
    u, v = components(x, part), components(y, part)
    turn, correlations, _ = np.linalg.svd(u.T @ v, full_matrices=False)
    if measure == "svcca":
        return float(correlations.mean())
    assert u.shape[1] <= v.shape[1]
    weights = np.abs((u @ turn).T @ x).sum(axis=1)
    return float(weights @ correlations / weights.sum())


@pytest.mark.parametrize("measure", ["cka", "svcca", "pwcca"])
def test_similarity_by_definition(measure):
    latent, draw = noise(5, 9), np.random.default_rng(0)
    mixed = {name: latent @ draw.standard_normal((5, width)) for name, width in (("a", 8), ("b", 10), ("c", 9))}
    datas = {name: Data.from_arrays((x + noise(x.shape[1], ord(name))).astype(np.float32)) for name, x in mixed.items()}
    found = RepresentationSimilarity(measure).compare(datas)
    order = "acb"  # from the smallest space to the largest
    for one in range(3):
        for other in range(one + 1, 3):
            small, large = order[one], order[other]
            wanted = alike_by_definition(measure, matrix(datas[small]), matrix(datas[large]))
            at, beside = found.names.index(small), found.names.index(large)
            assert found.values[at, beside] == found.values[beside, at] == pytest.approx(wanted, abs=1e-9)
    assert np.diag(found.values).tolist() == [1, 1, 1]
    assert found.to_pandas().index.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(("measure", "turn"), [("cka", "rotation"), ("svcca", "rotation"), ("pwcca", "any")])
def test_does_not_see_turns(measure, turn):
    x = noise(6, 1)
    matrix = np.random.default_rng(0).standard_normal((6, 6))
    matrix = np.linalg.qr(matrix)[0] if turn == "rotation" else matrix
    datas = {"one": Data.from_arrays(x), "other": Data.from_arrays((x @ matrix).astype(np.float32) * 7 + 3)}
    assert RepresentationSimilarity(measure).compare(datas).values[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", [CrossModel(), RepresentationSimilarity()])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Data.from_arrays(np.ones((2, 1)), words=["a", "b"]), "two: has 2 rows, and one 3"),
        (Data.from_arrays(np.ones((3, 1)), words=["a", "c", "b"]), "two: row 1 is of the word c, and in one of b"),
        (Data.from_arrays(np.ones((3, 1)), sentences=[0, 0, 1]), "two: row 2 is of the sentence 1, and in one of 0"),
    ],
)
def test_refuses_other_words(method, other, message):
    one = Data.from_arrays(np.arange(3.0)[:, None], words=["a", "b", "c"], sentences=[0, 0, 0])
    with pytest.raises(BadData, match=message):
        method.compare({"one": one, "two": other})


@pytest.mark.parametrize("method", [CrossModel("lin_reg"), RepresentationSimilarity("cka")])
def test_refuses_what_is_constant(method):
    datas = {"one": Data.from_arrays(noise(3)), "two": Data.from_arrays(np.full((ROWS, 3), 7.0))}
    with pytest.raises(BadData, match="two: all neurons are constant"):
        method.compare(datas)


@pytest.mark.parametrize("method", [CrossModel(), RepresentationSimilarity()])
def test_refuses_one_model(method):
    with pytest.raises(BadData, match="at least two models"):
        method.compare({"one": Data.from_arrays(noise(3))})


PROGRESSING = (
    CrossModel("max_corr"),
    CrossModel("lin_reg"),
    CrossModel("svcca"),
    RepresentationSimilarity("cka"),
    RepresentationSimilarity("pwcca"),
)


@pytest.mark.parametrize("method", PROGRESSING)
def test_progress_and_cancel(method):
    seen: list[float] = []
    method.compare(models(), progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    left = iter(range(3))
    with pytest.raises(Cancelled):
        method.compare(models(), progress=Progress(cancelled=lambda: next(left, None) is None))
