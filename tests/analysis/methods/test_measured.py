"""What `make bench` measures."""

from __future__ import annotations

from patchclamp_analysis.methods import METHODS

from tests.bench.methods_cases import CASES


def test_every_method_is_measured():
    assert CASES.keys() == METHODS.keys()
