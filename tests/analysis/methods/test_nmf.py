"""NMF factors: against scikit-learn, and what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.nmf import Nmf
from patchclamp_analysis.progress import Progress
from sklearn.decomposition import NMF


def planted(rows: int = 120, width: int = 45) -> NDArray[np.float32]:
    """Three groups of 15 neurons, each of which fires in a third of the rows; below 0 there is noise."""
    draw = np.random.default_rng(0)
    groups, thirds = np.arange(width) // 15, np.arange(rows) // 40
    x = np.where(thirds[:, None] == groups, draw.uniform(1, 2, (rows, width)), -draw.uniform(0, 1, (rows, width)))
    return np.asarray(x, np.float32)


def test_as_scikit_learn():
    x = planted()
    found = Nmf(factors=3).fit(Data.from_arrays(x))
    theirs = NMF(3, init="random", random_state=0, max_iter=500)
    assert np.allclose(found.activations, theirs.fit_transform(np.maximum(x, 0)), atol=1e-5)
    assert np.allclose(found.neuron_weights, theirs.components_, atol=1e-5)
    assert found.error == pytest.approx(theirs.reconstruction_err_ / np.linalg.norm(np.maximum(x, 0)), rel=1e-4)
    assert found.iterations == theirs.n_iter_
    assert found.converged


def test_finds_the_groups():
    found = Nmf(factors=3).fit(Data.from_arrays(planted()))
    groups = found.neuron_weights.argmax(axis=0).reshape(3, 15)
    assert (groups == groups[:, :1]).all()
    assert sorted(groups[:, 0]) == [0, 1, 2]
    assert found.error < 0.25


def test_out_of_core_is_as_in_memory(tmp_path):
    x = np.tile(planted(), (12, 100))
    np.save(tmp_path / "x.npy", x)
    stored = Data.from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), memory_bytes=LEAST_MEMORY)
    method = Nmf(factors=3, iterations=20)
    assert np.array_equal(method.fit(stored).neuron_weights, method.fit(Data.from_arrays(x)).neuron_weights)


def test_leaves_its_input_alone():
    x = planted()
    before = x.copy()
    Nmf(factors=2).fit(Data.from_arrays(x))
    assert np.array_equal(x, before)


def test_says_whether_it_converged():
    assert not Nmf(factors=3, iterations=1).fit(Data.from_arrays(planted())).converged


def test_tables_say_once_how_well_it_fits():
    data, method = Data.from_arrays(planted()), Nmf(factors=3)
    tables, found = method.tables({"one": data}), method.fit(data)
    assert tables["fit"].to_dict("records") == [{"error": found.error, "iterations": found.iterations, "converged": 1}]
    assert tables["factors"].columns.tolist() == ["factor", "weight"]
    assert tables["factors"]["weight"].tolist() == found.neuron_weights.sum(axis=1, dtype=np.float64).tolist()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (-np.ones((9, 9)), "no activation is above 0"),
        (np.ones((9, 2)), "nmf.factors: 3 factors are too many for 9 rows of 2 neurons"),
        (np.where(np.eye(9) > 0, -np.inf, 1.0), "the activation is -inf"),
        (np.where(np.eye(9) > 0, np.nan, 1.0), "the activation is nan"),
    ],
)
def test_refuses(x, message):
    with pytest.raises(BadData, match=message):
        Nmf(factors=3).fit(Data.from_arrays(x))


def test_progress_and_cancel():
    seen: list[float] = []
    Nmf(factors=3).fit(Data.from_arrays(planted()), progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(Cancelled):
        Nmf(factors=3).fit(Data.from_arrays(planted()), progress=Progress(cancelled=lambda: True))
