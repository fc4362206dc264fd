"""Activations to measure the methods on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Site

__all__ = ["CLASSES", "LAYERS", "ROWS", "WIDTH", "Sample"]

ROWS, WIDTH, CLASSES = 20_000, 2304, 17
LAYERS, SENTENCE, VOCABULARY = 6, 20, 4000
NEARNESS = np.float32(0.2)


@dataclass(frozen=True, eq=False)
class Sample:
    """Activations [N, D], and a class, a word and a sentence for each row."""

    x: NDArray[np.floating]
    y: NDArray[np.int64]
    words: NDArray[np.object_]
    sentences: NDArray[np.int64]

    @classmethod
    def of(cls, x: NDArray[np.floating]) -> Sample:
        """Classes and words as frequent as in a text, sentences of one length."""
        draw = np.random.default_rng(0)
        y = draw.choice(CLASSES, len(x), p=_zipf(CLASSES))
        words = np.array([f"word{number}" for number in range(VOCABULARY)], dtype=object)
        chosen = words[draw.choice(VOCABULARY, len(x), p=_zipf(VOCABULARY))]
        return cls(x, y, chosen, np.arange(len(x)) // SENTENCE)

    @classmethod
    def draw(cls, rows: int = ROWS, width: int = WIDTH) -> Sample:
        """Neurons that go together, as in a model: class means and rows follow 200 factors."""
        return _drawn(rows, width, 0)

    @classmethod
    def half(cls, rows: int, width: int) -> Sample:
        """The same in float16, the neurons of narrower ones again and again, each time one row further."""
        narrow = cls.draw(rows, min(width, WIDTH)).x
        x = np.empty((rows, width), np.float16)
        for number, at in enumerate(range(0, width, WIDTH)):
            x[:, at : at + WIDTH] = np.roll(narrow, number, axis=0)[:, : width - at]
        return cls.of(x)

    @cached_property
    def data(self) -> Data:
        """As the methods take it, all neurons of one site."""
        return self._data(1)

    @cached_property
    def layers(self) -> Data:
        """The neurons of several layers."""
        return self._data(LAYERS)

    @cached_property
    def other(self) -> Data:
        """Another model on the same words."""
        return Sample(_drawn(*self.x.shape, 1).x, self.y, self.words, self.sentences).data

    def _data(self, layers: int) -> Data:
        sites = [Site(f"layers.{number}.residual", self.x.shape[1] // layers) for number in range(layers)]
        return Data.from_arrays(self.x, self.y, sites=sites, words=self.words, sentences=self.sentences)


@cache
def _drawn(rows: int, width: int, seed: int) -> Sample:
    found = Sample.of(np.empty((rows, width), np.float32))
    draw = np.random.default_rng(seed + 1)
    factors = draw.standard_normal((200, width), np.float32) / np.float32(6)
    # So near to each other that a probe is right in about nine rows of ten, as with parts of speech.
    centres = NEARNESS * draw.standard_normal((CLASSES, 200), np.float32)
    np.matmul(centres[found.y] + draw.standard_normal((rows, 200), np.float32), factors, out=found.x)
    for row in found.x:
        row += draw.standard_normal(width, np.float32)
    return found


def _zipf(count: int) -> NDArray[np.float64]:
    sizes = 1.0 / np.arange(1, count + 1)
    return np.asarray(sizes / sizes.sum())
