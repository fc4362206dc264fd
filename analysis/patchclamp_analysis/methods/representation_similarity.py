"""Representation similarity: how much alike models, or their layers, are as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..data.shared_rows import Centred, require_memory, require_same_rows, spanning
from ..errors import BadData
from ..progress import QUIET, Progress
from ..tables import Tables
from .method import Kind, TableMethod
from .parameters import About

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RepresentationSimilarity", "Similarity"]


@dataclass(frozen=True, slots=True, eq=False)
class Similarity:
    """How much alike each two are: `values` [M, M], symmetric, from 0 to 1, 1 on the diagonal."""

    names: tuple[str, ...]
    values: NDArray[np.float64]

    def to_pandas(self) -> pd.DataFrame:
        """A row and a column for each."""
        import pandas as pd

        return pd.DataFrame(self.values, index=list(self.names), columns=list(self.names))


@dataclass(frozen=True)
class RepresentationSimilarity(TableMethod):
    """How much alike models, or layers, are on the same words: linear CKA, SVCCA or PWCCA.

    X [N, D] and Y [N, D'] are centred. "cka": ‖XᵀY‖²/(‖XᵀX‖·‖YᵀY‖), Frobenius norms. "svcca": the mean canonical
    correlation of their principal components with `variance` of the variance. "pwcca": the mean of the canonical
    correlations ρ_i weighted with α_i = Σ_j |⟨h_i, x_j⟩|, h_i being the canonical vectors of the smaller of the two
    spaces (the first of equals) and x_j its neurons. To compare layers, give each as data of its own (`data.of_site`).

    Misses which neurons it is (`cross_model` says that), and what is alike but for a curved map. Canonical correlations
    are close to 1 by chance unless there are many more rows than neurons; CKA is not, but a few directions of large
    variance are all it sees, unless neurons are standardised. Deviation: computed from covariances in float64, in one
    pass whatever N is. Memory: svcca and pwcca need 72·D² bytes; cka is made in stripes.
    """

    measure: Annotated[Literal["cka", "svcca", "pwcca"], About("How spaces are compared.")] = "cka"
    variance: Annotated[float, About("Part of the variance that svcca keeps.", 0.01, 1.0)] = 0.99
    standardise: Annotated[bool, About("Give all neurons deviation 1 first.")] = False

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    several: ClassVar[bool] = True
    name: ClassVar[str] = "representation_similarity"
    reference: ClassVar[str] = "Kornblith et al. 2019 (CKA); Raghu et al. 2017 (SVCCA); Morcos et al. 2018 (PWCCA)"
    complexity: ClassVar[str] = "O(N·D·D') for each pair, and O(D³) for svcca and pwcca"

    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """Gives "similarity": a row a pair. Of one set of activations its sites are compared."""
        import pandas as pd

        if len(datas) == 1:
            data = next(iter(datas.values()))
            numbers = np.unique(data.neurons.site_numbers)
            parts = {site.name: data.of_site(site.name) for site in (data.neurons.sites[number] for number in numbers)}
        else:
            parts = dict(datas)
        if len(parts) < 2:
            raise BadData("there is one site of one model: nothing to compare it with", where=next(iter(datas)))
        found = self.compare(parts, progress=progress)
        pairs = list(combinations(range(len(found.names)), 2))
        rows = [(found.names[one], found.names[other], found.values[one, other]) for one, other in pairs]
        return self.answer(datas, similarity=pd.DataFrame(rows, columns=["one", "other", "similarity"]))

    def compare(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Similarity:
        """Each with each. Rows must be of the same words; BadData where they are not."""
        require_same_rows(datas)
        if self.measure != "cka":
            require_memory(datas)
        rows = {name: Centred.of(data, name, standardise=self.standardise) for name, data in datas.items()}
        numbers = {name: number for number, name in enumerate(datas)}
        values = np.eye(len(datas))
        own, begin = self._own(rows, progress)
        pairs, rest = list(combinations(datas, 2)), progress.part(begin, 1.0)
        for done, (one, other) in enumerate(pairs):
            part = rest.part(done / len(pairs), (done + 1) / len(pairs))
            if self.measure == "cka":
                found = _size(rows[one], rows[other], part) / float(np.sqrt(own[one] * own[other]))
            else:
                found = self._canonical(rows[one], rows[other], part)
            values[numbers[one], numbers[other]] = values[numbers[other], numbers[one]] = min(max(found, 0.0), 1.0)
        progress.at(1.0)
        return Similarity(tuple(datas), values)

    def _own(self, rows: Mapping[str, Centred], progress: Progress) -> tuple[dict[str, float], float]:
        """‖XᵀX‖² of each for cka, and how much of the work that is."""
        if self.measure != "cka":
            return {}, 0.0
        share = 2 / (len(rows) + 1)
        parts = [progress.part(share * at / len(rows), share * (at + 1) / len(rows)) for at in range(len(rows))]
        return {name: _size(x, x, part) for (name, x), part in zip(rows.items(), parts, strict=True)}, share

    def _canonical(self, one: Centred, other: Centred, progress: Progress) -> float:
        parts = [progress.part(third / 3, (third + 1) / 3) for third in range(3)]
        of_one, of_other = one.product(one, parts[0]), other.product(other, parts[1])
        variance = self.variance if self.measure == "svcca" else 1.0
        basis, beside = spanning(of_one, variance=variance), spanning(of_other, variance=variance)
        common = basis.T @ one.product(other, parts[2]) @ beside
        if self.measure == "svcca":
            return float(np.linalg.svd(common, compute_uv=False).mean())
        if basis.shape[1] > beside.shape[1]:
            of_one, basis, common = of_other, beside, common.T
        turn, correlations, _ = np.linalg.svd(common, full_matrices=False)
        weights = np.abs((basis @ turn).T @ of_one).sum(axis=1)
        return float(weights @ correlations / weights.sum())


def _size(one: Centred, other: Centred, progress: Progress) -> float:
    """‖XᵀY‖², in stripes."""
    return sum(float(np.vdot(stripe, stripe)) for _, stripe in one.stripes(other, progress))
