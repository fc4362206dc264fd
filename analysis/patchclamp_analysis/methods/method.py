"""The contract of a method: a frozen dataclass whose fields are its hyper-parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .parameters import check_values

__all__ = ["Method", "RankingMethod"]


@dataclass(frozen=True)
class Method(ABC):
    """Hyper-parameters and nothing else; creating one checks them. Subclasses are dataclasses whose fields are
    `Annotated[type, About("one line", least=…, most=…)]` with a default.
    """

    name: ClassVar[str]
    """As in the registry."""
    reference: ClassVar[str]
    """Where it comes from: authors and year."""
    complexity: ClassVar[str]
    """Time, in N rows, D neurons, C classes."""

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class RankingMethod(Method):
    """Scores neurons."""

    supervised: ClassVar[bool] = True
    """Whether it needs labels."""

    @abstractmethod
    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores for every neuron of the data, overall and per class. The same data and seed give the same scores.
        BadData for what it cannot work with, Cancelled when `progress` says so.
        """

    def ranking(
        self,
        data: Data,
        scores: NDArray[np.floating],
        class_scores: NDArray[np.floating] | None = None,
        details: Mapping[str, NDArray[Any]] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Ranking:
        """A ranking of the data's neurons by this method. Adds what is to be known about the classes."""
        return Ranking(
            self.name,
            data.neurons,
            np.asarray(scores, dtype=np.float64),
            () if class_scores is None else data.classes,
            np.zeros((0, len(scores))) if class_scores is None else np.asarray(class_scores, dtype=np.float64),
            data.label,
            asdict(self),
            details or {},
            notes + _notes(data),
        )


def _notes(data: Data) -> tuple[str, ...]:
    """What is odd about the classes, said once for all methods."""
    notes = []
    if data.masked or data.unlabelled:
        notes.append(f"left out: {data.masked} masked rows, {data.unlabelled} unlabelled ones")
    for what, count in (("no row", 0), ("one row only", 1)):
        classes = [name for name, rows in zip(data.classes, data.counts, strict=True) if rows == count]
        if classes:
            notes.append(f"classes with {what}: {', '.join(classes)}")
    return tuple(notes)
