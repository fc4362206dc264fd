"""The plain ways, with numpy, pandas and scikit-learn, of what needs no classes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF

__all__ = [
    "cross_model",
    "dead",
    "distance_from_mean",
    "nmf",
    "saturation",
    "similarity",
    "top_contexts",
    "top_words",
    "umap_kmeans",
    "variance",
]

Values = NDArray[np.floating]
Words = NDArray[np.object_]


def variance(x: Values) -> Values:
    """In one call."""
    return np.asarray(x.var(axis=0))


def distance_from_mean(x: Values) -> Values:
    """In one line."""
    return np.asarray(np.abs(x - x.mean(axis=0)).mean(axis=0))


def dead(x: Values) -> tuple[Values, Values]:
    """Silent rows, and the largest size."""
    size = np.abs(x)
    return np.mean(size <= 0, axis=0), size.max(axis=0)


def saturation(x: Values) -> Values:
    """By each neuron's range."""
    low, high = x.min(axis=0), x.max(axis=0)
    places = (x - low) / (high - low)
    return np.asarray(np.mean((places < 0.1) | (places > 0.9), axis=0))


def top_words(x: Values, words: Words, top: int) -> list[pd.Series]:
    """Means by word type, and each neuron's largest."""
    scores = pd.DataFrame(np.abs((x - x.mean(axis=0)) / x.std(axis=0))).groupby(words).mean()
    scores /= scores.max()
    return [scores[neuron].nlargest(top) for neuron in scores]


def top_contexts(x: Values, words: Words, sentences: NDArray[np.int64], top: int, longest: int) -> list[list[int]]:
    """Rows in falling order, and of those the first with different contexts."""
    contexts = []
    for row in range(len(words)):
        first = max(0, row - longest + 1)
        contexts.append(tuple(words[at] for at in range(first, row + 1) if sentences[at] == sentences[row]))
    found = []
    for column in np.argsort(-x, axis=0, kind="stable").T:
        rows: dict[tuple[str, ...], int] = {}
        for row in column:
            rows.setdefault(contexts[row], int(row))
            if len(rows) == top:
                break
        found.append(list(rows.values()))
    return found


def cross_model(x: Values, other: Values) -> tuple[Values, Values]:
    """The largest correlation with a neuron of the other model, both ways."""
    sizes = np.abs(np.corrcoef(x, other, rowvar=False)[: x.shape[1], x.shape[1] :])
    return sizes.max(axis=1), sizes.max(axis=0)


def similarity(x: Values, layers: int) -> list[float]:
    """Linear CKA of each two layers."""
    parts = np.split(x.astype(np.float64) - x.mean(axis=0, dtype=np.float64), layers, axis=1)
    own = [float(np.linalg.norm(part.T @ part)) for part in parts]
    pairs = combinations(range(layers), 2)
    return [float(np.linalg.norm(parts[a].T @ parts[b])) ** 2 / (own[a] * own[b]) for a, b in pairs]


def nmf(x: Values, factors: int, iterations: int) -> Values:
    """scikit-learn's."""
    fitted = NMF(factors, init="random", random_state=0, max_iter=iterations)
    return np.asarray(fitted.fit_transform(np.maximum(x, 0)))


def umap_kmeans(x: Values, populations: int) -> Values:
    """umap-learn's and scikit-learn's."""
    from umap import UMAP

    points = UMAP(random_state=0, n_jobs=1).fit_transform(((x - x.mean(axis=0)) / x.std(axis=0)).T)
    return np.asarray(KMeans(populations, n_init=10, random_state=0).fit_predict(points))
