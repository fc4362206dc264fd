"""Latent-variable probe: a distribution over subsets of neurons, learnt together with the probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from ..data.moments import moments
from ..data.rows import Data
from ..data.scaling import Scaling
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About
from .subset_training import SubsetModel

__all__ = ["LatentVariable"]

# Adam's, at least, on few rows.
_STEPS = 1500


@dataclass(frozen=True)
class LatentVariable(RankingMethod):
    """A distribution q over subsets of neurons, learnt together with a linear probe of random subsets.

    Maximises E_{m~q}[mean log p(y | m∘x)] + entropy·H(q) − l2·ΣW², p the softmax of W(m∘x) + b, m [D] a mask.
    Activations are always standardised, so that a neuron that is left out is at its mean.
    `scheme="conditional_poisson"`: subsets of one size, which each minibatch draws anew from 1 to D; given the size k,
    π_d = σ(w_d + λ) with Σπ = k, so that small subsets count and the best few neurons are told from the many good
    ones. `"poisson"`: each neuron is in the subset on its own, with probability π_d = σ(w_d).

    Score: overall σ(w_d); of the Poisson scheme the probability of being chosen, above ½ for neurons that help. Per
    class σ(w_d)·|W_cd|. `details["weights"]` [C, D].

    Finds neurons that help in the company of others. Misses what is not linear; twins share, since each is needed less.
    With `entropy` large all are near ½, with 0 the probabilities go to 0 and 1. Deviations: logits are drawn from the
    Gaussian with the mean and variance that masks give them (local reparameterisation; Wang & Manning 2013, Kingma et
    al. 2015), whose gradient is far less noisy than the paper's score function; the conditional scheme has Hájek's
    approximations of mean, variance and entropy. The Gaussian is poor where a handful of neurons carries all weight.
    """

    scheme: Annotated[Literal["conditional_poisson", "poisson"], About("Distribution over subsets.")] = (
        "conditional_poisson"
    )
    entropy: Annotated[float, About("Weight of the entropy of q.", 0.0, 1.0)] = 1e-3
    l2: Annotated[float, About("Weight of ΣW².", 0.0, 1e6)] = 1e-4
    epochs: Annotated[int, About("Passes over the rows; 0: as many as it takes.", 0, 100_000)] = 0
    batch: Annotated[int, About("Rows of a minibatch.", 1, 4096)] = 128
    rate: Annotated[float, About("Adam's rate at the start for W, times √D.", 1e-6, 10.0)] = 0.15
    seed: Annotated[int, About("Of shuffling and draws.", 0, 2**32 - 1)] = 0

    name: ClassVar[str] = "latent_variable"
    reference: ClassVar[str] = "Stańczak et al. 2022, A latent-variable model for intrinsic probing"
    complexity: ClassVar[str] = "O(epochs·N·D·C)"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1; constant neurons tend to ½ and are set to 0."""
        data.require_classes()
        found = moments(data, progress.part(0.0, 0.05))
        scaling = Scaling.by(found)
        draw = np.random.default_rng(self.seed)
        steps = -(-len(data) // self.batch)
        epochs = self.epochs or max(10, round(_STEPS / steps))
        rate = self.rate / np.sqrt(len(data.neurons))
        model = SubsetModel(
            len(data.classes),
            len(data.neurons),
            conditional=self.scheme == "conditional_poisson",
            entropy=self.entropy,
            l2=self.l2,
            steps=epochs * steps,
        )
        for epoch in range(epochs):
            order = draw.permutation(len(data))
            y = data.y[order]
            part = progress.part(0.05 + 0.95 * epoch / epochs, 0.05 + 0.95 * (epoch + 1) / epochs)
            for rows, block in part.each(data.take(order).blocks(self.batch)):
                scaled = scaling.apply(block)[:, :-1]
                for at in range(0, len(block), self.batch):
                    some = slice(at, min(at + self.batch, len(block)))
                    model.step(scaled[some], y[rows][some], rate, draw)
        weights = model.weights * (data.counts > 0)[:, None]
        inclusion = np.where(found.constant, 0.0, 1.0 / (1.0 + np.exp(-model.inclusion.astype(np.float64))))
        return self.ranking(data, inclusion, inclusion * np.abs(weights), {"weights": weights})
