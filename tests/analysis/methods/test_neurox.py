"""`compat="neurox"` against what the toolkit itself found; see golden/neurox/ORIGIN.md."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods.average_precision import AveragePrecision
from patchclamp_analysis.methods.class_gaussians import ClassGaussians
from patchclamp_analysis.methods.gaussian import Gaussian
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.mean_select import MeanSelect
from patchclamp_analysis.methods.probeless import Probeless
from patchclamp_analysis.methods.weight_order import (
    Sweep,
    above_part_of_largest,
    heaviest,
    lightest,
    sweep,
    sweep_by_number,
)
from patchclamp_analysis.probe import Probe

GOLDEN = Path(__file__).parents[1] / "golden" / "neurox"
NAMES = ("NOUN", "VERB", "ADJ", "OTHER")
RANKINGS = json.loads((GOLDEN / "linear_probe_rankings.json").read_text())
SELECTIONS = json.loads((GOLDEN / "selection_from_weights.json").read_text())

of_each_class = pytest.mark.parametrize(("number", "name"), list(enumerate(NAMES)))


@cache
def figures(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


def inputs(rows: slice = slice(None)) -> Data:
    # As numbers, so that the classes keep the order they have there.
    return Data.from_arrays(figures("inputs")["X"][rows], figures("inputs")["y"][rows])


def test_probeless_overall():
    ranking = Probeless(compat="neurox").rank(inputs())
    assert np.array_equal(ranking.order(), figures("probeless")["ranking"])


@of_each_class
def test_probeless_of_a_class(number, name):
    ranking = Probeless(compat="neurox").rank(inputs())
    assert np.array_equal(ranking.order(str(number)), figures("probeless")[f"ranking_tag_{name}"])
    assert np.allclose(ranking.scores_of(str(number)), figures("probeless")[f"score_tag_{name}"], rtol=1e-5)


@of_each_class
@pytest.mark.parametrize(("threshold", "key"), [(0.05, "iou_ranking"), (0.0, "iou_ranking_thr0")])
def test_average_precision(number, name, threshold, key):
    ranking = AveragePrecision(compat="neurox", threshold=threshold).rank(inputs())
    assert np.array_equal(ranking.order(str(number)), figures("iou_selectivity")[f"{key}_{name}"])
    if threshold:
        expected = figures("iou_selectivity")[f"iou_score_{name}"]
        assert np.allclose(ranking.scores_of(str(number)), expected, atol=1e-12)


@of_each_class
def test_selectivity(number, name):
    ranking = MeanSelect(compat="neurox").rank(inputs())
    assert np.array_equal(ranking.order(str(number)), figures("iou_selectivity")[f"selectivity_ranking_{name}"])
    expected = figures("iou_selectivity")[f"selectivity_score_{name}"]
    assert np.allclose(ranking.details["signed"][number], expected, atol=1e-6)


def test_gaussian_order_accuracy_and_bits():
    ranking = Gaussian(compat="neurox", count=12).rank(inputs())
    expected = figures("gaussian")
    assert np.array_equal(ranking.details["chosen"], expected["ordering_top12"])
    assert np.array_equal(ranking.order()[:12], expected["ordering_top12"])
    assert np.allclose(ranking.details["accuracy"], expected["acc_mi_nmi_per_step"][:, 0], atol=1e-12)
    assert np.allclose(ranking.details["mi"], expected["acc_mi_nmi_per_step"][:, 1], atol=1e-5)
    assert np.allclose(ranking.details["single_accuracy"], expected["acc_mi_nmi_single_neuron"][:, 0], atol=1e-12)
    assert np.allclose(ranking.details["single_mi"], expected["acc_mi_nmi_single_neuron"][:, 1], atol=1e-5)


def test_gaussian_parameters():
    fitted = ClassGaussians.fit(inputs(), map_dimensions=256)
    expected = figures("gaussian")
    assert np.allclose(fitted.means, expected["mu_star"], atol=1e-5)
    assert np.allclose(fitted.priors, expected["categorical"], atol=1e-7)
    assert np.allclose(fitted.covariances[:, :16, :16], expected["sigma_star_block16"], rtol=1e-5, atol=1e-6)
    diagonal = np.diagonal(fitted.covariances, axis1=1, axis2=2)
    assert np.allclose(diagonal, expected["sigma_star_diag"], rtol=1e-5)


def test_gaussian_on_held_out_rows():
    chosen = figures("gaussian")["ordering_top12"]
    fitted = ClassGaussians.fit(inputs(slice(1500)).keep(chosen), map_dimensions=256)
    scores = fitted.score(inputs(slice(1500, None)).keep(chosen))
    assert scores.accuracy == figures("gaussian")["heldout_acc_top12"]


def groups(order: NDArray[np.integer], cutoffs: NDArray[np.integer]) -> list[set[int]]:
    """What each step of a sweep adds."""
    parts = np.split(np.asarray(order), np.asarray(cutoffs))[:-1]
    return [set(part.tolist()) for part in parts if len(part)]


def same_sweep(found: Sweep, order: list[int], cutoffs: list[int]) -> bool:
    return found.cutoffs.tolist() == cutoffs and groups(found.order, found.cutoffs) == groups(
        np.array(order), np.array(cutoffs)
    )


@pytest.mark.parametrize("kind", RANKINGS)
def test_sweep_of_trained_weights(kind):
    weights, expected = figures("linear_probe_weights")[f"{kind}_W"], RANKINGS[kind]
    assert same_sweep(sweep(weights), expected["ordering"], expected["cutoffs"])
    by_number = sweep_by_number(weights, 10)
    assert same_sweep(by_number, expected["granular10_ordering"], expected["granular10_cutoffs"])


# Among equal weights the toolkit's order is that of an unstable sort, so that unions over classes differ.
@pytest.mark.parametrize("kind", ["dense", "sparse", "equal"])
def test_sweep_of_given_weights(kind):
    weights = np.array(SELECTIONS[kind]["W"], np.float32)
    assert same_sweep(sweep(weights), SELECTIONS[kind]["ordering"], SELECTIONS[kind]["cutoffs"])
    assert same_sweep(sweep_by_number(weights, 10), *SELECTIONS[kind]["granular10"])


@pytest.mark.parametrize("kind", SELECTIONS)
@pytest.mark.parametrize(("selection", "select"), [("top", heaviest), ("bottom", lightest)])
def test_selection_by_mass(kind, selection, select):
    weights = np.abs(np.array(SELECTIONS[kind]["W"], np.float32))
    for mass, expected in SELECTIONS[kind][selection].items():
        for number, neurons in enumerate(select(weights, float(mass))):
            # Up to the order among equal weights.
            assert np.array_equal(weights[number, neurons], weights[number, expected[f"c{number}"]])


@pytest.mark.parametrize("kind", RANKINGS)
@pytest.mark.parametrize(("selection", "select"), [("top", heaviest), ("bottom", lightest)])
def test_selection_by_mass_of_trained_weights(kind, selection, select):
    for mass, expected in RANKINGS[kind][selection].items():
        found = select(figures("linear_probe_weights")[f"{kind}_W"], float(mass))
        assert [neurons.tolist() for neurons in found] == [expected["per_class"][name] for name in NAMES]
        assert sorted(set(np.concatenate(found).tolist())) == expected["union_sorted"]


@pytest.mark.parametrize("kind", SELECTIONS)
def test_selection_by_part_of_the_largest(kind):
    weights = np.array(SELECTIONS[kind]["W"], np.float32)
    for divisor, expected in SELECTIONS[kind]["hard"].items():
        found = above_part_of_largest(weights, float(divisor))
        assert [neurons.tolist() for neurons in found] == list(expected.values())


def golden_probe(kind: str) -> Probe:
    weights = figures("linear_probe_weights")
    width = weights[f"{kind}_W"].shape[1]
    unscaled = np.zeros(width, np.float32), np.ones(width, np.float32)
    return Probe(inputs().neurons, inputs().classes, weights[f"{kind}_W"], weights[f"{kind}_b"], *unscaled)


@pytest.mark.parametrize("kind", RANKINGS)
def test_scores_of_a_probe(kind):
    probe, expected = golden_probe(kind), RANKINGS[kind]
    held_out = probe.score(inputs(slice(1500, None)))
    assert held_out.accuracy == expected["heldout"]["__OVERALL__"]
    assert dict(held_out.per_class) == {str(number): expected["heldout"][name] for number, name in enumerate(NAMES)}
    assert probe.score(inputs(slice(1500))).accuracy == pytest.approx(expected["train"], abs=1e-12)


@pytest.mark.parametrize("kind", RANKINGS)
@pytest.mark.parametrize("percent", [10, 20])
def test_ablation_in_a_probe(kind, percent):
    order, expected = RANKINGS[kind]["ordering"], RANKINGS[kind]["ablation_zero_out"]
    count = 256 * percent // 100
    for which, kept in (("top", order[:count]), ("bottom", order[-count:])):
        ablated = golden_probe(kind).ablated(kept, "zero")
        assert ablated.score(inputs(slice(1500, None))).accuracy == expected[f"keep_{which}_{percent}pct_zero_out"]


@pytest.mark.parametrize("kind", RANKINGS)
def test_ranking_by_a_probe_is_the_sweep(kind):
    ranking = LinearProbe(compat="neurox").rank_by(golden_probe(kind), inputs(slice(1500)))
    cutoffs = np.array(RANKINGS[kind]["cutoffs"])
    assert groups(ranking.order(), cutoffs) == groups(np.array(RANKINGS[kind]["ordering"]), cutoffs)
