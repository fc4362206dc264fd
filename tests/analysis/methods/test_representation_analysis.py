from __future__ import annotations

import numpy as np
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods.representation_analysis import RepresentationAnalysis

from tests.analysis.methods.planted import values


def layered() -> Data:
    x, labels = values()
    return Data.from_arrays({"early": x[:, 20:30], "middle": x[:, [5, 21, 22]], "late": x[:, :9]}, labels)


def test_a_probe_per_site():
    found = RepresentationAnalysis().analyse(layered())
    assert found.sites == ("early", "middle", "late")
    early, middle, late = (scores.accuracy for scores in found.scores)
    assert early < 0.6 < middle < 0.9 < late


def test_rows_to_judge_by_may_be_given():
    train, test = layered().split(0.5)
    found = RepresentationAnalysis().analyse(train, test)
    assert {scores.rows for scores in found.scores} == {len(test)}


def test_as_a_table():
    table = RepresentationAnalysis().analyse(layered()).to_pandas()
    assert list(table.columns) == ["site", "accuracy", "majority", "loss"]
    assert list(table["site"]) == ["early", "middle", "late"]


def test_sites_without_neurons_are_left_out():
    found = RepresentationAnalysis().analyse(layered().keep(np.arange(10, 22)))
    assert found.sites == ("middle", "late")


def test_regression_per_site():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((500, 6)).astype(np.float32)
    data = Data.from_arrays({"a": x[:, :3], "b": x[:, 3:]}, targets=x[:, 4])
    found = RepresentationAnalysis(l1=0.0, l2=1e-4).analyse(data)
    without, with_it = found.scores
    assert list(found.to_pandas().columns) == ["site", "loss", "pearson", "spearman"]
    assert abs(without.pearson) < 0.4
    assert with_it.pearson > 0.98
