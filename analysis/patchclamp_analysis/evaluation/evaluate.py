"""One call that evaluates a ranking, and one that compares many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from ..data.rows import Data
from ..errors import BadData
from ..methods.method import Kind, Method, require_data
from ..methods.parameters import About
from ..progress import QUIET, Progress
from ..results import Ranking
from .compatibility import Overlap, average_overlap, neuron_vote, overlaps, top_places
from .reports import Comparison, RankingEvaluation
from .trials import Trial

__all__ = ["Evaluation", "compare_rankings", "evaluate_ranking"]


@dataclass(frozen=True)
class Evaluation(Method):
    """Judges rankings by what their top, random and bottom neurons reach on rows that nothing was trained on.

    For each number of neurons and each seed a probe is trained on the top ones alone, on random ones and on the bottom
    ones, beside one of all neurons, the oracle; in the oracle the same neurons are kept, or removed. With `control`
    there is a control task for each seed, unless a note says why there is none. What all rankings share is done once.

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
    control: Annotated[bool, About("Selectivity, by control tasks; none where the rows have no words.")] = True
    information: Annotated[bool, About("Mutual information of the top neurons, by Gaussians.")] = True
    code_length: Annotated[bool, About("Online code length: 10 probes for each choice.")] = False
    ablation: Annotated[Literal["mean", "zero"], About("What neurons that the oracle loses are set to.")] = "mean"
    overlap: Annotated[Overlap, About("Of two lists of k neurons: |∩|/k, or |∩|/|∪|.")] = "share"
    l1: Annotated[float, About("The probes' weight of Σ|W|.", 0.0, 1e6)] = 3e-4
    l2: Annotated[float, About("The probes' weight of ΣW².", 0.0, 1e6)] = 1e-2
    epochs: Annotated[int, About("The probes' passes over the rows; 0: as many as it takes.", 0, 100_000)] = 0

    name: ClassVar[str] = "evaluation"
    kind: ClassVar[Kind] = Kind.EVALUATION
    reference: ClassVar[str] = "Antverg & Belinkov 2022; Hewitt & Liang 2019; Voita & Titov 2020; Fan et al. 2023"
    complexity: ClassVar[str] = "O(seeds·(epochs·N·D·C + counts·epochs·N·k·C)) a ranking"

    def compare(
        self, rankings: Sequence[Ranking], train: Data, test: Data, *, progress: Progress = QUIET
    ) -> Comparison:
        """Judges rankings of the data's neurons, and their agreement. BadData for two of one name, for rankings of
        other neurons, for what is no ranking, and for rows with target values instead of classes.
        """
        _check_types(rankings, train, test)
        _check(rankings, train, test)
        found = Trial(self, train, test, len(rankings), progress).run(rankings)
        counts, many = found[0].counts, len(rankings) > 1
        tops = [top_places(rankings, count) for count in counts] if many else []
        shape = (len(tops), len(rankings))
        return Comparison(
            tuple(found),
            np.array([overlaps(top, self.overlap) for top in tops]).reshape(*shape, len(rankings)),
            np.array([average_overlap(top, self.overlap) for top in tops]).reshape(shape),
            np.array([neuron_vote(top, self.overlap) for top in tops]).reshape(shape),
            asdict(self),
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


def _check_types(rankings: object, train: object, test: object) -> None:
    if not isinstance(rankings, Sequence):
        raise BadData(f"takes a list of rankings, not {type(rankings).__name__}", where=Evaluation.name)
    for each in rankings:
        if not isinstance(each, Ranking):
            text = f"takes rankings, as a method's `rank` or Ranking.load gives them, not {type(each).__name__}"
            raise BadData(text, where=Evaluation.name)
    require_data(train, Evaluation.name)
    require_data(test, Evaluation.name)


def _check(rankings: Sequence[Ranking], train: Data, test: Data) -> None:
    names = [ranking.method for ranking in rankings]
    if not rankings or len(set(names)) < len(names):
        raise BadData(f"there must be rankings, each of another name, not {', '.join(names) or 'none'}")
    for ranking in rankings:
        if ranking.neurons != train.neurons:
            raise BadData("is of other neurons than the data", where=ranking.method)
    for data in (train, test):
        if data.targets is not None:
            text = "has a target value for each row, and rankings are judged by classes: give a layer of labels"
            raise BadData(text, where=data.label)
