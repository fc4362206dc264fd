"""Gaussian probe: a greedy choice of neurons by how well class Gaussians over them tell the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from ..data.rows import Data
from ..information import entropy
from ..progress import QUIET, Progress
from ..results import Ranking
from .class_gaussians import FLOOR
from .gaussian_search import GaussianSearch
from .method import RankingMethod
from .parameters import About

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(RankingMethod):
    """Greedy forward selection by the mutual information that class Gaussians over the chosen neurons show.

    Each class has a Gaussian with its mean and the covariance Σ_c = (Λ_c + S_c)/(n_c + 1), the posterior mean under an
    inverse Wishart prior: S_c the scatter of its n_c rows, Λ_c the diagonal of its covariance. Each step takes the
    neuron that makes I = H(y) − mean(−log₂ p(y | x)) largest, in bits, over a part of the rows that the Gaussians have
    not seen (`dev_share`; 0: over the same rows). The Schur complements of all candidates are updated by rank one, so
    that none needs a matrix of its own. Of very many rows a random part is judged, so that count·C numbers for each fit
    into a quarter of the memory bound.

    Memory, beside blocks of rows: some 40·count·C·D bytes.

    Scores: count − t + 1 for the neuron of step t = 0, 1, …; for the others what each alone shows, I/H(y), from 0
    to 1. Per class, the class's share in what each neuron alone shows: Σ over its rows of log₂ p(c | x_d)/p_c, / N / H.
    `details`: "chosen" [count], "mi" and "accuracy" [count] after each step, "single_mi" and "single_accuracy" [D]; MI
    in bits. As the neurons were chosen by these rows, the MI of many is a bit too high; `ClassGaussians` measures it on
    others.

    Misses what is not Gaussian within a class (two modes, heavy tails) and, being greedy, neurons that tell something
    only together. A twin of a chosen neuron adds nothing and is not chosen. `compat="neurox"`: all rows for both, and
    the paper's maximum a posteriori, Σ_c = (Λ_c + S_c)/(n_c + 2D + 4), which makes the Gaussians of classes with few
    rows far too narrow. Deviations: the posterior mean, held-out rows, a floor of 10⁻⁴ of the overall variance under
    Λ_c.
    """

    count: Annotated[int, About("Neurons to choose.", 1, 10_000)] = 50
    dev_share: Annotated[float, About("Part of the rows to choose by; 0: all, which also fit.", 0.0, 0.9)] = 0.2
    seed: Annotated[int, About("Of the split.", 0, 2**32 - 1)] = 0
    compat: Annotated[Literal["", "neurox"], About("Reproduce another implementation.")] = ""

    name: ClassVar[str] = "gaussian"
    reference: ClassVar[str] = "Torroba Hennigen et al. 2020, Intrinsic probing through dimension selection"
    complexity: ClassVar[str] = "O(count·N·D·C) and O(count²·N·D·C) multiplications, 2·count passes"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Constant neurons score 0 and are never chosen."""
        data.require_classes()
        train, dev = data.split_off(0.0 if self.compat else self.dev_share, self.seed)
        judged = self._bounded(data if dev is None else dev)
        search = GaussianSearch(
            train,
            judged,
            map_dimensions=len(data.neurons) if self.compat else 0,
            floor=1e-10 if self.compat else FLOOR,
            progress=progress.part(0.0, 0.05),
        )
        count = min(self.count, int(search.usable.sum()))
        reached = np.zeros((2, count))
        single = np.zeros((2, len(data.neurons)))
        for step in range(count):
            mi, hits = search.step(progress.part(0.05 + 0.95 * step / count, 0.05 + 0.95 * (step + 1) / count))
            reached[:, step] = mi[search.chosen[-1]], hits[search.chosen[-1]]
            if not step:
                single[:] = mi, hits
        progress.at(1.0)
        uncertainty = entropy(judged.counts) or 1.0
        scores = np.where(search.usable, np.clip(single[0] / uncertainty, 0.0, 1.0), 0.0)
        scores[search.chosen] = 1.0 + count - np.arange(count)
        details = {
            "chosen": np.array(search.chosen, dtype=np.int64),
            "mi": reached[0],
            "accuracy": reached[1],
            "single_mi": single[0],
            "single_accuracy": single[1],
        }
        return self.ranking(data, scores, self._of_classes(search, uncertainty), details)

    def _bounded(self, judged: Data) -> Data:
        """So many of the rows that what is kept of each fits into a quarter of the memory bound."""
        most = judged.memory_bytes // 4 // (4 * (min(self.count, len(judged.neurons)) + 4) * len(judged.classes))
        if len(judged) <= most:
            return judged
        return judged.take(np.sort(np.random.default_rng(self.seed).choice(len(judged), max(most, 2), replace=False)))

    def _of_classes(
        self, search: GaussianSearch, uncertainty: float
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """[C, D] each class's share in what each neuron alone shows."""
        counts = search.judged.counts
        present = np.flatnonzero(search.train.counts)
        chance = counts * np.log2(np.where(counts > 0, counts / counts.sum(), 1.0))
        shown = np.zeros((len(counts), len(search.usable)))
        shown[present] = search.single / np.log(2) - chance[present, None]
        return np.where(search.usable, shown / len(search.judged) / uncertainty, 0.0)
