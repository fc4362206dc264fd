"""What each method finds among neurons whose part is known, and what its docstring says it misses."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from patchclamp_analysis.methods import RANKING_METHODS, build
from patchclamp_analysis.results import Ranking

from tests.analysis.methods.planted import CLASSES, INFORMATIVE, NEURONS, SILENT, TWINS, method, planted

LINEAR = (*INFORMATIVE, *SILENT, *TWINS)
SPREAD = NEURONS["of another spread for nouns"]
XOR = (NEURONS["first half of an xor"], NEURONS["second half of an xor"])

# Methods that this section's tests are about; others have tests of their own.
FIND_SILENT = ("average_precision", "linear_probe", "mean_select", "mutual_information", "probeless", "random_forest")
SEE_ONE_BY_ONE = ("average_precision", "mean_select", "mutual_information", "probeless")


@cache
def ranking(name: str) -> Ranking:
    return method(name).rank(planted())


def place(name: str, neuron: int) -> int:
    return int(np.flatnonzero(ranking(name).order() == neuron)[0])


@pytest.mark.parametrize("name", FIND_SILENT)
def test_informative_neurons_twins_and_silent_ones_come_first(name):
    top = set(ranking(name).order()[: len(LINEAR) + 1].tolist())
    assert set(LINEAR) <= top


@pytest.mark.parametrize("name", ["iou", "latent_variable"])
def test_informative_neurons_and_twins_come_first(name):
    top = set(ranking(name).order()[:9].tolist())
    assert {*INFORMATIVE, *TWINS} <= top


@pytest.mark.parametrize("name", ["average_precision", "iou", "linear_probe", "mean_select", "mutual_information"])
@pytest.mark.parametrize("number", range(3))
def test_each_class_has_its_own(name, number):
    first = {neuron.index for neuron in ranking(name).top(2, CLASSES[number])}
    assert first == {INFORMATIVE[number], TWINS[number]} or SILENT[number] in first


@pytest.mark.parametrize("name", [name for name in RANKING_METHODS if RANKING_METHODS[name].supervised])
def test_noise_of_large_scale_does_not_win(name):
    assert place(name, NEURONS["noise of large scale"]) >= 6


def test_it_does_win_without_scaling():
    raw = build(RANKING_METHODS["probeless"], {"scale": False}).rank(planted())
    assert raw.order()[0] == NEURONS["noise of large scale"]


@pytest.mark.parametrize("name", SEE_ONE_BY_ONE)
def test_twins_score_the_same_and_keep_their_order(name):
    scores, order = ranking(name).scores, ranking(name).order().tolist()
    for informative, twin in zip(INFORMATIVE, TWINS, strict=True):
        assert scores[informative] == scores[twin]
        assert order.index(twin) == order.index(informative) + 1


def test_gaussian_takes_what_is_new_and_no_twin():
    chosen = set(ranking("gaussian").details["chosen"].tolist())
    assert chosen <= {*LINEAR, SPREAD}
    assert all(not {informative, twin} <= chosen for informative, twin in zip(INFORMATIVE, TWINS, strict=True))


@pytest.mark.parametrize("name", ["mutual_information", "random_forest", "gaussian"])
def test_another_spread_is_seen(name):
    assert place(name, SPREAD) <= 10


@pytest.mark.parametrize("name", ["probeless", "mean_select", "linear_probe"])
def test_another_spread_is_missed_where_means_count(name):
    assert ranking(name).scores[SPREAD] < 0.3 * ranking(name).scores[INFORMATIVE[0]]


def test_a_forest_sees_what_only_two_tell_together():
    among_noise = build(RANKING_METHODS["random_forest"], {"trees": 100}).rank(planted().keep([*XOR, 20, 21, 22, 23]))
    assert {neuron.index for neuron in among_noise.top(2)} == set(XOR)


@pytest.mark.parametrize("neuron", XOR)
@pytest.mark.parametrize("name", [*SEE_ONE_BY_ONE, "iou"])
def test_one_by_one_it_is_missed(name, neuron):
    assert ranking(name).scores[neuron] < 0.35 * ranking(name).scores[INFORMATIVE[0]]


@pytest.mark.parametrize(("sign", "neuron"), [("positive", INFORMATIVE[1]), ("negative", SILENT[1])])
def test_iou_looks_at_the_side_it_is_told(sign, neuron):
    found = build(RANKING_METHODS["iou"], {"sign": sign, "threshold": 1.5}).rank(planted())
    assert neuron in {top.index for top in found.top(2, "noun")}


def test_average_precision_says_which_side():
    sign = ranking("average_precision").details["sign"]
    assert [sign[number, INFORMATIVE[number]] for number in range(3)] == [1, 1, 1]
    assert [sign[number, SILENT[number]] for number in range(3)] == [-1, -1, -1]


def test_the_search_of_regularisation_finds_the_same():
    found = build(RANKING_METHODS["linear_probe"], {"grid": [1e-4, 1e-2]}).rank(planted())
    assert set(LINEAR) >= set(found.order()[:6].tolist())


@pytest.mark.parametrize("scheme", ["poisson", "conditional_poisson"])
def test_latent_variable_in_both_schemes(scheme):
    found = build(RANKING_METHODS["latent_variable"], {"scheme": scheme}).rank(planted())
    assert set(found.order()[:6].tolist()) <= set(LINEAR)
    assert found.scores[NEURONS["noise of large scale"]] < np.median(found.scores[list(LINEAR)])
