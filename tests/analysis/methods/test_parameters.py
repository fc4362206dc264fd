from __future__ import annotations

from dataclasses import FrozenInstanceError
from math import inf

import pytest
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.methods import METHODS, build, describe
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.parameters import Parameter

PROBE = {parameter.name: parameter for parameter in describe(LinearProbe).parameters}


def test_names_are_those_of_the_registry():
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_what_a_method_is_made_of(name):
    defaults = {parameter.name: parameter.default for parameter in describe(METHODS[name]).parameters}
    assert build(METHODS[name], defaults) == METHODS[name]()


def test_a_number_with_its_bounds():
    assert PROBE["rate"] == Parameter("rate", "float", 0.1, "Adam's rate at the start, times √D.", 1e-6, 10.0)


def test_a_choice():
    assert PROBE["solver"].kind == "choice"
    assert PROBE["solver"].choices == ("adam", "lbfgs")


@pytest.mark.parametrize(("name", "kind"), [("epochs", "int"), ("standardise", "bool"), ("grid", "floats")])
def test_kinds(name, kind):
    assert PROBE[name].kind == kind


def test_plain_values():
    made = build(LinearProbe, {"epochs": 3.0, "grid": [0.1, 1], "standardise": False, "solver": "lbfgs"})
    assert made == LinearProbe(epochs=3, grid=(0.1, 1), standardise=False, solver="lbfgs")
    assert isinstance(made.epochs, int)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, r"linear_probe\.epoch: no such parameter; did you mean epochs\?"),
        ({"zzz": 3}, r"linear_probe\.zzz: no such parameter; there are l1, l2, grid"),
        ({"batch": 0}, r"linear_probe\.batch: 0 is out of bounds: 1 to 4096"),
        ({"epochs": 2.5}, r"linear_probe\.epochs: must be an integer, not 2\.5"),
        ({"epochs": True}, "must be an integer, not True"),
        ({"epochs": "3"}, "must be an integer, not '3'"),
        ({"rate": float("nan")}, "nan is out of bounds"),
        ({"standardise": 1}, "must be true or false, not 1"),
        ({"grid": [0.1, -1.0]}, r"linear_probe\.grid: -1\.0 is out of bounds: 0 to 1e\+06"),
        ({"l1": float("inf")}, "inf is out of bounds"),
        ({"grid": 0.1}, "must be a list of numbers, not 0\\.1"),
        ({"grid": ["a"]}, "must be a list of numbers, not 'a'"),
        ({"solver": "sgd"}, "must be one of 'adam', 'lbfgs', not 'sgd'"),
        ({"rate": None}, "must be a number, not None"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(BadData, match=message):
        build(LinearProbe, values)


@pytest.mark.parametrize("name", METHODS)
def test_no_number_may_be_infinite(name):
    numbers = [each for each in describe(METHODS[name]).parameters if each.kind in ("float", "floats")]
    assert all(each.least > -inf and each.most < inf for each in numbers)


def test_methods_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        LinearProbe().epochs = 3  # type: ignore[misc]
