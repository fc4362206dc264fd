"""One call that evaluates a ranking, and one that compares many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from ..data import Data
from ..errors import BadData
from ..methods.linear_probe import LinearProbe
from ..methods.method import Method
from ..methods.parameters import About
from ..probe import Probe
from ..progress import QUIET, Progress
from ..results import Ranking
from .accuracy import ProbingTask, ablation_accuracies, majority
from .code_length import CodeLength, online_code_length
from .compatibility import average_overlap, distributedness, neuron_vote, overlaps, top_places
from .control import control_task
from .reports import Comparison, RankingEvaluation
from .scores import Score
from .selections import Places, neuron_counts, random_places, select
from .subset_information import most_neurons, subset_information

__all__ = ["Evaluation", "compare_rankings", "evaluate_ranking"]


@dataclass(frozen=True)
class Evaluation(Method):
    """Judges rankings by what their top, random and bottom neurons reach on rows that nothing was trained on.

    For each number of neurons and each seed a probe is trained on the top ones alone, on random ones and on the bottom
    ones, beside one of all neurons, the oracle; in the oracle the same neurons are kept, or removed. With `control`
    there is a control task for each seed. What all rankings share is done once.

    A probe shows what can be read off linearly, not what the model uses. Random neurons do well where a concept is
    everywhere, so look at the distance to them. Rankings are to come from the training rows.
    """

    counts: Annotated[tuple[float, ...], About("Numbers of neurons; below 1: a part of all.", 1e-6, 1e7)] = (
        10.0,
        50.0,
        100.0,
        0.01,
        0.1,
    )
    seeds: Annotated[int, About("Probes of each kind, of seeds 0, 1, ….", 1, 100)] = 3
    control: Annotated[bool, About("Selectivity, by control tasks. Needs words.")] = True
    information: Annotated[bool, About("Mutual information of the top neurons, by Gaussians.")] = True
    code_length: Annotated[bool, About("Online code length: 10 probes for each choice.")] = False
    l1: Annotated[float, About("The probes' weight of Σ|W|.", 0.0)] = 3e-4
    l2: Annotated[float, About("The probes' weight of ΣW².", 0.0)] = 1e-2
    epochs: Annotated[int, About("The probes' passes over the rows; 0: as many as it takes.", 0, 100_000)] = 0

    name: ClassVar[str] = "evaluation"
    reference: ClassVar[str] = "Antverg & Belinkov 2022; Hewitt & Liang 2019; Voita & Titov 2020; Fan et al. 2023"
    complexity: ClassVar[str] = "O(seeds·(epochs·N·D·C + counts·epochs·N·k·C)) a ranking"

    def compare(
        self, rankings: Sequence[Ranking], train: Data, test: Data, *, progress: Progress = QUIET
    ) -> Comparison:
        """Judges rankings of the data's neurons, and their agreement. BadData for two of one name."""
        names = [ranking.method for ranking in rankings]
        if not rankings or len(set(names)) < len(names):
            raise BadData(f"there must be rankings, each of another name, not {', '.join(names) or 'none'}")
        for ranking in rankings:
            if ranking.neurons != train.neurons:
                raise BadData("is of other neurons than the data", where=ranking.method)
        found = _Trial(self, train, test, len(rankings), progress).run(rankings)
        counts, many = found[0].counts, len(rankings) > 1
        tops = [top_places(rankings, count) for count in counts] if many else []
        shape = (len(tops), len(rankings))
        return Comparison(
            tuple(found),
            np.array([overlaps(top) for top in tops]).reshape(*shape, len(rankings)),
            np.array([average_overlap(top) for top in tops]).reshape(shape),
            np.array([neuron_vote(top) for top in tops]).reshape(shape),
        )


def evaluate_ranking(
    ranking: Ranking, train: Data, test: Data, how: Evaluation | None = None, *, progress: Progress = QUIET
) -> RankingEvaluation:
    """Judges one ranking; see `Evaluation`."""
    return (how or Evaluation()).compare([ranking], train, test, progress=progress).evaluations[0]


def compare_rankings(
    rankings: Sequence[Ranking], train: Data, test: Data, how: Evaluation | None = None, *, progress: Progress = QUIET
) -> Comparison:
    """Judges several rankings of the same neurons by the same probes; see `Evaluation`."""
    return (how or Evaluation()).compare(rankings, train, test, progress=progress)


class _Trial:
    """One comparison under way."""

    def __init__(self, how: Evaluation, train: Data, test: Data, rankings: int, progress: Progress) -> None:
        self.how, self.width = how, len(train.neurons)
        self.probe = LinearProbe(l1=how.l1, l2=how.l2, epochs=how.epochs)
        self.task = ProbingTask(train, test, self.probe)
        self.counts = neuron_counts(how.counts, self.width)
        self.informative = [count for count in self.counts if how.information and count <= most_neurons(train)]
        self.controls: list[ProbingTask] = []
        if how.control:
            pairs = [control_task(train, test, seed=seed) for seed in range(how.seeds)]
            self.controls = [ProbingTask(*pair, self.probe) for pair in pairs]
        self.parts = _parts(progress, self._steps(rankings))

    def run(self, rankings: Sequence[Ranking]) -> list[RankingEvaluation]:
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
        for which in ("top", "bottom"):
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
            ranking.notes + tuple(f"no information of {count} neurons: memory_bytes is too little" for count in skipped),
        )
