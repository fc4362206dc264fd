"""A Gaussian for each class over a few neurons: what they tell about the class, in bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.moments import Moments, moments
from ..data.neurons import Neurons
from ..data.rows import Data
from ..errors import BadData
from ..information import entropy
from ..progress import QUIET, Progress

__all__ = ["ClassGaussians", "GaussianScores", "divisors", "prior_variances"]

Vector = NDArray[np.float64]

FLOOR = 1e-4
"""Part of a neuron's overall variance below which no class's prior variance goes."""


def prior_variances(found: Moments, floor: float) -> Vector:
    """[C, D] Λ: each class's variances, but at least `floor` of the overall ones; of a class with one row, those."""
    counts = found.counts[:, None]
    unbiased = found.class_variances * counts / np.maximum(counts - 1, 1)
    return np.asarray(np.where(counts > 1, np.maximum(unbiased, floor * found.variance), found.variance))


def divisors(counts: NDArray[np.integer], map_dimensions: int = 0) -> Vector:
    """[C] what Λ + S is divided by: n + 1 for the posterior mean under an inverse Wishart prior of d + 2 degrees of
    freedom; for the maximum a posteriori over so many dimensions n + 2d + 4.
    """
    return counts.astype(np.float64) + (2.0 * map_dimensions + 4.0 if map_dimensions else 1.0)


@dataclass(frozen=True, slots=True)
class GaussianScores:
    """How well class Gaussians do: accuracy, the mutual information with the classes in bits (negative if they
    mislead), and that as a part of the classes' entropy.
    """

    rows: int
    accuracy: float
    mi: float
    normalised: float


@dataclass(frozen=True, slots=True, eq=False)
class ClassGaussians:
    """p(c) and p(x | c) = N(mean_c, covariance_c) of d neurons: [C], [C, d] and [C, d, d]. See `Gaussian`."""

    neurons: Neurons
    classes: tuple[str, ...]
    priors: Vector
    means: Vector
    covariances: NDArray[np.float64]

    @classmethod
    def fit(
        cls, data: Data, *, map_dimensions: int = 0, floor: float = FLOOR, progress: Progress = QUIET
    ) -> ClassGaussians:
        """From data of these neurons alone (`data.keep(…)`), none of them constant; O(N·d²), memory C·d²."""
        data.require_classes()
        found = moments(data, progress.part(0.0, 0.5))
        if found.constant.any():
            raise BadData("is constant", where=str(data.neurons[int(np.argmax(found.constant))]))
        scatter = np.zeros((len(data.classes), len(data.neurons), len(data.neurons)))
        for rows, block in progress.part(0.5, 1.0).each(data.blocks()):
            for number in np.unique(data.y[rows]):
                centred = block[data.y[rows] == number] - found.class_means[number]
                scatter[number] += centred.T @ centred
        diagonal = np.arange(len(data.neurons))
        scatter[:, diagonal, diagonal] += prior_variances(found, floor)
        divisor = divisors(found.counts, map_dimensions)
        priors = found.counts / len(data)
        return cls(data.neurons, data.classes, priors, found.class_means, scatter / divisor[:, None, None])

    def log_joint(self, data: Data) -> NDArray[np.float64]:
        """[N, C] log p(c) + log p(x | c), in nats; −∞ for classes without rows in training."""
        from scipy.linalg import solve_triangular

        if data.neurons != self.neurons:
            raise BadData("the data has other neurons than the Gaussians", where=data.label)
        found = np.full((len(data), len(self.classes)), -np.inf)
        for number in np.flatnonzero(self.priors):
            factor = np.linalg.cholesky(self.covariances[number])
            constant = np.log(self.priors[number]) - np.log(np.diag(factor)).sum()
            constant -= 0.5 * len(self.neurons) * np.log(2 * np.pi)
            for rows, block in data.blocks():
                residual = solve_triangular(factor, (block - self.means[number]).T, lower=True)
                found[rows, number] = constant - 0.5 * np.sum(np.square(residual), axis=0)
        return found

    def score(self, data: Data, *, doubt: float = 0.01) -> GaussianScores:
        """On any data with labels. For MI each posterior is mixed with this part of the classes' frequencies, without
        which one outlier could cost any number of bits. Rows of classes that were not in training count as wrong, and
        as if they had been expected as seldom as the rarest class.
        """
        from scipy.special import logsumexp

        joint = self.log_joint(data)
        y = data.y if data.classes == self.classes else data.with_classes(self.classes).y
        known = (y >= 0) & (self.priors[y] > 0)
        posterior = np.exp(joint[np.arange(len(y)), y] - logsumexp(joint, axis=1))
        mixed = (1.0 - doubt) * posterior + doubt * self.priors[y]
        rarest = self.priors[self.priors > 0].min()
        uncertainty = entropy(np.bincount(data.y + 1))
        mi = uncertainty + float(np.mean(np.log2(np.where(known, mixed, rarest))))
        right = known & (joint.argmax(axis=1) == y)
        return GaussianScores(len(y), float(right.mean()), mi, mi / uncertainty if uncertainty else 0.0)
