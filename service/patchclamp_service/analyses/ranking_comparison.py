"""How far rankings agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.data.neurons import Neurons
from patchclamp_analysis.evaluation.compatibility import average_overlap, neuron_vote, overlaps, top_places
from patchclamp_analysis.results import Ranking

from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.engine.errors import InvalidRequest, Unsupported

__all__ = ["Agreement", "agreement", "same_neurons"]

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


async def same_neurons(
    names: Sequence[str], rankings: Rankings
) -> AsyncGenerator[tuple[analysis_pb2.Ranking, Ranking]]:
    """Opens the field `rankings` of a request, each once and all of the same neurons. Raises InvalidRequest, NotFound,
    DigestMismatch, or Unsupported for rankings of other neurons.
    """
    first: tuple[str, Neurons] | None = None
    for place, name in enumerate(names):
        field = f"rankings[{place}]"
        if name in names[:place]:
            raise InvalidRequest(f"{field}: {name!r} is given twice", reason="GIVEN_TWICE", field=field)
        message, ranking = await rankings.open(name, field)
        first = first or (message.model_digest, ranking.neurons)
        if first != (message.model_digest, ranking.neurons):
            text = f"{field}: {name!r} is of other neurons than {names[0]!r}"
            raise Unsupported(text, reason="OTHER_NEURONS", field=field)
        yield message, ranking


async def agreement(request: analysis_pb2.CompareRankingsRequest, rankings: Rankings) -> Agreement:
    """Raises as `same_neurons`, and InvalidRequest for more neurons than there are."""
    tops = []
    async with aclosing(same_neurons(request.rankings, rankings)) as opened:
        async for _, ranking in opened:  # one at a time: with all their scores they may be large
            tops.append(await asyncio.to_thread(top_places, [ranking], _top(request.top, len(ranking.neurons))))
    return await asyncio.to_thread(_agreement, np.concatenate(tops))


def _top(wanted: int, count: int) -> int:
    if wanted > count:
        text = f"top: {wanted} is out of range: 1 to {count}, the neurons of the rankings"
        raise InvalidRequest(text, reason="OUT_OF_RANGE", field="top")
    return wanted or max(1, count // _PART)


def _agreement(tops: NDArray[np.int64]) -> Agreement:
    return Agreement(tops.shape[1], overlaps(tops), average_overlap(tops), neuron_vote(tops))
