"""The contract of a method: a frozen dataclass whose fields are its hyper-parameters.

What it answers with says which of the three it is: a ranking of the neurons, one for each of several models, or tables.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..errors import BadData
from ..progress import QUIET, Progress
from ..results import Ranking
from ..tables import Tables
from .parameters import check_values

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ComparingMethod", "Kind", "Method", "RankingMethod", "TableMethod", "require_data"]

R = TypeVar("R")


class Kind(enum.Enum):
    """What kind of question a method answers."""

    CONCEPT_TO_NEURONS = "concept to neurons"
    NEURON_TO_CONCEPTS = "neuron to concepts"
    UNSUPERVISED = "unsupervised"
    REDUNDANCY = "redundancy"
    EVALUATION = "evaluation"


@dataclass(frozen=True)
class Method(ABC):
    """Hyper-parameters and nothing else; creating one checks them. Subclasses are dataclasses whose fields are
    `Annotated[type, About("one line", least=…, most=…)]` with a default.
    """

    name: ClassVar[str]
    """As in the registry."""
    kind: ClassVar[Kind]
    """What kind of question it answers."""
    supervised: ClassVar[bool] = False
    """Whether it needs labels."""
    reference: ClassVar[str]
    """Where it comes from: authors and year."""
    complexity: ClassVar[str]
    """Time, in N rows, D neurons, C classes."""

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class RankingMethod(Method):
    """Scores neurons."""

    kind: ClassVar[Kind] = Kind.CONCEPT_TO_NEURONS
    supervised: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.rank = _checked(cls.rank, "data", require_data)  # type: ignore[method-assign]

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


@dataclass(frozen=True)
class ComparingMethod(Method):
    """Scores the neurons of models by those of others."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.compare = _checked(cls.compare, "datas", _require_datas)  # type: ignore[method-assign]

    @abstractmethod
    def compare(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> dict[str, Ranking]:
        """A ranking of the neurons of each, by name. The rows of all must be of the same words; BadData where they are
        not.
        """


@dataclass(frozen=True)
class TableMethod(Method):
    """Answers with tables."""

    several: ClassVar[bool] = False
    """Whether it takes several sets of activations, of the same words."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.tables = _checked(cls.tables, "datas", _require_datas)  # type: ignore[method-assign]

    @abstractmethod
    def tables(self, datas: Mapping[str, Data], *, progress: Progress = QUIET) -> Tables:
        """The tables that its docstring names, about all neurons of the data. BadData for what it cannot work with,
        and for several where it takes one.
        """

    def only(self, datas: Mapping[str, Data]) -> Data:
        """The one there is. BadData for another number."""
        if len(datas) != 1:
            raise BadData(f"{self.name} takes one set of activations, not {len(datas)}")
        return next(iter(datas.values()))

    def answer(self, datas: Mapping[str, Data], **tables: pd.DataFrame) -> Tables:
        """The tables, with what is to be known about the data."""
        first = next(iter(datas.values()))
        return Tables(self.name, tables, first.label, asdict(self), _notes(first))


def require_data(given: object, where: str) -> None:
    """BadData for anything but `Data`: arrays, frames, sets and paths are to be made into it."""
    if not isinstance(given, Data):
        text = f"takes Data, not {type(given).__name__}: Data.from_arrays(x, labels), from_frame or from_activation_set"
        raise BadData(f"{text} makes it", where=where)


def _require_datas(given: object, where: str) -> None:
    if not isinstance(given, Mapping):
        raise BadData(f'takes Data by name, as {{"train": data}}, not {type(given).__name__}', where=where)
    for data in given.values():
        require_data(data, where)


def _checked(call: Callable[..., R], name: str, require: Callable[[object, str], None]) -> Callable[..., R]:
    """What a method does with its first argument, after a look at that."""

    @wraps(call)
    def checked(method: Method, *arguments: object, **options: object) -> R:
        require(arguments[0] if arguments else options.get(name), method.name)
        return call(method, *arguments, **options)

    return checked


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
