"""What an evaluation finds, as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from .scores import Measure, Score
from .selections import Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "RankingEvaluation"]


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

    def to_json(self) -> str:
        """All figures, with the value of each seed."""
        return json.dumps(self.content(), indent=1, ensure_ascii=False)

    def content(self) -> dict[str, object]:
        """The same as plain values."""
        return {
            "method": self.method,
            "label": self.label,
            "neurons": self.neurons,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "majority": self.majority,
            "scores": [
                {
                    "measure": score.measure,
                    "neurons": score.neurons,
                    "count": score.count,
                    "mean": score.mean,
                    "deviation": score.deviation,
                    "values": score.values,
                }
                for score in self.scores
            ],
            "layers": {str(count): dict(sites) for count, sites in self.layers.items()},
            "spread": dict(self.spread),
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Several rankings of the same neurons, judged by the same probes, and how far they agree.

    Of K numbers of neurons and M methods: `overlaps` [K, M, M], `average_overlap` [K, M] and `neuron_vote` [K, M],
    empty of one method alone.
    """

    evaluations: tuple[RankingEvaluation, ...]
    overlaps: NDArray[np.float64]
    average_overlap: NDArray[np.float64]
    neuron_vote: NDArray[np.float64]

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names, in the order given."""
        return tuple(evaluation.method for evaluation in self.evaluations)

    @property
    def counts(self) -> tuple[int, ...]:
        """Numbers of neurons that were looked at."""
        return self.evaluations[0].counts

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

    def to_json(self) -> str:
        """All of it."""
        agreement = {
            str(count): {
                "overlaps": self.overlaps[place].tolist(),
                "average_overlap": self.average_overlap[place].tolist(),
                "neuron_vote": self.neuron_vote[place].tolist(),
            }
            for place, count in enumerate(self.counts if len(self.evaluations) > 1 else ())
        }
        content = {
            "methods": self.methods,
            "evaluations": [evaluation.content() for evaluation in self.evaluations],
            "agreement": agreement,
        }
        return json.dumps(content, indent=1, ensure_ascii=False)
