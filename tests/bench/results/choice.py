"""The penalties of the linear probes, chosen on training sentences alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation.accuracy import ProbingTask
from patchclamp_analysis.methods.linear_probe import LinearProbe

__all__ = ["HELD_OUT", "Choice", "choose"]

HELD_OUT = 0.2
"""Part of the training sentences to choose by."""
Pair = tuple[float, float]


@dataclass(frozen=True)
class Choice:
    """`judge`: the pair with which the probe of all neurons is best; `ranker`: the one whose heaviest tenth of the
    neurons is best in that judge's eyes. Both accuracies are on training sentences that the probes have not seen.
    """

    judge: Pair
    ranker: Pair
    tried: tuple[tuple[Pair, float, float], ...]
    """Each pair with its accuracy as judge (of all neurons) and as ranker (of a tenth)."""


def choose(data: Data, grid: Sequence[Pair], share: float = 1.0) -> Choice:
    """Tries each pair on the same split, trained on a `share` of the other sentences."""
    train, test = data.split(HELD_OUT)
    train = train if share == 1.0 else train.split(share)[1]
    tenth = round(0.1 * len(data.neurons))
    probes = [LinearProbe(l1=l1, l2=l2) for l1, l2 in grid]
    trained = [probe.fit(train) for probe in probes]
    of_all = [found.score(test).accuracy for found in trained]
    judge = probes[max(range(len(grid)), key=of_all.__getitem__)]
    orders = [probe.rank_by(found, train).order() for probe, found in zip(probes, trained, strict=True)]
    of_tenth = [ProbingTask(train, test, judge).accuracy(order[:tenth]) for order in orders]
    ranker = grid[max(range(len(grid)), key=of_tenth.__getitem__)]
    return Choice((judge.l1, judge.l2), ranker, tuple(zip(grid, of_all, of_tenth, strict=True)))
