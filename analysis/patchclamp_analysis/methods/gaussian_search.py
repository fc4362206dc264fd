"""The greedy search of the Gaussian method: all candidates at once, one step after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.moments import members, moments
from ..data.rows import Data
from ..information import entropy
from ..progress import Progress
from .class_gaussians import divisors, prior_variances

__all__ = ["GaussianSearch"]

# Candidates at a time: the classes' densities of a block of rows should stay in the cache.
_TILE = 128

Array = NDArray[np.float64]
Narrow = NDArray[np.float32]


class GaussianSearch:
    """Chooses neurons one by one. `train` fits the Gaussians, `judged` says what they tell; both have the classes
    [C'] that have rows in `train`. Activations are standardised, which changes no ratio of densities.

    With neurons s_0 … s_{t−1} chosen, kept up to date for each class are: what they leave of every neuron's variance
    ("left"), the factors with which every neuron follows from what was new in each chosen one, and that novelty
    for every judged row ("residuals"). So a candidate's density needs no matrix of its own.
    """

    def __init__(self, train: Data, judged: Data, *, map_dimensions: int, floor: float, progress: Progress) -> None:
        found = moments(train, progress)
        present = np.flatnonzero(found.counts)
        self.train, self.judged = train, judged
        self.usable = ~found.constant
        self.mean, self.scale = found.mean.astype(np.float32), found.scale.astype(np.float32)
        self.classes, self.y = np.searchsorted(present, train.y), np.searchsorted(present, judged.y)
        self.counts = found.counts[present]
        # From the mean as it is subtracted from rows: what float32 leaves of it can be much to a small deviation.
        self.means = np.where(self.usable, (found.class_means[present] - self.mean) / found.scale, 0.0)
        scatter = found.class_variances * found.counts[:, None] + prior_variances(found, floor)
        scatter = scatter[present] / found.scale**2 / divisors(self.counts, map_dimensions)[:, None]
        self.left = np.where(self.usable, scatter, 1.0)
        self.divisor = divisors(self.counts, map_dimensions)
        self.chosen: list[int] = []
        self.factors = np.zeros((len(present), 0, len(self.usable)))
        self.pivots = np.zeros((len(present), 0))
        self.residuals = np.zeros((len(present), 0, len(judged)), np.float32)
        self.squares = np.zeros((len(present), len(judged)))
        # [C', D], filled by the first step: Σ over the rows of each class of log p(y | neuron), in nats.
        self.single = np.zeros((len(present), len(self.usable)))

    def step(self, progress: Progress) -> tuple[Array, Array]:
        """Chooses the best neuron. [D] MI in bits and accuracy with each candidate."""
        likelihood, hits = self._judge(progress.part(0.0, 0.9))
        mi = entropy(self.judged.counts) + likelihood / np.log(2)
        candidates = np.where(self.usable, mi, -np.inf)
        candidates[self.chosen] = -np.inf
        self._choose(int(np.argmax(candidates)), progress.part(0.9, 1.0))
        return mi, hits

    def _judge(self, progress: Progress) -> tuple[Array, Array]:
        """[D] mean of log p(y | chosen and this neuron) in nats, and accuracy."""
        densities = _Densities(self)
        sums, hits = np.zeros((len(self.counts), len(self.usable))), np.zeros(len(self.usable))
        for rows, block in progress.each(self.judged.blocks()):
            scaled = self._scaled(block)
            by_class = members(self.y[rows], len(self.counts))
            for at in range(0, scaled.shape[1], _TILE):
                some = slice(at, at + _TILE)
                logs, right = densities.judge(scaled[:, some], rows, some)
                sums[:, some] += by_class @ logs
                hits[some] += right
            progress.check()
        if not self.chosen:
            self.single = sums
        return sums.sum(axis=0) / len(self.judged), hits / len(self.judged)

    def _choose(self, best: int, progress: Progress) -> None:
        """Takes a neuron in: a factor more for every neuron, a residual more for every judged row."""
        pivot = self.left[:, best].copy()
        known = np.einsum("ctd,ct->cd", self.factors, self.factors[:, :, best] * self.pivots)
        factor = np.where(
            self.usable, (self._covariance(best, progress) / self.divisor[:, None] - known) / pivot[:, None], 0.0
        )
        factor[:, best] = 1.0
        residual = self._column(self.judged, best) - self.means[:, best, None]
        residual -= np.einsum("ctn,ct->cn", self.residuals, self.factors[:, :, best])
        # Of a twin nothing is left but rounding, which must not become a sharp density.
        self.left = np.maximum(self.left - factor**2 * pivot[:, None], 1e-6 * self.left)
        self.squares += residual**2 / pivot[:, None]
        self.factors = np.concatenate((self.factors, factor[:, None]), axis=1)
        self.pivots = np.column_stack((self.pivots, pivot))
        self.residuals = np.concatenate((self.residuals, residual[:, None].astype(np.float32)), axis=1)
        self.chosen.append(best)

    def _covariance(self, neuron: int, progress: Progress) -> Array:
        """[C', D] S_c of one neuron with all."""
        centred = self._column(self.train, neuron) - self.means[self.classes, neuron]
        found = np.zeros(self.left.shape)
        for rows, block in progress.each(self.train.blocks()):
            found += members(self.classes[rows], len(found), centred[rows]) @ (block - self.mean)
        return found / self.scale

    def _column(self, data: Data, neuron: int) -> Array:
        column = data.read_columns(slice(neuron, neuron + 1))[:, 0].astype(np.float64)
        return np.asarray((column - self.mean[neuron]) / self.scale[neuron])

    def _scaled(self, block: Narrow) -> Narrow:
        return (block - self.mean) * (np.float32(1.0) / self.scale)


class _Densities:
    """Log densities of all classes for a tile of rows and candidates, from what is known before this step:
    base − ½·log left − (width·x − width·(mean + Σ_t factor_t·residual_t))² with width = 1/√(2·left).
    """

    def __init__(self, search: GaussianSearch) -> None:
        logs = np.log(search.pivots).sum(axis=1, keepdims=True)
        base = np.log(search.counts / search.counts.sum())[:, None] - 0.5 * (logs + search.squares)
        self.base = (base - base.max(axis=0)).astype(np.float32)
        self.constant = (-0.5 * np.log(search.left)).astype(np.float32)[:, None]
        width = np.sqrt(0.5 / search.left)[:, None]
        self.slopes = (np.concatenate((search.factors, search.means[:, None]), axis=1) * width).astype(np.float32)
        self.width = width.astype(np.float32)
        ones = np.ones((len(base), 1, base.shape[1]), np.float32)
        self.residuals = np.concatenate((search.residuals, ones), axis=1).transpose(0, 2, 1)
        self.y = search.y
        self.buffers = (np.empty(0, np.float32), np.empty(0, np.float32))

    def judge(self, x: Narrow, rows: slice, neurons: slice) -> tuple[Narrow, Array]:
        """[n, d] log p(y | x) and [d] how many rows are right, of a tile x [n, d]."""
        # Allocated once: fresh pages would cost as much as the sums.
        shape = (len(self.base), *x.shape)
        if self.buffers[0].shape != shape:
            self.buffers = (np.empty(shape, np.float32), np.empty(shape, np.float32))
        density, scaled = self.buffers
        np.matmul(self.residuals[:, rows], self.slopes[:, :, neurons], out=density)
        density -= np.multiply(x, self.width[:, :, neurons], out=scaled)
        density *= density
        np.subtract(self.constant[:, :, neurons], density, out=density)
        density += self.base[:, rows, None]
        best = density.max(axis=0)
        own = density[self.y[rows], np.arange(len(x))]
        density -= best
        np.exp(density, out=density)
        return own - best - np.log(density.sum(axis=0)), np.sum(own >= best, axis=0)
