"""Linear probe: the neurons to which a linear classifier, or a linear regression, gives weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..data.scaling import Scaling
from ..errors import BadData
from ..probe import Probe
from ..progress import QUIET, Progress
from ..results import Ranking
from .linear_training import Best, Problem, adam, lbfgs
from .losses import cross_entropy, squared_error
from .method import RankingMethod
from .parameters import About
from .weight_order import entering_mass, sweep

__all__ = ["LinearProbe"]

# Adam's, at least, on few rows.
_STEPS = 700

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class LinearProbe(RankingMethod):
    """The neurons to which a linear probe gives weight: L1, L2 or elastic net.

    The probe W [C, D], b [C] minimises mean cross-entropy + l1·Σ|W| + l2·ΣW² (of targets: mean squared error, C = 1) on
    standardised activations: without that, weights measure scale, and noise of large scale wins. `solver="adam"` takes
    shuffled minibatches and a falling rate, by itself at least 5 passes and about 700 steps; `"lbfgs"` goes to the
    optimum, with exact zeros for l1 > 0, in several times the time. With `dev_share` > 0 this part of the rows (whole
    sentences) is kept aside, training stops when its loss has not fallen in a fifth of the passes (at least 3), and
    the best weights stay. Targets are standardised to train. `grid` are values to try for l1 and l2, each with
    each; the pair with the lowest loss on the rows kept aside is taken (they then need to be there).

    Score, by `score="mass"`: 1 − the mass at which a neuron enters, when the heaviest neurons that have a part p of
    Σ|W_c| are swept from p = 0 to 1 (per class; overall with the first class that selects it). The top neurons of a
    mass p are so those with a score above 1 − p. Each class's heaviest enters at 0: overall these have 1 + their part
    of Σ_c Σ|W_c|, or the C best would be in no order. By `"weight"`: |W_c|, overall the mean over classes.
    `details["weights"]` [C, D] and `["bias"]` [C].

    Misses what is redundant: of duplicates, L1 takes one and L2 shares the weight among them; and what is not linear.
    `compat="neurox"` trains as NeuroX does (Adam at 1e-3, 10 epochs of batches of 32 in the order of the rows, raw
    activations, l2·√ΣW²) and scores by its sweep in hundredths. Deviations: standardised, shuffled, falling rate, early
    stop, a continuous sweep.
    """

    l1: Annotated[float, About("Weight of Σ|W|.", 0.0, 1e6)] = 3e-4
    l2: Annotated[float, About("Weight of ΣW².", 0.0, 1e6)] = 1e-2
    grid: Annotated[
        tuple[float, ...], About("Values to try for l1 and l2, each with each; none: as given.", 0.0, 1e6)
    ] = ()
    standardise: Annotated[bool, About("Train on activations of mean 0 and deviation 1.")] = True
    solver: Annotated[Literal["adam", "lbfgs"], About("Minibatches, or to the optimum.")] = "adam"
    epochs: Annotated[int, About("Passes over the rows (lbfgs: iterations); 0: as many as it takes.", 0, 100_000)] = 0
    batch: Annotated[int, About("Rows of a minibatch.", 1, 4096)] = 128
    rate: Annotated[float, About("Adam's rate at the start, times √D.", 1e-6, 10.0)] = 0.1
    dev_share: Annotated[float, About("Part of the rows kept aside to stop early.", 0.0, 0.9)] = 0.1
    score: Annotated[Literal["mass", "weight"], About("What neurons are scored by.")] = "mass"
    seed: Annotated[int, About("Of the split and of shuffling.", 0, 2**32 - 1)] = 0
    compat: Annotated[Literal["", "neurox"], About("Reproduce another implementation.")] = ""

    name: ClassVar[str] = "linear_probe"
    reference: ClassVar[str] = "Radford et al. 2017 (L1); Lakretz et al. 2019 (L2); Dalvi et al. 2019 (elastic net)"
    complexity: ClassVar[str] = "O(epochs·N·D·C), and O(C·D·log D) for the order"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores by mass are from 0 to 1 for a class, and overall to 2."""
        return self.rank_by(self.fit(data, progress=progress), data)

    def fit(self, data: Data, dev: Data | None = None, *, progress: Progress = QUIET) -> Probe:
        """Trains the probe. `dev` is kept aside instead of a part of the data; rows of classes that the data has not
        are left out of it.
        """
        if data.targets is None:
            data.require_classes()
        train, dev = self._parts(data, dev)
        units = _Targets(0.0, 1.0) if self.compat else _Targets.of(train)
        train, dev = units.apply(train), None if dev is None else units.apply(dev)
        scaling = Scaling.of(train, standardise=self.standardise and not self.compat, progress=progress.part(0.0, 0.05))
        pairs = [(l1, l2) for l1 in self.grid for l2 in self.grid] or [(self.l1, self.l2)]
        best, lowest = np.zeros((1, 1), np.float32), np.inf
        for number, (l1, l2) in enumerate(pairs):
            part = progress.part(0.05 + 0.95 * number / len(pairs), 0.05 + 0.95 * (number + 1) / len(pairs))
            matrix, loss = replace(self, l1=l1, l2=l2, grid=())._train(train, dev, scaling, part)
            if loss < lowest or not number:
                best, lowest = matrix, loss
        progress.at(1.0)
        best = units.undo(best)
        weights, bias = np.ascontiguousarray(best[:, :-1]), best[:, -1].copy()
        return Probe(data.neurons, data.classes, weights, bias, scaling.mean, scaling.scale, data.label)

    def rank_by(self, probe: Probe, data: Data) -> Ranking:
        """The ranking by a probe that is trained already on the data."""
        present = data.counts > 0 if data.targets is None else np.ones(1, bool)
        scores = np.zeros(probe.weights.shape)
        scores[present] = self._scores(probe.weights[present])
        overall = scores.sum(axis=0) / present.sum() if self.score == "weight" else scores.max(axis=0)
        if self.score == "mass" and not self.compat:
            sizes = np.abs(probe.weights[present], dtype=np.float64).sum(axis=0)
            overall += np.where(overall == 1.0, sizes / (sizes.sum() or 1.0), 0.0)
        details = {"weights": probe.weights, "bias": probe.bias}
        return self.ranking(data, overall, scores if probe.classes else None, details)

    def _scores(self, weights: Matrix) -> NDArray[np.float64]:
        if self.score == "weight":
            return np.abs(weights, dtype=np.float64)
        if not self.compat:
            return 1.0 - entering_mass(weights)
        return np.stack([1.0 - sweep(row[None]).step / 101 for row in weights])

    def _parts(self, data: Data, dev: Data | None) -> tuple[Data, Data | None]:
        if dev is not None:
            if dev.neurons != data.neurons:
                raise BadData("the rows to stop by have other neurons", where=dev.label)
            if (dev.targets is None) != (data.targets is None):
                raise BadData(
                    "of the rows to train on and those to stop by, one has targets, one classes", where=dev.label
                )
            if data.targets is not None:
                return data, dev
            dev = dev.with_classes(data.classes)
            return data, dev.take(dev.y >= 0)
        train, dev = data.split_off(0.0 if self.compat else self.dev_share, self.seed)
        if self.grid and dev is None:
            raise BadData(
                "needs rows kept aside: more rows, dev_share above 0, and no compat", where="linear_probe.grid"
            )
        return train, dev

    def _train(self, train: Data, dev: Data | None, scaling: Scaling, progress: Progress) -> tuple[Matrix, float]:
        """The weights [C, D + 1], and the loss on `dev`."""
        loss = cross_entropy if train.targets is None else squared_error
        problem = Problem(train, scaling, loss, self.l1, self.l2, unsquared=bool(self.compat))
        start = np.zeros((len(train.classes) or 1, len(train.neurons) + 1), np.float32)
        if self.compat:
            bound = 1.0 / np.sqrt(len(train.neurons))
            start = np.random.default_rng(self.seed).uniform(-bound, bound, start.shape).astype(np.float32)
        batch = 32 if self.compat else self.batch
        epochs = 10 if self.compat else self.epochs or max(5, round(_STEPS / -(-len(train) // batch)))
        if self.solver == "lbfgs" and not self.compat:
            best = Best(problem, dev, start, patience=10)
            last = lbfgs(problem, start, iterations=self.epochs or 1000, progress=progress, judge=best.judge)
        else:
            best = Best(problem, dev, start, patience=max(3, epochs // 5))
            last = adam(
                problem,
                start,
                epochs=epochs,
                batch=batch,
                rate=1e-3 if self.compat else self.rate / np.sqrt(len(train.neurons)),
                seed=None if self.compat else self.seed,
                decay=not self.compat,
                progress=progress,
                judge=best.judge,
            )
        progress.at(1.0)
        return (last, np.inf) if dev is None else (best.matrix, best.loss)


@dataclass(frozen=True)
class _Targets:
    """Targets in other units: mean 0 and deviation 1, as standardised activations have."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, data: Data) -> _Targets:
        """Of the data's targets; those of classes stay what they are."""
        if data.targets is None:
            return cls(0.0, 1.0)
        return cls(float(data.targets.mean()), float(data.targets.std()) or 1.0)

    def apply(self, data: Data) -> Data:
        """The data with targets in these units."""
        return data if data.targets is None else replace(data, targets=(data.targets - self.mean) / self.deviation)

    def undo(self, matrix: Matrix) -> Matrix:
        """What predicts in the old units, of what predicts in these."""
        matrix = matrix * np.float32(self.deviation)
        matrix[:, -1] += np.float32(self.mean)
        return matrix
