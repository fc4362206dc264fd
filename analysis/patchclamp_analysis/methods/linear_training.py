"""Training of linear models: minibatch Adam, and L-BFGS to the optimum.

Both minimise mean loss + l1·Σ|W| + l2·ΣW² over a matrix [C, D + 1] whose last column, the bias, is not penalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..data.scaling import Scaling
from ..progress import Progress
from .adam import Adam, falling
from .losses import Loss

__all__ = ["Best", "Problem", "adam", "lbfgs"]

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is to be minimised. With `unsquared` the L2 penalty is l2·√ΣW²."""

    data: Data
    scaling: Scaling
    loss: Loss
    l1: float
    l2: float
    unsquared: bool = False

    @property
    def goals(self) -> NDArray[np.generic]:
        """[N] classes or targets."""
        return self.data.y if self.data.targets is None else self.data.targets


class Best:
    """Keeps the matrix with the lowest loss on rows kept aside, and says when it has not fallen for too long."""

    def __init__(self, problem: Problem, dev: Data | None, start: Matrix, *, patience: int) -> None:
        self.problem, self.dev, self.patience = problem, dev, patience
        self.matrix, self.loss, self.worse = start, np.inf, 0

    def judge(self, matrix: Matrix) -> bool:
        """Whether to go on."""
        if self.dev is None:
            return True
        goals = self.dev.y if self.dev.targets is None else self.dev.targets
        blocks = self.problem.scaling.blocks(self.dev)
        loss = sum(self.problem.loss(block @ matrix.T, goals[rows])[0] for rows, block in blocks) / len(self.dev)
        if loss < self.loss:
            self.matrix, self.loss, self.worse = matrix.copy(), loss, 0
        else:
            self.worse += 1
        return self.worse < self.patience


def adam(
    problem: Problem,
    start: Matrix,
    *,
    epochs: int,
    batch: int,
    rate: float,
    seed: int | None,
    decay: bool,
    progress: Progress,
    judge: Callable[[Matrix], bool],
) -> Matrix:
    """Adam over shuffled minibatches (`seed` None: in order). With `decay` the rate falls to 0 by a
    half cosine. L1 is a proximal step in Adam's metric, but with `unsquared`, as in NeuroX, both penalties are part of
    the gradient. After each epoch `judge` sees the matrix and says whether to go on.
    """
    draw = None if seed is None else np.random.default_rng(seed)
    matrix, gradient, moved = start.copy(), np.empty_like(start), Adam(start.shape)
    steps = epochs * -(-len(problem.data) // batch)
    whole: Matrix | None = None
    for epoch in range(epochs):
        order = np.arange(len(problem.data)) if draw is None else draw.permutation(len(problem.data))
        goals = problem.goals[order]
        part = progress.part(epoch / epochs, (epoch + 1) / epochs)
        for rows, block in part.each(problem.data.take(order).blocks(batch)):
            scaled = problem.scaling.apply(block, whole)
            whole = scaled if whole is None else whole
            for at in range(0, len(block), batch):
                some = scaled[at : at + batch]
                _, errors = problem.loss(some @ matrix.T, goals[rows.start + at : rows.start + at + len(some)])
                np.matmul((errors / len(some)).T, some, out=gradient)
                _penalise(problem, matrix[:, :-1], gradient[:, :-1])
                sizes = moved.step(matrix, gradient, falling(rate, moved.steps, steps) if decay else rate)
                if problem.l1 and not problem.unsquared:
                    _shrink(matrix[:, :-1], problem.l1 * sizes[:, :-1])
        if not judge(matrix):
            break
    return matrix


def _penalise(problem: Problem, weights: Matrix, gradient: Matrix) -> None:
    """Adds the penalties' gradient, but for what the proximal step does."""
    if not problem.unsquared:
        gradient += (2.0 * problem.l2) * weights
        return
    norm = float(np.linalg.norm(weights))
    gradient += problem.l1 * np.sign(weights) + (problem.l2 / norm if norm else 0.0) * weights


def _shrink(weights: Matrix, by: Matrix) -> None:
    """Soft thresholding, in place."""
    sizes = np.abs(weights)
    sizes -= by
    np.maximum(sizes, 0.0, out=sizes)
    np.copysign(sizes, weights, out=weights)


def lbfgs(
    problem: Problem, start: Matrix, *, iterations: int, progress: Progress, judge: Callable[[Matrix], bool]
) -> Matrix:
    """L-BFGS to the optimum. For l1 > 0 each weight is the difference of two that are ≥ 0 (L-BFGS-B), so that zeros are
    exact. After each iteration `judge` sees the matrix and says whether to go on.
    """
    from scipy.optimize import minimize

    shape = start.shape
    split = problem.l1 > 0
    done = 0

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        progress.check()
        loss, gradient = _value(problem, _joined(flat, shape, split))
        if not split:
            return loss, gradient.ravel()
        penalised = np.zeros(shape)
        penalised[:, :-1] = problem.l1
        loss += float(penalised.ravel() @ (flat[: flat.size // 2] + flat[flat.size // 2 :]))
        return loss, np.concatenate(((penalised + gradient).ravel(), (penalised - gradient).ravel()))

    def after(flat: NDArray[np.float64]) -> None:
        nonlocal done
        done += 1
        progress.at(done, iterations)
        if not judge(_joined(flat, shape, split).astype(np.float32)):
            raise StopIteration

    first = start.astype(np.float64).ravel()
    if split:
        first = np.concatenate((np.maximum(first, 0.0), np.maximum(-first, 0.0)))
    found = minimize(
        value,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * len(first) if split else None,
        callback=after,
        # float32 sums cannot tell smaller differences apart.
        options={"maxiter": iterations, "ftol": 1e-7, "gtol": 1e-6, "maxcor": 10},
    )
    return _joined(found.x, shape, split).astype(np.float32)


def _joined(flat: NDArray[np.float64], shape: tuple[int, ...], split: bool) -> NDArray[np.float64]:
    if split:
        flat = flat[: flat.size // 2] - flat[flat.size // 2 :]
    return flat.reshape(shape)


def _value(problem: Problem, matrix: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Mean loss and L2 penalty, and their gradient."""
    narrow = matrix.astype(np.float32)
    loss, gradient = 0.0, np.zeros(matrix.shape)
    for rows, block in problem.scaling.blocks(problem.data):
        part, errors = problem.loss(block @ narrow.T, problem.goals[rows])
        loss += part
        gradient += errors.T @ block
    weights = matrix[:, :-1]
    gradient /= len(problem.data)
    gradient[:, :-1] += 2.0 * problem.l2 * weights
    return loss / len(problem.data) + problem.l2 * float(np.sum(np.square(weights))), gradient
