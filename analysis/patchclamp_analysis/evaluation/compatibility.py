"""How far rankings agree with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..results import Ranking

__all__ = ["Overlap", "average_overlap", "borda", "distributedness", "neuron_vote", "overlaps", "top_places"]

Overlap = Literal["share", "jaccard"]
Places = NDArray[np.int64]


def top_places(rankings: Sequence[Ranking], count: int, name: str = "") -> Places:
    """[M, count] the best neurons of each ranking, by place, overall or for a class. BadData if they are of different
    neurons.
    """
    for ranking in rankings[1:]:
        if ranking.neurons != rankings[0].neurons:
            raise BadData(f"is of other neurons than {rankings[0].method}", where=ranking.method)
    if not 1 <= count <= len(rankings[0].neurons):
        raise BadData(f"{count} is out of range: there are {len(rankings[0].neurons)} neurons", where="count")
    return np.stack([ranking.order(name)[:count] for ranking in rankings])


def overlaps(tops: Places, kind: Overlap = "share") -> NDArray[np.float64]:
    """[M, M] the overlap of each two lists of k: |∩|/k, or Jaccard's |∩|/|∪|."""
    members = _members(tops)
    common = (members @ members.T).astype(np.float64)
    return np.asarray(common / (2 * tops.shape[1] - common if kind == "jaccard" else tops.shape[1]))


def average_overlap(tops: Places, kind: Overlap = "share") -> NDArray[np.float64]:
    """[M] AvgOverlap: the mean overlap of each list with those of all others.

    Source: Fan et al. 2023, Evaluating neuron interpretation methods of NLP models.
    """
    _require_others(tops)
    return np.asarray((overlaps(tops, kind).sum(axis=1) - 1.0) / (len(tops) - 1))


def neuron_vote(tops: Places, kind: Overlap = "share") -> NDArray[np.float64]:
    """[M] NeuronVote: the overlap of each list with what all others elect by Borda's count.

    Source: Fan et al. 2023, Evaluating neuron interpretation methods of NLP models.
    """
    _require_others(tops)
    found = np.empty(len(tops))
    for number, top in enumerate(tops):
        elected = borda(np.delete(tops, number, axis=0))[: tops.shape[1]]
        found[number] = overlaps(np.stack((top, elected)), kind)[0, 1]
    return found


def borda(tops: Places) -> Places:
    """Places of all neurons that some list has, best first: the first of a list of k gets k points, the last 1. Of
    equal sums the lower place is first.
    """
    points = np.bincount(tops.ravel(), np.tile(np.arange(tops.shape[1], 0, -1), len(tops)))
    order = np.argsort(-points, kind="stable")
    return order[: np.count_nonzero(points)]


def distributedness(ranking: Ranking, mass: float = 0.5) -> dict[str, int]:
    """Of each class the fewest neurons that have a part `mass` of what the ranking gives to it: of a probe's |weights|
    where it has them, else of its scores (those below 0 count as 0). 0 for a class to which it gives nothing.

    Source: Durrani et al. 2020, Analyzing individual neurons in pre-trained language models.
    """
    sizes = np.abs(ranking.details["weights"], dtype=np.float64) if "weights" in ranking.details else None
    if sizes is None or sizes.shape != ranking.class_scores.shape:
        sizes = np.maximum(ranking.class_scores, 0.0)
    falling = -np.sort(-sizes, axis=1)
    sums = np.cumsum(falling, axis=1)
    counts = [int(np.searchsorted(row, row[-1] * mass)) + 1 if row[-1] else 0 for row in sums]
    return dict(zip(ranking.classes, counts, strict=True))


def _members(tops: Places) -> NDArray[np.int64]:
    """[M, places] 1 where a list has a neuron."""
    members = np.zeros((len(tops), int(tops.max()) + 1), np.int64)
    np.put_along_axis(members, tops, 1, axis=1)
    return members


def _require_others(tops: Places) -> None:
    if len(tops) < 2:
        raise BadData(f"{len(tops)} ranking has no others to agree with: give two or more", where="rankings")
