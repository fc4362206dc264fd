"""How far rankings agree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.evaluation.compatibility import average_overlap, neuron_vote, overlaps, top_places
from patchclamp_analysis.results import Ranking

from patchclamp_service.engine.errors import InvalidRequest, Unsupported
from patchclamp_service.rankings import Rankings

__all__ = ["Agreement", "agreement"]

_PART = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far M rankings agree in their best `top` neurons."""

    top: int
    overlap: NDArray[np.float64]
    """[M, M]"""
    average_overlap: NDArray[np.float64]
    """[M]"""
    neuron_vote: NDArray[np.float64]
    """[M]"""


async def agreement(request: analysis_pb2.CompareRankingsRequest, rankings: Rankings) -> Agreement:
    """Raises InvalidRequest, NotFound, DigestMismatch, or Unsupported for rankings of other neurons."""
    found: list[Ranking] = []
    digests = set()
    for place, name in enumerate(request.rankings):
        field = f"rankings[{place}]"
        if name in request.rankings[:place]:
            raise InvalidRequest(f"{field}: {name!r} is given twice", reason="GIVEN_TWICE", field=field)
        message, ranking = await rankings.open(name, field)
        digests.add(message.model_digest)
        if len(digests) > 1 or (found and ranking.neurons != found[0].neurons):
            text = f"{field}: {name!r} is of other neurons than {request.rankings[0]!r}"
            raise Unsupported(text, reason="OTHER_NEURONS", field=field)
        found.append(ranking)
    count = len(found[0].neurons)
    top = request.top or max(1, count // _PART)
    if top > count:
        text = f"top: {top} is out of range: 1 to {count}, the neurons of the rankings"
        raise InvalidRequest(text, reason="OUT_OF_RANGE", field="top")
    return await asyncio.to_thread(_agreement, found, top)


def _agreement(rankings: Sequence[Ranking], top: int) -> Agreement:
    tops = top_places(rankings, top)
    return Agreement(top, overlaps(tops), average_overlap(tops), neuron_vote(tops))
