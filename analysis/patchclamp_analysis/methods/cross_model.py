"""Cross-model: neurons that other models have too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations, permutations
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.blocks import steps
from ..data.correlation import Standardised, correlation_stripes
from ..data.rows import Data
from ..data.shared_rows import Centred, require_memory, require_same_rows, spanning
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import ComparingMethod, Kind
from .parameters import About

__all__ = ["CrossModel"]

Measure = Literal["max_corr", "min_corr", "lin_reg", "svcca"]


@dataclass(frozen=True)
class CrossModel(ComparingMethod):
    """Neurons that other models have too, on the same words: what several models have learned matters.

    X [N, D] and Y [N, D'] are the centred activations of a model and of another; x is a neuron, a column of X.
    "max_corr": the largest |ρ(x, y)| over all y of all other models; "min_corr": the largest |ρ(x, y)| over the y of
    each other model, of these the smallest; "lin_reg": ‖UᵀX‖/‖X‖ by column, U being the left singular vectors of Y,
    that is the multiple correlation of x with all of Y; "svcca": ‖VᵀWWᵀX‖/‖X‖ by column, W and V being the principal
    components of X and of Y with `variance` of the variance: what x has in common with the part of Y that counts. Of
    several other models the least counts for the last two, as for min_corr. `details["by_model"]` [others, D] has each
    other model, in the order of the models.

    Misses a neuron that no other model needs, however important; and with as many neurons as rows, lin_reg is 1 for
    all. Deviation: computed from covariances in float64 rather than from a decomposition of the rows, which takes one
    pass whatever N is; singular values below 10⁻⁶ of the largest count as 0. lin_reg and svcca need 72·D² bytes.
    """

    measure: Annotated[Measure, About("How a neuron is compared with other models.")] = "max_corr"
    variance: Annotated[float, About("Part of the variance that svcca keeps.", 0.01, 1.0)] = 0.99
    standardise: Annotated[bool, About("Give all neurons deviation 1 first: only svcca depends on it.")] = False

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    name: ClassVar[str] = "cross_model"
    reference: ClassVar[str] = "Bau et al. 2019; Wu et al. 2020, Similarity analysis of contextual word representations"
    complexity: ClassVar[str] = "O(N·D·D') for each pair of models, and O(D³) for lin_reg and svcca"

    def compare(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> dict[str, Ranking]:
        """A ranking of each model's neurons, by name. Rows must be of the same words; BadData where they are not."""
        require_same_rows(datas)
        if self.measure in ("max_corr", "min_corr"):
            found = self._correlations(datas, progress)
        else:
            require_memory(datas)
            found = self._explained(datas, progress)
        progress.at(1.0)
        return {name: self._ranking(datas, name, found) for name in datas}

    def _ranking(
        self, datas: Mapping[str, Data], name: str, found: Mapping[tuple[str, str], NDArray[np.float64]]
    ) -> Ranking:
        scores = np.stack([found[name, other] for other in datas if other != name])
        overall = scores.max(axis=0) if self.measure == "max_corr" else scores.min(axis=0)
        nothing = np.zeros((0, len(overall)))
        neurons = datas[name].neurons
        return Ranking(self.name, neurons, overall, (), nothing, parameters=asdict(self), details={"by_model": scores})

    def _correlations(
        self, datas: Mapping[str, Data], progress: Progress
    ) -> dict[tuple[str, str], NDArray[np.float64]]:
        """By model and other model, [D] the largest |ρ|. A product serves both directions."""
        rows = {name: Standardised.of(data) for name, data in datas.items()}
        pairs = list(combinations(datas, 2))
        found = {pair: np.zeros(len(datas[pair[0]].neurons)) for pair in permutations(datas, 2)}
        for number, (one, other) in enumerate(pairs):
            memory = min(datas[one].memory_bytes, datas[other].memory_bytes)
            width, beside = len(datas[one].neurons), len(datas[other].neurons)
            stripes = steps(0, width, memory // (32 * beside))
            part = progress.part(number / len(pairs), (number + 1) / len(pairs))
            for stripe, correlation in correlation_stripes(rows[one], rows[other], stripes, part):
                sizes = np.minimum(np.abs(correlation, out=correlation), np.float32(1.0), out=correlation)
                found[one, other][stripe] = sizes.max(axis=1)
                np.maximum(found[other, one], sizes.max(axis=0), out=found[other, one])
        return found

    def _explained(self, datas: Mapping[str, Data], progress: Progress) -> dict[tuple[str, str], NDArray[np.float64]]:
        """By model and other model, [D] the part of each neuron's length that lies in what the other spans."""
        pairs = list(combinations(datas, 2))
        found = {}
        for number, (one, other) in enumerate(pairs):
            part = progress.part(number / len(pairs), (number + 1) / len(pairs))
            x, y = (Centred.of(datas[name], name, standardise=self.standardise) for name in (one, other))
            cross = x.product(y, part.part(0.0, 0.4))
            of_x, of_y = x.product(x, part.part(0.4, 0.7)), y.product(y, part.part(0.7, 1.0))
            if self.measure == "lin_reg":
                found[one, other] = _multiple(of_x, of_y, cross.T)
                found[other, one] = _multiple(of_y, of_x, cross)
            else:
                basis_x, basis_y = spanning(of_x, variance=self.variance), spanning(of_y, variance=self.variance)
                shared = basis_y.T @ cross.T @ basis_x
                found[one, other] = _lengths(shared @ (basis_x.T @ of_x), of_x)
                found[other, one] = _lengths(shared.T @ (basis_y.T @ of_y), of_y)
        return found


def _multiple(of_x: NDArray[np.float64], of_y: NDArray[np.float64], cross: NDArray[np.float64]) -> NDArray[np.float64]:
    """[D] multiple correlations of the columns of X with all of Y; `cross` is YᵀX. Scales of neurons do not matter, so
    that they are taken out first.
    """
    lengths = np.sqrt(np.diag(of_y))
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    basis = inverse[:, None] * spanning(of_y * inverse[:, None] * inverse)
    return _lengths(basis.T @ cross, of_x)


def _lengths(parts: NDArray[np.float64], of_x: NDArray[np.float64]) -> NDArray[np.float64]:
    """[D] the lengths of columns as parts of those of X, from 0 to 1; 0 for constant neurons."""
    lengths = np.sqrt(np.diag(of_x))
    found = np.divide(np.linalg.norm(parts, axis=0), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return np.asarray(np.minimum(found, 1.0))
