"""UMAP without what it would compile for ten seconds in each process."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest


@pytest.fixture(autouse=True)
def _umap_as_it_is_written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few neurons these two are as quick as plain Python, and the same."""
    if "umap" in request.node.nodeid and find_spec("umap"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = import_module("umap.umap_")
        for name in ("fast_knn_indices", "smooth_knn_dist"):
            monkeypatch.setattr(module, name, getattr(module, name).py_func)
