"""How many neurons each class needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..methods.linear_probe import LinearProbe
from ..progress import QUIET, Progress
from ..results import Ranking
from .accuracy import ProbingTask, gathered
from .selections import neuron_counts

__all__ = ["ClassNeed", "neurons_needed"]


@dataclass(frozen=True, slots=True)
class ClassNeed:
    """Of a class: `rows` of it in the test data, `oracle`, the F1 of the probe of all neurons, and the F1 with so many
    of the best neurons. `needed` is the fewest of these that reach the wanted part of the oracle; 0: not even the most.
    """

    name: str
    rows: int
    oracle: float
    reached: tuple[tuple[int, float], ...]
    needed: int


def neurons_needed(
    ranking: Ranking,
    train: Data,
    test: Data,
    *,
    share: float = 0.97,
    counts: Sequence[float] = (1, 2, 5, 10, 20, 50, 100, 200),
    probe: LinearProbe | None = None,
    progress: Progress = QUIET,
) -> tuple[ClassNeed, ...]:
    """For each class of the ranking with rows on both sides, probes of this class against all others, of its own best
    neurons. O(C·epochs·N·k) for each number k of neurons.

    Source: the question of Durrani et al. 2020, Analyzing individual neurons in pre-trained language models, which
    counts weights instead (`distributedness`): those depend on the penalty, accuracies do not.
    """
    whole = ProbingTask(train, test, probe or LinearProbe())
    oracle = whole.fit(progress=progress.part(0.0, 0.2)).predict(whole.test)
    numbers = neuron_counts(counts, len(train.neurons))
    present = [
        number
        for number, name in enumerate(train.classes)
        if name in ranking.classes and train.counts[number] > 1 and whole.test.counts[number]
    ]
    found = []
    for number in progress.part(0.2, 1.0).each(present):
        own, order = whole.test.y == number, ranking.order(train.classes[number])
        goal, reached = f1(own, oracle == number), []
        for count in numbers:
            progress.check()
            one, other = (gathered(data.keep(order[:count])) for data in (train, whole.test))
            task = ProbingTask(_against_others(one, number), _against_others(other, number), whole.probe)
            reached.append((count, f1(own, task.fit().predict(task.test) == 1)))
        needed = next((count for count, score in reached if score >= share * goal), 0)
        found.append(ClassNeed(train.classes[number], int(own.sum()), goal, tuple(reached), needed))
    return tuple(found)


def f1(true: NDArray[np.bool_], said: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    return float(2 * np.sum(true & said) / max(1, int(true.sum() + said.sum())))


def _against_others(data: Data, number: int) -> Data:
    return data.with_labels((data.y == number).astype(np.int64), data.label).with_classes(("0", "1"))
