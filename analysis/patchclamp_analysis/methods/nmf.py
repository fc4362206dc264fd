"""NMF: factors into which the activations of neurons fall apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.neurons import Neurons
from ..data.nonnegative import nonnegative
from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .method import Kind, TableMethod
from .parameters import About

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Factors", "Nmf"]


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """max(X, 0) ≈ `activations` · `neuron_weights`: how active each of K factors is at each row [N, K], and which
    neurons [K, D] are in it. `error` is ‖max(X, 0) − their product‖ as a part of ‖max(X, 0)‖; without `converged` more
    iterations would lower it.
    """

    neurons: Neurons
    activations: NDArray[np.float32]
    neuron_weights: NDArray[np.float32]
    error: float
    iterations: int
    converged: bool

    def to_frames(self, data: Data) -> dict[str, pd.DataFrame]:
        """What `tables` says, of the data it was made of."""
        import pandas as pd

        weights = self.neuron_weights
        sums = weights.sum(axis=1, dtype=np.float64)
        fit = {"error": self.error, "iterations": self.iterations, "converged": int(self.converged)}
        factor, place = np.nonzero(weights > 0)
        strongest = np.lexsort((place, -weights[factor, place], factor))
        factor, place = factor[strongest], place[strongest]
        neurons = self.neurons.to_pandas().iloc[place].reset_index(drop=True).assign(weight=weights[factor, place])
        neurons.insert(0, "factor", factor)
        words = {} if data.words is None else {"word": data.words}
        columns = {f"factor {number}": self.activations[:, number] for number in range(len(weights))}
        return {
            "factors": pd.DataFrame({"factor": np.arange(len(weights)), "weight": sums}),
            "neurons": neurons,
            "activations": pd.DataFrame({"row": data.rows, **words, **columns}),
            "fit": pd.DataFrame([fit]),
        }


@dataclass(frozen=True)
class Nmf(TableMethod):
    """Factors: groups of neurons that fire together, and where, by non-negative matrix factorisation.

    max(X, 0) [N, D] ≈ W·H with W [N, K] and H [K, D] ≥ 0 and the smallest squared error, by coordinate descent
    (scikit-learn) from a random start. Rows are usually the tokens of one text, neurons those of all layers.

    Misses what neurons say by being negative; neurons of large scale have most weight; another seed may find other
    factors. Rows must be at hand at once: what does not fit into half of the memory bound is put into a temporary file.
    Can be cancelled before and after the factorisation only.
    """

    factors: Annotated[int, About("Factors, K.", 1, 10_000)] = 8
    iterations: Annotated[int, About("Most iterations.", 1, 100_000)] = 500
    seed: Annotated[int, About("Of the start.", 0, 2**32 - 1)] = 0

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    name: ClassVar[str] = "nmf"
    reference: ClassVar[str] = "Alammar 2020, Interfaces for explaining transformer language models"
    complexity: ClassVar[str] = "O(iterations·N·D·K)"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "factors": a row a factor, with the sum of its weights. "neurons": each factor's neurons of a weight
        above 0, largest first. "activations": a row a row of the data with its word, a column a factor. "fit": one row,
        the error of all as a part of the activations, the iterations, and whether they converged (1) or not (0).
        """
        data = self.only(datas)
        return self.answer(datas, **self.fit(data, progress=progress).to_frames(data))

    def fit(self, data: Data, *, progress: Progress = QUIET) -> Factors:
        """The factors. BadData if there are more of them than rows or neurons, or no activation is above 0."""
        from sklearn.decomposition import non_negative_factorization
        from sklearn.exceptions import ConvergenceWarning

        if self.factors > min(data.shape):
            rows, width = data.shape
            raise BadData(
                f"{self.factors} factors are too many for {rows} rows of {width} neurons", where="nmf.factors"
            )
        progress.check()
        x = nonnegative(data).matrix()
        if not x.max() > 0:
            raise BadData("no activation is above 0", where=data.label)
        progress.at(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            w, h, iterations = non_negative_factorization(
                x, n_components=self.factors, init="random", random_state=self.seed, max_iter=self.iterations
            )
        progress.at(0.9)
        squares = errors = 0.0
        for at, block in progress.part(0.9, 1.0).each(nonnegative(data).blocks()):
            squares += float(np.vdot(block, block))
            errors += float(np.sum(np.square(block - w[at] @ h), dtype=np.float64))
        converged = iterations < self.iterations
        return Factors(data.neurons, w, h, float(np.sqrt(errors / squares)), int(iterations), converged)
