"""The work of a comparison: which probes are trained, for which neurons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..data.rows import Data
from ..errors import BadData
from ..methods.linear_probe import LinearProbe
from ..probe import Probe
from ..progress import Progress
from ..results import Ranking
from .accuracy import ProbingTask, ablation_accuracies, gathered, majority
from .code_length import online_code_length
from .compatibility import distributedness
from .control import control_task
from .reports import RankingEvaluation
from .scores import Score
from .selections import Places, Selection, neuron_counts, random_places, select
from .subset_information import most_neurons, subset_information

if TYPE_CHECKING:
    from .evaluate import Evaluation

__all__ = ["Trial"]

_ENDS: tuple[Literal["top", "bottom"], ...] = ("top", "bottom")


class Trial:
    """One comparison under way; what all rankings share is measured once."""

    def __init__(self, how: Evaluation, train: Data, test: Data, rankings: int, progress: Progress) -> None:
        self.how, self.width = how, len(train.neurons)
        self.probe = LinearProbe(l1=how.l1, l2=how.l2, epochs=how.epochs)
        self.task = ProbingTask(train, test, self.probe)
        self.counts = neuron_counts(how.counts, self.width)
        self.informative = [count for count in self.counts if how.information and count <= most_neurons(train)]
        self.seeds = range(how.seeds)
        self.notes = _notes(train, test)
        self.controls = self._controls() if how.control else []
        self.parts = _parts(progress, self._steps(rankings))

    def run(self, rankings: Sequence[Ranking]) -> list[RankingEvaluation]:
        """Judges the rankings, in the order given."""
        oracles = [self.task.fit(seed=seed, progress=next(self.parts)) for seed in self.seeds]
        shared = [Score("accuracy", "all", self.width, tuple(p.score(self.task.test).accuracy for p in oracles))]
        shared += self._selectivity(shared[0], None)
        shared += self._code_length(None)
        shared += self._kept(oracles, "random", [self._random(count) for count in self.counts])
        shared += [self._accuracy("random", count, self._random(count)) for count in self.counts]
        return [self._of(ranking, oracles, shared) for ranking in rankings]

    def _of(self, ranking: Ranking, oracles: list[Probe], shared: list[Score]) -> RankingEvaluation:
        order = ranking.order()
        found = list(shared)
        for which in _ENDS:
            chosen = [select(order, which, count) for count in self.counts]
            found += self._kept(oracles, which, [[places] * self.how.seeds for places in chosen])
            for count, places in zip(self.counts, chosen, strict=True):
                found.append(self._accuracy(which, count, [places] * self.how.seeds))
                if which == "top":
                    found += self._selectivity(found[-1], places)
                    found += self._information(places)
                    found += self._code_length(places)
        skipped = [count for count in self.counts if self.how.information and count not in self.informative]
        return RankingEvaluation(
            ranking.method,
            self.task.train.label,
            self.width,
            len(self.task.train),
            len(self.task.test),
            majority(self.task.train, self.task.test),
            tuple(found),
            {count: ranking.distribution(count) for count in self.counts},
            distributedness(ranking) if ranking.classes else {},
            ranking.notes
            + tuple(self.notes)
            + tuple(f"no information of {count} neurons: memory_bytes is too little" for count in skipped),
        )

    def _controls(self) -> list[ProbingTask]:
        """One for each seed; none, and a note, where rows have no words, or words of too few types."""
        try:
            pairs = [control_task(self.task.train, self.task.test, seed=seed) for seed in self.seeds]
            return [ProbingTask(one, other, self.probe) for one, other in pairs]
        except BadData as error:
            self.notes.append(f"no selectivity: {error.message}")
            return []

    def _accuracy(self, which: Selection, count: int, choices: Sequence[Places]) -> Score:
        """Of a probe for each seed, with the seed's choice of neurons."""
        pairs = zip(self.seeds, choices, strict=True)
        values = tuple(self.task.accuracy(places, seed, next(self.parts)) for seed, places in pairs)
        return Score("accuracy", which, count, values)

    def _kept(self, oracles: Sequence[Probe], which: Selection, choices: Sequence[Sequence[Places]]) -> list[Score]:
        """Accuracies of the oracle when it keeps, or is deprived of, some neurons: for each count, for each seed."""
        found = []
        for seed, oracle in enumerate(oracles):
            kept = [places[seed] for places in choices]
            removed = [np.setdiff1d(np.arange(self.width), places) for places in kept]
            found.append(ablation_accuracies(oracle, self.task.test, kept + removed, self.how.ablation))
        values = list(zip(*found, strict=True))
        half = len(self.counts)
        kept_scores = [Score("kept", which, *pair) for pair in zip(self.counts, values[:half], strict=True)]
        return kept_scores + [Score("removed", which, *pair) for pair in zip(self.counts, values[half:], strict=True)]

    def _selectivity(self, real: Score, places: Places | None) -> list[Score]:
        pairs = zip(self.controls, real.values, strict=False)
        values = tuple(
            accuracy - task.accuracy(places, seed, next(self.parts)) for seed, (task, accuracy) in enumerate(pairs)
        )
        return [Score("selectivity", real.neurons, real.count, values)] if values else []

    def _information(self, places: Places) -> list[Score]:
        if len(places) not in self.informative:
            return []
        found = subset_information(self.task.train, self.task.test, places, next(self.parts))
        return [Score("information", "top", len(places), (found.normalised,))]

    def _code_length(self, places: Places | None) -> list[Score]:
        if not self.how.code_length:
            return []
        train = self.task.train if places is None else gathered(self.task.train.keep(places))
        found = [online_code_length(train, self.probe, seed=seed, progress=next(self.parts)) for seed in self.seeds]
        which: Selection = "all" if places is None else "top"
        count = self.width if places is None else len(places)
        return [
            Score("code_length", which, count, tuple(code.bits_per_row for code in found)),
            Score("compression", which, count, tuple(code.compression for code in found)),
        ]

    def _random(self, count: int) -> list[Places]:
        return [random_places(self.width, count, seed) for seed in self.seeds]

    def _steps(self, rankings: int) -> int:
        """How many probes there will be, or what takes as long."""
        judged = 1 + rankings * len(self.counts)
        probes = 1 + len(self.counts) * (1 + 2 * rankings)
        probes += judged if self.controls else 0
        probes += judged if self.how.code_length else 0
        return self.how.seeds * probes + rankings * len(self.informative)


def _notes(train: Data, test: Data) -> list[str]:
    """Classes that only one side has."""
    known, judged = (_rows_of_classes(data) for data in (train, test))
    notes = []
    if wrong := len(test) - sum(rows for name, rows in judged.items() if name in known):
        names = ", ".join(name for name in judged if name not in known) or "none that has a name"
        notes.append(f"{wrong} test rows count as wrong, being of classes without training rows: {names}")
    if absent := [name for name in known if name not in judged]:
        notes.append(f"classes with no test row: {', '.join(absent)}")
    return notes


def _rows_of_classes(data: Data) -> dict[str, int]:
    """Of those that have rows."""
    return {name: int(rows) for name, rows in zip(data.classes, data.counts, strict=True) if rows}


def _parts(progress: Progress, count: int) -> Iterator[Progress]:
    """Equal stretches of the way."""
    return (progress.part(number / count, (number + 1) / count) for number in range(count))
