"""One measured figure: of which neurons, over which seeds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Literal

from .selections import Selection

__all__ = ["Measure", "Score"]

Measure = Literal["accuracy", "kept", "removed", "selectivity", "information", "code_length", "compression"]


@dataclass(frozen=True, slots=True)
class Score:
    """What `count` neurons reach, a value for each seed.

    `accuracy`: of a probe trained on these neurons alone. `kept` and `removed`: of the probe of all neurons, when all
    others, or these, are set to their means, or to 0. `selectivity`: accuracy less that on a control task.
    `information`: what Gaussians over them tell about the class, as a part of the classes' entropy. `code_length`:
    online, in bits a row; `compression`: how many times shorter that is than the uniform code.
    """

    measure: Measure
    neurons: Selection
    count: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds."""
        return pstdev(self.values)
