"""Rankings on the server."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from patchclamp._async.connection import AsyncConnection
from patchclamp._async.streams import save_chunks
from patchclamp._corpus_sources import PathLike
from patchclamp._generation import check_counts
from patchclamp._rankings import Ranking, RankingComparison
from patchclamp._resources import name_of
from patchclamp._status import status_errors
from patchclamp.v1 import analysis_pb2, analysis_pb2_grpc

__all__ = ["AsyncRankings"]

FORMATS = {"csv": analysis_pb2.RANKING_FORMAT_CSV, "json": analysis_pb2.RANKING_FORMAT_JSON}


class AsyncRankings:
    """Rankings that the server keeps: `client.analysis.rankings`.

    Wherever one is wanted, its name ("rankings/upos-probeless") or a `Ranking` is accepted.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, name: str | Ranking, *, top: int = 0, timeout: float | None = None) -> Ranking:
        """One ranking with its best neurons.

        Args:
            name: "rankings/upos-probeless".
            top: How many neurons, overall and for each class; 0: as many as were asked for when it was made.
            timeout: Seconds for the call; None: the client's.
        """
        check_counts(top=top)
        request = analysis_pb2.GetRankingRequest(name=name_of(name), top=top)
        with status_errors():
            message = await self._stub.GetRanking(request, **self._connection.options(timeout))
        return Ranking.from_proto(message)

    async def list(self, *, timeout: float | None = None) -> tuple[Ranking, ...]:
        """The rankings that are complete, ordered by name, without their neurons.

        Args:
            timeout: Seconds for each page of them; None: the client's.
        """
        found: tuple[Ranking, ...] = ()
        request = analysis_pb2.ListRankingsRequest()
        while True:
            with status_errors():
                response = await self._stub.ListRankings(request, **self._connection.options(timeout))
            found += tuple(map(Ranking.from_proto, response.rankings))
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def delete(self, ranking: str | Ranking, *, timeout: float | None = None) -> None:
        """Removes a ranking.

        Args:
            ranking: The ranking.
            timeout: Seconds for the call; None: the client's.

        Raises:
            FailedPrecondition: An operation is reading it.
        """
        request = analysis_pb2.DeleteRankingRequest(name=name_of(ranking))
        with status_errors():
            await self._stub.DeleteRanking(request, **self._connection.options(timeout))

    async def compare(
        self, rankings: Sequence[str | Ranking], *, top: int = 0, timeout: float | None = None
    ) -> RankingComparison:
        """How far rankings of the same neurons agree.

        Args:
            rankings: The rankings, two at least.
            top: How many of the best neurons of each to compare; 0: 10 % of all.
            timeout: Seconds for the call; None: the client's.

        Raises:
            FailedPrecondition: They are of different neurons.
        """
        if isinstance(rankings, str):
            raise TypeError(f"rankings is the string {rankings!r}; give a list of two at least")
        check_counts(top=top)
        request = analysis_pb2.CompareRankingsRequest(rankings=map(name_of, rankings), top=top)
        with status_errors():
            message = await self._stub.CompareRankings(request, **self._connection.options(timeout))
        return RankingComparison.from_proto(message)

    async def export(
        self,
        ranking: str | Ranking,
        path: PathLike,
        *,
        format: Literal["csv", "json"] | None = None,
        timeout: float = math.inf,
    ) -> Path:
        """Writes all scores of a ranking to a file, which appears once it is complete.

        Args:
            ranking: The ranking.
            path: Where to.
            format: "csv": a row a neuron, best first, with a score for each class; "json": the parameters, and the
                neurons overall and per class. None: as the file's name ends.
            timeout: Seconds for the call; by default as long as it takes.

        Returns:
            The path of the file.

        Raises:
            ValueError: The format is neither, or not known by the file's name.
            DataLoss: The checksum is wrong; nothing is kept.
        """
        chosen = format or Path(path).suffix.removeprefix(".")
        if chosen not in FORMATS:
            raise ValueError(f"the format is {chosen!r}; it can be 'csv' or 'json'")
        request = analysis_pb2.ExportRankingRequest(name=name_of(ranking), format=FORMATS[chosen])
        call = self._stub.ExportRanking(request, **self._connection.options(timeout))
        return await save_chunks(call, Path(path))

    @cached_property
    def _stub(self) -> analysis_pb2_grpc.AnalysisServiceAsyncStub:
        return analysis_pb2_grpc.AnalysisServiceStub(self._connection.channel)
