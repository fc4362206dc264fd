"""Several models on the same words: their products, and bases of what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..progress import QUIET, Progress
from .blocks import steps
from .moments import moments
from .rows import Data

__all__ = ["Centred", "require_memory", "require_same_rows", "spanning"]

_ROWS = 1024
# Per pair of neurons, in float64: two covariances and a product, eigenvectors and what finding them takes.
_BYTES = 72


@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """Rows of neurons of mean 0, divided by `scale`, in float64; constant ones are 0."""

    data: Data
    mean: NDArray[np.float64]
    constant: NDArray[np.bool_]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, data: Data, name: str, progress: Progress = QUIET, *, standardise: bool = False) -> Centred:
        """One pass over the data. With `standardise` of deviation 1, else as they are. BadData if there is nothing but
        constant neurons.
        """
        found = moments(data, progress)
        if found.constant.all():
            raise BadData("all neurons are constant: there is nothing to compare", where=name)
        scale = found.scale if standardise else np.ones(len(found.mean))
        return cls(data, found.mean, found.constant, scale)

    def read(self, rows: slice) -> NDArray[np.float64]:
        """[n, D] of some rows."""
        block = (self.data.read_rows(rows) - self.mean) / self.scale
        block[:, self.constant] = 0.0
        return block

    def stripes(self, other: Centred, progress: Progress = QUIET) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """XᵀY [d, D'] of some neurons after the others, as many at a time as the memory bound allows: a pass each."""
        memory = min(self.data.memory_bytes, other.data.memory_bytes)
        width, beside = len(self.mean), len(other.mean)
        stripes = steps(0, width, memory // (64 * beside))
        blocks = steps(0, len(self.data), min(_ROWS, memory // (64 * (width + beside))))
        for number, stripe in enumerate(stripes):
            part = progress.part(number / len(stripes), (number + 1) / len(stripes))
            found = np.zeros((stripe.stop - stripe.start, beside))
            for rows in part.each(blocks):
                block = self.read(rows)
                found += block[:, stripe].T @ (block if other is self else other.read(rows))
            yield stripe, found

    def product(self, other: Centred, progress: Progress = QUIET) -> NDArray[np.float64]:
        """XᵀY [D, D'], O(N·D·D')."""
        whole = np.empty((len(self.mean), len(other.mean)))
        for stripe, found in self.stripes(other, progress):
            whole[stripe] = found
        return whole


def spanning(covariance: NDArray[np.float64], *, variance: float = 1.0) -> NDArray[np.float64]:
    """[D, r] such that the columns of X times it are orthonormal and span X (of XᵀX [D, D]), or its principal
    components with this part of its variance. O(D³).
    """
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    # Below this is rounding: squares of singular values at the precision of float64.
    rank = int(np.sum(values > values[0] * len(values) * np.finfo(np.float64).eps * 10))
    shares = np.cumsum(values[:rank]) / np.sum(values[:rank])
    rank = min(rank, int(np.searchsorted(shares, variance - 1e-12)) + 1)
    basis: NDArray[np.float64] = vectors[:, :rank] / np.sqrt(values[:rank])
    return basis


def require_same_rows(datas: Mapping[str, Data]) -> None:
    """BadData unless there are two sets of rows or more, of the same words."""
    if len(datas) < 2:
        raise BadData(f"needs at least two models to compare, not {len(datas)}")
    (first, one), *others = datas.items()
    for name, other in others:
        if len(other) != len(one):
            raise BadData(f"has {len(other)} rows, and {first} {len(one)}: they must be of the same words", where=name)
        for what, mine, its in (("word", one.words, other.words), ("sentence", one.sentences, other.sentences)):
            if mine is not None and its is not None and (different := np.flatnonzero(mine != its)).size:
                row = int(different[0])
                text = f"row {row} is of the {what} {its[row]!s}, and in {first} of {mine[row]!s}"
                raise BadData(f"{text}: they must be of the same words", where=name)


def require_memory(datas: Mapping[str, Data]) -> None:
    """BadData if covariances of two models, and what is made of them, do not fit into the memory bound."""
    for name, data in datas.items():
        if (need := _BYTES * len(data.neurons) ** 2) > data.memory_bytes:
            text = f"{len(data.neurons)} neurons need {need} bytes, and memory_bytes is {data.memory_bytes}"
            raise BadData(f"{text}: raise it, or keep fewer neurons", where=name)
