"""What some neurons together tell about the classes."""

from __future__ import annotations

import numpy as np

from ..data.moments import moments
from ..data.rows import Data
from ..methods.class_gaussians import ClassGaussians, GaussianScores
from ..progress import QUIET, Progress
from .accuracy import gathered
from .selections import Places

__all__ = ["most_neurons", "subset_information"]


def subset_information(train: Data, test: Data, places: Places, progress: Progress = QUIET) -> GaussianScores:
    """Mutual information of some neurons with the classes, in bits and as a part of the classes' entropy in the same
    unit, and the accuracy: class Gaussians over them are fitted to `train` and judged on `test`, O(N·k²).

    A lower bound as far as Gaussians go, and honest for many neurons, as the rows are others; it can be negative.
    Constant neurons are left out; 0 bits where there are no others.

    Source: Pimentel et al. 2020; Torroba Hennigen et al. 2020. Deviation from NeuroX, which divides bits by nats.
    """
    chosen = train.keep(places)
    constant = moments(chosen, progress.part(0.0, 0.2)).constant
    if constant.all():
        progress.at(1.0)
        return GaussianScores(len(test), 0.0, 0.0, 0.0)
    useful = np.flatnonzero(~constant)
    fitted = ClassGaussians.fit(gathered(chosen.keep(useful)), progress=progress.part(0.2, 1.0))
    return fitted.score(gathered(test.keep(places).keep(useful)))


def most_neurons(data: Data) -> int:
    """How many neurons the memory bound allows: three copies of the covariances of all classes in float64."""
    return int((data.memory_bytes / (24 * len(data.classes))) ** 0.5)
