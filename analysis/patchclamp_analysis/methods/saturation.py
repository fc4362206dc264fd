"""Saturation: how often a neuron is at an end of its range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.moments import moments
from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import Kind, RankingMethod
from .parameters import About

__all__ = ["Saturation"]


@dataclass(frozen=True)
class Saturation(RankingMethod):
    """Neurons by the part of the rows at which they are saturated: at an end of their range.

    Left-saturated is a row below `low`, right-saturated one above `high`; the score is the part of the rows that are
    either [D], `details["left"]` and `["right"]` [D] are the two parts. By `of="range"` activations are first put
    between 0 and 1 by the neuron's own minimum and maximum; by `"value"` they are taken as they are, as in the paper
    (gates of a sigmoid, low 0.1 and high 0.9; for a tanh −0.9 and 0.9).

    Misses the neurons that saturate at a value in between; and by "range" one outlier moves an end so far that the rest
    seems to be at the other. Deviation: transformer neurons have no fixed range, so that by "range" is the default.
    """

    of: Annotated[Literal["range", "value"], About("What low and high are compared with.")] = "range"
    low: Annotated[float, About("Below this a row is left-saturated.", -1e30, 1e30)] = 0.1
    high: Annotated[float, About("Above this a row is right-saturated.", -1e30, 1e30)] = 0.9

    name: ClassVar[str] = "saturation"
    reference: ClassVar[str] = "Karpathy et al. 2015, Visualizing and understanding recurrent networks"
    complexity: ClassVar[str] = "O(N·D), two passes by range, one by value"

    kind: ClassVar[Kind] = Kind.UNSUPERVISED
    supervised: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise BadData(f"{self.low} is above high = {self.high}", where="saturation.low")

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores from 0 to 1; by range 0 for constant neurons."""
        counts = np.zeros((2, len(data.neurons)), np.int64)
        low, high = np.full((2, len(data.neurons)), [[self.low], [self.high]], np.float32)
        constant, begin = np.zeros(len(data.neurons), bool), 0.0
        if self.of == "range":
            begin = 0.5
            found = moments(data, progress.part(0.0, begin))
            constant, spread = found.constant, found.maximum - found.minimum
            low = _rounded(found.minimum + self.low * spread, np.inf)
            high = _rounded(found.minimum + self.high * spread, -np.inf)
        for _, block in progress.part(begin, 1.0).each(data.blocks()):
            counts += np.sum(block < low, axis=0), np.sum(block > high, axis=0)
        left, right = np.where(constant, 0.0, counts / len(data))
        return self.ranking(data, left + right, details={"left": left, "right": right})


def _rounded(values: NDArray[np.float64], towards: float) -> NDArray[np.float32]:
    """The nearest float32 that lies in this direction, so that comparing with it is comparing with the value."""
    near = values.astype(np.float32)
    beyond = near < values if towards > 0 else near > values
    return np.where(beyond, np.nextafter(near, np.float32(towards)), near)
