"""What holds for every method there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods import RANKING_METHODS, describe
from patchclamp_analysis.progress import Progress
from patchclamp_analysis.results import Ranking

from tests.analysis.methods.digests import digest
from tests.analysis.methods.planted import NEURONS, method, planted, values

every = pytest.mark.parametrize("name", RANKING_METHODS)
supervised = pytest.mark.parametrize("name", [name for name in RANKING_METHODS if RANKING_METHODS[name].supervised])


def rank(name: str, *arrays: object, **options: object) -> Ranking:
    return method(name).rank(Data.from_arrays(*arrays, **options))  # type: ignore[arg-type]


@every
def test_scores_every_neuron(name):
    data = planted()
    ranking = method(name).rank(data)
    assert ranking.method == name
    assert ranking.scores.shape == (len(data.neurons),)
    assert ranking.class_scores.shape == (len(ranking.classes), len(data.neurons))
    assert ranking.classes in ((), data.classes)
    assert np.isfinite(ranking.scores).all()


@supervised
def test_scores_per_class(name):
    assert method(name).rank(planted()).classes == planted().classes


@every
def test_lists_itself(name):
    info = describe(RANKING_METHODS[name])
    assert info.name == name
    assert info.summary.endswith((".", '".'))
    assert info.reference
    assert "O(" in info.complexity
    assert {parameter.name for parameter in info.parameters} == {field.name for field in fields(RANKING_METHODS[name])}
    assert all(parameter.about.endswith(".") for parameter in info.parameters)


@every
def test_says_what_it_misses(name):
    assert "Misses" in (RANKING_METHODS[name].__doc__ or "")


@cache
def elsewhere(hash_seed: str) -> dict[str, str]:
    """Digests of what all methods find, by another process."""
    command = [sys.executable, "-m", "tests.analysis.methods.digests"]
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    found: dict[str, str] = json.loads(subprocess.check_output(command, cwd=root, env=environment, text=True))
    return found


@every
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_finds_the_same_in_another_process(name, hash_seed):
    assert elsewhere(hash_seed)[name] == digest(name)


@every
def test_leaves_its_input_alone(name):
    x, labels = values()
    before = x.copy()
    rank(name, x, labels)
    assert np.array_equal(x, before)


@every
def test_reads_what_must_not_be_written(name):
    x, labels = values()
    x.flags.writeable = False
    assert np.array_equal(rank(name, x, labels).scores, rank(name, x.copy(), labels).scores)


@every
def test_constant_neurons_tie_by_place_and_are_not_on_top(name):
    order = method(name).rank(planted()).order().tolist()
    dead, constant = order.index(NEURONS["dead"]), order.index(NEURONS["constant"])
    assert dead < constant
    assert constant - dead == 1 or name == "dead"
    assert dead >= 8 or name == "dead"


@every
def test_only_constant_neurons(name):
    ranking = rank(name, np.full((60, 3), 2.5, np.float32), ["a", "b"] * 30)
    assert ranking.order().tolist() == [0, 1, 2]


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_names_the_first_value_that_is_no_number(name, value):
    x, labels = values()
    x[700, 20] = x[800, 3] = value
    data = Data.from_arrays({"low": x[:, :15], "high": x[:, 15:]}, labels, words=[f"w{row}" for row in range(len(x))])
    with pytest.raises(BadData, match=r"high\[5\], row 700 \('w700'\)|low\[3\], row 800 \('w800'\)"):
        method(name).rank(data)


@every
def test_masked_rows_do_not_count(name):
    x, labels = values()
    masked = np.zeros(len(x), bool)
    masked[100:150] = True
    broken = x.copy()
    broken[masked] = np.nan
    kept = rank(name, x[~masked], labels[~masked])
    assert np.array_equal(rank(name, broken, labels, masked=masked).scores, kept.scores)


@supervised
def test_refuses_one_class(name):
    with pytest.raises(BadData, match="all 20 rows are of one class"):
        rank(name, np.ones((20, 3), np.float32), ["noun"] * 20)


@supervised
def test_refuses_no_labels(name):
    with pytest.raises(BadData, match="needs a class"):
        rank(name, np.ones((20, 3), np.float32))


@supervised
def test_names_the_layers_there_are(name):
    data = Data.from_arrays(np.ones((20, 3)), annotations={"upos": ["a", "b"] * 10, "xpos": ["c"] * 20})
    with pytest.raises(BadData, match="needs a class for each row; choose a layer of labels: upos, xpos"):
        method(name).rank(data)


@every
@pytest.mark.parametrize("given", [np.zeros((4, 2)), pd.DataFrame({"a": [1]}), Path("a.h5"), None])
def test_refuses_what_is_no_data(name, given):
    wanted = (
        rf"{name}: takes Data, not {type(given).__name__}: Data\.from_arrays\(x, labels\), from_frame or from_activ"
    )
    with pytest.raises(BadData, match=wanted):
        method(name).rank(given)
    with pytest.raises(BadData, match=wanted):
        method(name).rank(data=given)


def test_data_may_be_given_by_its_name():
    assert method("probeless").rank(data=planted()).method == "probeless"


@every
@pytest.mark.parametrize("compat", [False, True])
def test_names_a_neuron_that_is_too_large(name, compat):
    """Where a method cannot compute with it."""
    x, labels = values(200)
    x[170, 25] = 1e25
    options = (
        {"compat": "neurox"} if compat and "compat" in {each.name for each in fields(RANKING_METHODS[name])} else {}
    )
    try:
        ranking = replace(method(name), **options).rank(Data.from_arrays(x, labels))
    except BadData as refused:
        assert str(refused) == "neurons[25]: activations up to 1e+25 are too large to square"
    else:
        assert np.isfinite(ranking.scores).all()


@supervised
def test_a_class_of_one_row(name):
    x, labels = values()
    labels[17] = "interjection"
    ranking = rank(name, x, labels)
    assert "classes with one row only: interjection" in ranking.notes


@supervised
def test_a_class_without_rows(name):
    x, labels = values()
    ranking = rank(name, x, labels, classes=["adjective", "interjection", "noun", "verb"])
    assert "classes with no row: interjection" in ranking.notes
    assert not ranking.scores_of("interjection").any()


@supervised
def test_refuses_rows_of_unknown_classes(name):
    x, labels = values()
    with pytest.raises(BadData, match="not among the classes"):
        rank(name, x, labels, classes=["adjective", "verb"])


@every
def test_one_neuron(name):
    x, labels = values()
    assert rank(name, x[:, :1], labels).order().tolist() == [0]


@every
def test_fewer_rows_than_neurons(name):
    x, labels = values(30, 100)
    assert len(rank(name, x, labels).scores) == 100


@every
def test_two_rows(name):
    assert len(rank(name, np.array([[0.0, 1.0], [1.0, 1.0]]), ["a", "b"]).scores) == 2


@every
@pytest.mark.parametrize("narrow", [np.float16, np.int16])
def test_other_number_types(name, narrow):
    x, labels = values()
    x = (4 * x).astype(narrow)
    assert np.array_equal(rank(name, x, labels).scores, rank(name, x.astype(np.float32), labels).scores)


@every
def test_sites_make_no_difference(name):
    x, labels = values()
    parted = rank(name, {"a": x[:, :1], "b": x[:, 1:30], "c": x[:, 30:]}, labels)
    assert np.allclose(parted.scores, rank(name, x, labels).scores, rtol=1e-6)


@every
def test_neurons_keep_their_names(name):
    x, labels = values()
    data = Data.from_arrays({"a": x[:, :20], "b": x[:, 20:]}, labels).keep([1, 21, 30])
    neurons = method(name).rank(data).top(3)
    assert {(neuron.site, neuron.index) for neuron in neurons} == {("a", 1), ("b", 1), ("b", 10)}


@every
def test_out_of_core_is_as_in_memory(name, tmp_path):
    x, labels = values()
    np.save(tmp_path / "x.npy", x)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    out_of_core = rank(name, stored, labels, memory_bytes=LEAST_MEMORY)
    assert np.array_equal(out_of_core.scores, rank(name, x, labels).scores)
    assert np.array_equal(out_of_core.class_scores, rank(name, x, labels).class_scores)


@every
def test_stays_within_the_memory_bound(name, tmp_path):
    rows, width = 6000, 2000
    x, labels = values(rows)
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (rows, width))
    for at in range(0, width, x.shape[1]):
        stored[:, at : at + x.shape[1]] = x
    data = Data.from_arrays(stored, labels, memory_bytes=LEAST_MEMORY)
    quick = {"gaussian": {"count": 2}, "latent_variable": {"epochs": 1}, "linear_probe": {"epochs": 1}}
    quick["random_forest"] = {"trees": 2, "depth": 3}
    bounded = RANKING_METHODS[name](**quick.get(name, {}))
    tracemalloc.start()
    try:
        bounded.rank(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LEAST_MEMORY < 4 * rows * width / 2


@every
def test_progress_reaches_the_end(name):
    seen: list[float] = []
    method(name).rank(planted(), progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) >= 1


@every
def test_can_be_cancelled_anywhere(name):
    def rank_until(last: int) -> int:
        """Cancels at a check; 0: never. How often was asked."""
        checks = 0

        def cancelled() -> bool:
            nonlocal checks
            checks += 1
            return checks == last

        method(name).rank(planted(), progress=Progress(cancelled=cancelled))
        return checks

    checks = rank_until(0)
    for last in (1, checks // 2, checks):
        with pytest.raises(Cancelled):
            rank_until(last)
