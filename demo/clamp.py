"""The edit: neurons held at minus half of their deviation from their mean."""

from collections.abc import Sequence
from dataclasses import dataclass

from patchclamp import Intervention, Neurons, add, scale

__all__ = ["Clamp", "interventions"]

FACTOR = -0.5


@dataclass(frozen=True)
class Clamp:
    """One neuron, and the mean its deviations are measured from."""

    site: str
    index: int
    mean: float

    def __str__(self) -> str:
        return str(Neurons(self.site, [self.index]))

    def interventions(self) -> list[Intervention]:
        """x → mean − (x − mean) / 2, as two edits; the server folds them into one."""
        return [scale(str(self), FACTOR), add(str(self), round((1 - FACTOR) * self.mean, 4))]


def interventions(clamps: Sequence[Clamp]) -> list[Intervention]:
    """What to send with a request."""
    return [edit for clamp in clamps for edit in clamp.interventions()]
