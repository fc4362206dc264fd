"""What holds for every method that answers with tables or compares models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods import METHODS, RANKING_METHODS, ComparingMethod, TableMethod, build, describe
from patchclamp_analysis.progress import Progress
from patchclamp_analysis.tables import Tables

from tests.analysis.methods.answers import answer, datas, digest
from tests.analysis.methods.planted import INFORMATIVE, NEURONS, QUICK, TWINS, other_method, values

OTHERS = [name for name in METHODS if name not in RANKING_METHODS]
# UMAP compiles itself for some ten seconds in each process.
SOON = [name for name in OTHERS if name != "umap_kmeans"]

every = pytest.mark.parametrize("name", OTHERS)
supervised = pytest.mark.parametrize("name", [name for name in OTHERS if METHODS[name].supervised])


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if "umap_kmeans" in request.node.name:
        pytest.importorskip("umap", reason="the extra umap is not installed")


def find(name: str, *arrays: object, **options: object) -> dict[str, pd.DataFrame]:
    return answer(other_method(name), datas(name, *arrays, **options))  # type: ignore[arg-type]


def equal(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame], tolerance: float = 0.0) -> None:
    """Fails where tables differ: numbers by more than the tolerance."""
    assert list(one) == list(other)
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name], rtol=tolerance, atol=tolerance)


def table_method(name: str) -> TableMethod:
    """Skips where it is none."""
    made = other_method(name)
    if not isinstance(made, TableMethod):
        pytest.skip("answers with rankings")
    return made


def numbers(table: pd.DataFrame) -> NDArray[np.float64]:
    return table.select_dtypes("number").to_numpy(dtype=np.float64)


def test_there_is_no_other_kind():
    assert {name for name in OTHERS if issubclass(METHODS[name], TableMethod | ComparingMethod)} == set(OTHERS)


@every
def test_lists_itself(name):
    info = describe(METHODS[name])
    assert info.name == name
    assert info.summary.endswith(".")
    assert info.reference
    assert "O(" in info.complexity
    assert {parameter.name for parameter in info.parameters} == {field.name for field in fields(METHODS[name])}
    assert all(parameter.about.endswith(".") for parameter in info.parameters)


@every
def test_says_what_it_misses(name):
    assert "Misses" in (METHODS[name].__doc__ or "")


@every
def test_names_its_tables(name):
    """In the docstring of `tables`, which API and command line show."""
    told = table_method(name).tables.__doc__ or ""
    assert all(f'"{title}"' in told for title in find(name, *values(120)))


@every
def test_tables_are_saved_and_loaded(name, tmp_path):
    made = table_method(name).tables(datas(name, *values(120)))
    made.save(tmp_path / "tables.json")
    loaded = Tables.load(tmp_path / "tables.json")
    assert (loaded.method, loaded.label, loaded.notes) == (name, made.label, made.notes)
    assert loaded.parameters == json.loads(json.dumps(made.parameters))
    for title, table in made.tables.items():
        pd.testing.assert_frame_equal(loaded[title], table, check_dtype=False, rtol=0, atol=0)


@cache
def elsewhere(hash_seed: str) -> dict[str, str]:
    """Digests of what all methods find, by another process."""
    command = [sys.executable, "-m", "tests.analysis.methods.answers", *SOON]
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    found: dict[str, str] = json.loads(subprocess.check_output(command, cwd=root, env=environment, text=True))
    return found


@every
def test_finds_the_same_in_another_process(name):
    assert elsewhere("1").get(name, digest(name)) == elsewhere("2").get(name, digest(name)) == digest(name)


@every
def test_leaves_its_input_alone(name):
    x, labels = values(200)
    before = x.copy()
    x.flags.writeable = False
    found = find(name, x, labels)
    assert np.array_equal(x, before)
    equal(found, find(name, before, labels))


@every
def test_constant_neurons(name):
    """They are there wherever all neurons are, and nothing is said of them that is no number."""
    found = find(name, *values(300))
    for table in found.values():
        assert np.isfinite(numbers(table)).all()
    if issubclass(METHODS[name], ComparingMethod):
        scores = found["one"].set_index(["site", "index"])["score"]
        constant = [("layers.0.residual", NEURONS[name]) for name in ("constant", "dead")]
        assert scores[constant].tolist() == [0.0, 0.0]
        assert scores.drop(constant).min() > 0


@every
def test_only_constant_neurons(name):
    """An answer, or a refusal that says why."""
    try:
        found = find(name, np.full((60, 4), 2.5, np.float32), np.array(["a", "b"] * 30, dtype=object))
    except BadData as refused:
        assert refused.message
    else:
        for table in found.values():
            assert np.isfinite(numbers(table)).all()


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_names_the_first_value_that_is_no_number(name, value):
    x, labels = values(300)
    x[170, 25] = x[280, 3] = value
    with pytest.raises(BadData, match=r"row 170 \('word10'\): the activation|residual\[3\], row 280 \('word0'\)"):
        find(name, x, labels)


@every
def test_masked_rows_do_not_count(name):
    x, labels = values(300)
    masked = np.zeros(len(x), bool)
    masked[100:150] = True
    broken = x.copy()
    broken[masked] = np.nan
    found = find(name, broken, labels, masked=masked)
    x[masked] = 17.0
    equal(found, find(name, x, labels, masked=masked))


@supervised
def test_refuses_one_class(name):
    with pytest.raises(BadData, match="rows are of one class"):
        find(name, np.ones((50, 4), np.float32), np.array(["noun"] * 50, dtype=object))


@supervised
def test_refuses_no_labels(name):
    given = datas(name, *values(50))
    unlabelled = {title: data.with_classes(()) for title, data in given.items()}
    with pytest.raises(BadData, match="needs a class"):
        answer(other_method(name), unlabelled)


@every
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 2)), r'takes Data by name, as \{"train": data\}, not ndarray'),
        (Data.from_arrays(np.zeros((4, 2))), r'takes Data by name, as \{"train": data\}, not Data'),
        ({"train": np.zeros((4, 2))}, r"takes Data, not ndarray: Data\.from_arrays\(x, labels\), from_frame"),
    ],
)
def test_refuses_what_is_no_data(name, given, message):
    with pytest.raises(BadData, match=f"{name}: {message}"):
        answer(other_method(name), given)


@every
def test_a_class_of_one_row(name):
    x, labels = values(200)
    labels[17] = "interjection"
    tables = table_method(name).tables(datas(name, x, labels))
    assert "classes with one row only: interjection" in tables.notes


@every
def test_one_neuron(name):
    """An answer, or a refusal that says why."""
    x, labels = values(200)
    try:
        assert find(name, x[:, :1], labels)
    except BadData as refused:
        assert refused.message


@every
def test_fewer_rows_than_neurons(name):
    assert find(name, *values(80, 100))


@every
def test_two_rows(name):
    """An answer, or a refusal that says why."""
    x = np.array([[0.0, 1.0, 2.0, 1.0], [1.0, 1.0, 0.0, 2.0]])
    try:
        assert find(name, x, np.array(["a", "b"], dtype=object))
    except BadData as refused:
        assert refused.message


@every
@pytest.mark.parametrize("narrow", [np.float16, np.int16])
def test_other_number_types(name, narrow):
    x, labels = values(200)
    x = np.clip(4 * x, -9000, 9000).astype(narrow)
    equal(find(name, x, labels), find(name, x.astype(np.float32), labels))


@every
def test_out_of_core_is_as_in_memory(name, tmp_path):
    x, labels = values(300)
    np.save(tmp_path / "x.npy", x)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    equal(find(name, stored, labels, memory_bytes=LEAST_MEMORY), find(name, x, labels), 1e-9)


SMALL: dict[str, dict[str, object]] = {
    "compositional": {"length": 1},
    "efficient_features": {"epochs": 1, "percents": (1.0,)},
    "layer_selector": {"epochs": 1},
    "nmf": {"factors": 1, "iterations": 2},
    "representation_analysis": {"epochs": 1},
    "umap_kmeans": {"rows": 60, "populations": 2},
}


@every
def test_stays_within_the_memory_bound(name, tmp_path):
    rows, width = 5000, 1800
    x, labels = values(rows)
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (rows, width))
    for at in range(0, width, x.shape[1]):
        stored[:, at : at + x.shape[1]] = x
    given = datas(name, stored, labels, memory_bytes=LEAST_MEMORY)
    method = build(METHODS[name], SMALL.get(name, {}))
    tracemalloc.start()
    try:
        answer(method, given)
    except BadData as refused:
        assert "memory_bytes" in refused.message
        assert name == "umap_kmeans"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < LEAST_MEMORY < 4 * rows * width / 2


@every
def test_progress_reaches_the_end(name):
    seen: list[float] = []
    answer(other_method(name), datas(name, *values(200)), Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) >= 1


@every
def test_can_be_cancelled_anywhere(name):
    given = datas(name, *values(200))

    def run_until(last: int) -> int:
        """Cancels at a check; 0: never. How often was asked."""
        checks = 0

        def cancelled() -> bool:
            nonlocal checks
            checks += 1
            return checks == last

        answer(other_method(name), given, Progress(cancelled=cancelled))
        return checks

    checks = run_until(0)
    for last in (1, checks // 2, checks):
        with pytest.raises(Cancelled):
            run_until(last)


@pytest.mark.parametrize("name", ["efficient_features", "layer_selector", "representation_analysis", "umap_kmeans"])
def test_standardises_unless_told_not_to(name):
    given, parameters = datas(name, *values(200)), QUICK[name]
    first, raw = (answer(build(METHODS[name], {**parameters, "standardise": yes}), given) for yes in (True, False))
    equal(first, answer(other_method(name), given))
    title = next(iter(first))
    assert not np.array_equal(numbers(first[title]), numbers(raw[title]))


def test_twins_are_together():
    clusters = find("correlation_clusters", *values(300))["neurons"]["cluster"]
    for one, twin in zip(INFORMATIVE, TWINS, strict=True):
        assert clusters[one] == clusters[twin]
