"""What an evaluation finds, as figures and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..tables import Tables
from .scores import Measure, Score
from .selections import Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "RankingEvaluation"]

NAME = "evaluation"

_COLUMNS = {
    "scores": ("method", "measure", "neurons", "count", "seed", "value"),
    "layers": ("method", "count", "site", "number"),
    "spread": ("method", "class", "neurons"),
    "overlap": ("count", "one", "other", "share"),
    "agreement": ("count", "method", "average_overlap", "neuron_vote"),
    "data": ("neurons", "train_rows", "test_rows", "majority"),
    "notes": ("method", "note"),
}


@dataclass(frozen=True, slots=True)
class RankingEvaluation:
    """How good the ranking of one method is for telling `classes` apart.

    `layers`: of each number of neurons, how many of the best ones each site has. `spread`: of each class, how many
    neurons have half of what the ranking gives to it.
    """

    method: str
    label: str
    neurons: int
    train_rows: int
    test_rows: int
    majority: float
    scores: tuple[Score, ...]
    layers: Mapping[int, Mapping[str, int]]
    spread: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<RankingEvaluation {self.method} of {self.label}: {_numbers(self.counts)} of {self.neurons:,} neurons>"

    def score(self, measure: Measure, neurons: Selection, count: int = 0) -> Score:
        """A figure by its name; `count` is not needed for all neurons. BadData if it was not measured."""
        for score in self.scores:
            if (score.measure, score.neurons) == (measure, neurons) and count in (score.count, 0):
                return score
        raise BadData(f"was not measured of {neurons} {count or ''} neurons", where=measure)

    @property
    def oracle(self) -> Score:
        """The accuracy of a probe of all neurons."""
        return self.score("accuracy", "all")

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of neurons that were looked at."""
        return tuple(self.layers)

    def to_pandas(self) -> pd.DataFrame:
        """A row per figure: method, measure, neurons, count, mean, deviation, and the accuracies as a part of the
        oracle's.
        """
        import pandas as pd

        oracle = self.oracle.mean
        rows = [
            (
                self.method,
                score.measure,
                score.neurons,
                score.count,
                score.mean,
                score.deviation,
                score.mean / oracle if oracle and score.measure in ("accuracy", "kept", "removed") else np.nan,
            )
            for score in (Score("accuracy", "majority", 0, (self.majority,)), *self.scores)
        ]
        columns = ["method", "measure", "neurons", "count", "mean", "deviation", "share_of_oracle"]
        return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Several rankings of the same neurons, judged by the same probes, and how far they agree.

    Of K numbers of neurons and M methods: `overlaps` [K, M, M], `average_overlap` [K, M] and `neuron_vote` [K, M],
    empty of one method alone. `parameters` are those of the `Evaluation`; `notes` are about all of it.
    """

    evaluations: tuple[RankingEvaluation, ...]
    overlaps: NDArray[np.float64]
    average_overlap: NDArray[np.float64]
    neuron_vote: NDArray[np.float64]
    parameters: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        first = self.evaluations[0]
        what = f"{', '.join(self.methods)} of {first.label}"
        return f"<Comparison {what}: {_numbers(self.counts)} of {first.neurons:,} neurons>"

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names, in the order given."""
        return tuple(evaluation.method for evaluation in self.evaluations)

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of neurons that were looked at."""
        return self.evaluations[0].counts

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Those about all of it, then those about rankings, each once."""
        return (*self.notes, *dict.fromkeys(note for each in self.evaluations for note in each.notes))

    def to_pandas(self) -> pd.DataFrame:
        """A row per method and number of neurons: the means over seeds, and the agreement with the other methods."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for number, evaluation in enumerate(self.evaluations):
            for place, count in enumerate(self.counts):
                row: dict[str, Any] = {"method": evaluation.method, "count": count, "majority": evaluation.majority}
                row |= {
                    f"{score.measure}_{score.neurons}": score.mean
                    for score in evaluation.scores
                    if score.count == count or score.neurons == "all"
                }
                if len(self.evaluations) > 1:
                    row["average_overlap"] = self.average_overlap[place, number]
                    row["neuron_vote"] = self.neuron_vote[place, number]
                rows.append(row)
        return pd.DataFrame(rows)

    def to_tables(self) -> Tables:
        """All of it, value for value: "summary", which is what `to_pandas` gives; "scores", a row for each seed;
        "layers", "spread", "overlap", "agreement"; "data", one row that holds for all; "notes", those of each method.
        """
        tables = {name: _frame(name, rows) for name, rows in _rows(self).items()}
        first, parameters = self.evaluations[0], dict(self.parameters)
        return Tables(NAME, {"summary": self.to_pandas()} | tables, first.label, parameters, self.all_notes)

    @classmethod
    def from_tables(cls, tables: Tables) -> Comparison:
        """What `to_tables` was made of, also after its file. BadData for tables of anything else."""
        try:
            if tables.method != NAME:
                raise ValueError(f"they are of {tables.method}")
            return _comparison(tables)
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"these are no tables of an evaluation: {error}") from error

    def to_json(self) -> str:
        """The tables, as their file has them."""
        return self.to_tables().to_json()


def _numbers(counts: Iterable[int]) -> str:
    return ", ".join(f"{count:,}" for count in counts)


def _rows(comparison: Comparison) -> dict[str, Iterable[tuple[object, ...]]]:
    """The rows of each table but the summary."""
    evaluations, methods = comparison.evaluations, comparison.methods
    first, counts = evaluations[0], comparison.counts if len(methods) > 1 else ()
    return {
        "scores": [
            (each.method, score.measure, score.neurons, score.count, seed, value)
            for each in evaluations
            for score in each.scores
            for seed, value in enumerate(score.values)
        ],
        "layers": [
            (each.method, count, site, number)
            for each in evaluations
            for count, sites in each.layers.items()
            for site, number in sites.items()
        ],
        "spread": [(each.method, *pair) for each in evaluations for pair in each.spread.items()],
        "overlap": [
            (count, one, other, comparison.overlaps[place, row, column])
            for place, count in enumerate(counts)
            for row, one in enumerate(methods)
            for column, other in enumerate(methods)
        ],
        "agreement": [
            (count, method, comparison.average_overlap[place, row], comparison.neuron_vote[place, row])
            for place, count in enumerate(counts)
            for row, method in enumerate(methods)
        ],
        "data": [(first.neurons, first.train_rows, first.test_rows, first.majority)],
        "notes": [(each.method, note) for each in evaluations for note in each.notes],
    }


def _comparison(tables: Tables) -> Comparison:
    read = {name: list(_read(tables, name)) for name in _COLUMNS}
    methods = list(dict.fromkeys(row[0] for row in read["scores"]))
    evaluations = tuple(_evaluation(method, tables.label, read) for method in methods)
    shape = (len(evaluations[0].counts) if len(methods) > 1 else 0, len(methods))
    parameters = {name: tuple(v) if isinstance(v, list) else v for name, v in tables.parameters.items()}
    found = Comparison(
        evaluations,
        np.array([share for *_, share in read["overlap"]], np.float64).reshape(*shape, len(methods)),
        np.array([overlap for _, _, overlap, _ in read["agreement"]], np.float64).reshape(shape),
        np.array([vote for *_, vote in read["agreement"]], np.float64).reshape(shape),
        parameters,
    )
    return replace(found, notes=tables.notes[: len(tables.notes) - len(found.all_notes)])


def _evaluation(method: str, label: str, read: Mapping[str, list[tuple[Any, ...]]]) -> RankingEvaluation:
    own = {
        name: [row[1:] for row in read[name] if row[0] == method] for name in ("scores", "layers", "spread", "notes")
    }
    scores: dict[tuple[Measure, Selection, int], list[float]] = {}
    for measure, neurons, count, _, value in own["scores"]:
        scores.setdefault((measure, neurons, count), []).append(value)
    layers: dict[int, dict[str, int]] = {}
    for count, site, number in own["layers"]:
        layers.setdefault(count, {})[site] = number
    ((neurons, train_rows, test_rows, majority),) = read["data"]
    return RankingEvaluation(
        method,
        label,
        neurons,
        train_rows,
        test_rows,
        majority,
        tuple(Score(*which, tuple(values)) for which, values in scores.items()),
        layers,
        dict(own["spread"]),
        tuple(note for (note,) in own["notes"]),
    )


def _frame(name: str, rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(_COLUMNS[name]))


def _read(tables: Tables, name: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, as plain values."""
    columns = [tables[name][column].tolist() for column in _COLUMNS[name]]
    return zip(*columns, strict=True)
