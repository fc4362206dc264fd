"""Synthetic rows of neurons whose part is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS, RANKING_METHODS, Method, RankingMethod, build

__all__ = [
    "CLASSES",
    "INFORMATIVE",
    "NEURONS",
    "QUICK",
    "SILENT",
    "TWINS",
    "WIDTH",
    "method",
    "other_method",
    "planted",
    "values",
]

CLASSES = ("adjective", "noun", "verb")
# Neurons that fire for a class, one each; that are silent for it; exact copies of the first.
INFORMATIVE, SILENT, TWINS = (0, 1, 2), (3, 4, 5), (6, 7, 8)
NEURONS = MappingProxyType(
    {
        "noise of large scale": 9,
        "dead": 10,
        "constant": 11,
        "of another spread for nouns": 12,
        "second half of an xor": 13,
        "first half of an xor": 14,
    }
)
WIDTH = 40

# What makes a method quick enough to test; nothing for most.
QUICK: Mapping[str, Mapping[str, object]] = {
    "compositional": {"length": 2},
    "gaussian": {"count": 6},
    "layer_selector": {"epochs": 2},
    "efficient_features": {"epochs": 2, "percents": (5.0, 20.0)},
    "representation_analysis": {"epochs": 2},
    "nmf": {"factors": 2, "iterations": 50},
    "umap_kmeans": {"populations": 3, "rows": 100},
    "latent_variable": {"epochs": 20},
    "linear_probe": {"epochs": 20},
    "random_forest": {"trees": 20},
}


def method(name: str) -> RankingMethod:
    """A method of the registry, quick."""
    return build(RANKING_METHODS[name], QUICK.get(name, {}))


def other_method(name: str) -> Method:
    """One that does not rank one set of activations, quick."""
    return build(METHODS[name], QUICK.get(name, {}))


def values(rows: int = 1200, width: int = WIDTH, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """Activations [rows, width] and labels [rows]. The rest of the neurons is noise."""
    draw = np.random.default_rng(seed)
    y = draw.choice(3, rows, p=(0.2, 0.3, 0.5))
    x = draw.standard_normal((rows, width)).astype(np.float32)
    for number in range(3):
        x[:, INFORMATIVE[number]] += 3.0 * (y == number)
        x[:, SILENT[number]] -= 3.0 * (y == number)
        x[:, TWINS[number]] = x[:, INFORMATIVE[number]]
    x[:, NEURONS["noise of large scale"]] *= 500.0
    x[:, NEURONS["dead"]] = 0.0
    x[:, NEURONS["constant"]] = 0.7
    x[:, NEURONS["of another spread for nouns"]] *= np.where(y == 1, 6.0, 1.0)
    first = draw.choice((-1.0, 1.0), rows)
    second = np.where(y == 2, first, -first)
    x[:, NEURONS["first half of an xor"]] = 2.0 * first + 0.3 * draw.standard_normal(rows)
    x[:, NEURONS["second half of an xor"]] = 2.0 * second + 0.3 * draw.standard_normal(rows)
    return x, np.array(CLASSES, dtype=object)[y]


def planted(rows: int = 1200, width: int = WIDTH, seed: int = 0, memory_bytes: int | None = None) -> Data:
    """The same as data, with words and sentences of ten words."""
    x, labels = values(rows, width, seed)
    words = np.array([f"word{row % 50}" for row in range(rows)], dtype=object)
    data = Data.from_arrays(x, labels, words=words, sentences=np.arange(rows) // 10, label="upos")
    return data if memory_bytes is None else replace(data, memory_bytes=memory_bytes)
