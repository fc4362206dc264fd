"""Analyses on the server."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Literal

from patchclamp._analyses import Analysis
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.streams import save_chunks
from patchclamp._corpus_sources import PathLike
from patchclamp._generation import check_counts
from patchclamp._resources import name_of
from patchclamp._status import status_errors
from patchclamp.v1 import analysis_pb2, analysis_pb2_grpc

__all__ = ["AsyncAnalyses"]

FORMATS = {"csv": analysis_pb2.ANALYSIS_FORMAT_CSV, "json": analysis_pb2.ANALYSIS_FORMAT_JSON}


class AsyncAnalyses:
    """Analyses that the server keeps: `client.analysis.analyses`.

    Wherever one is wanted, its name ("analyses/upos-layers") or an `Analysis` is accepted.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, analysis: str | Analysis, *, rows: int = 0, timeout: float | None = None) -> Analysis:
        """One analysis with the first rows of its tables.

        Args:
            analysis: "analyses/upos-layers".
            rows: Most rows of each table, up to 100,000; 0: 100. Fewer come where they would not fit into a message of
                2 MiB: `Table.complete` says whether all are here.
            timeout: Seconds for the call; None: the client's.
        """
        check_counts(rows=rows)
        request = analysis_pb2.GetAnalysisRequest(name=name_of(analysis), rows=rows)
        with status_errors():
            message = await self._stub.GetAnalysis(request, **self._connection.options(timeout))
        return Analysis.from_proto(message)

    async def list(self, *, timeout: float | None = None) -> tuple[Analysis, ...]:
        """The analyses that are complete, ordered by name, without the rows of their tables.

        Args:
            timeout: Seconds for each page of them; None: the client's.
        """
        found: tuple[Analysis, ...] = ()
        request = analysis_pb2.ListAnalysesRequest()
        while True:
            with status_errors():
                response = await self._stub.ListAnalyses(request, **self._connection.options(timeout))
            found += tuple(map(Analysis.from_proto, response.analyses))
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def delete(self, analysis: str | Analysis, *, timeout: float | None = None) -> None:
        """Removes an analysis.

        Args:
            analysis: The analysis.
            timeout: Seconds for the call; None: the client's.
        """
        request = analysis_pb2.DeleteAnalysisRequest(name=name_of(analysis))
        with status_errors():
            await self._stub.DeleteAnalysis(request, **self._connection.options(timeout))

    async def export(
        self,
        analysis: str | Analysis,
        path: PathLike,
        *,
        table: str = "",
        format: Literal["csv", "json"] | None = None,
        timeout: float = math.inf,
    ) -> Path:
        """Writes all rows of an analysis to a file, which appears once it is complete.

        Args:
            analysis: The analysis.
            path: Where to.
            table: As CSV: which table; empty: the only one.
            format: "json": everything, which `patchclamp-analysis plot` reads; "csv": one table, with a header. None:
                as the file's name ends.
            timeout: Seconds for the call; by default as long as it takes.

        Returns:
            The path of the file.

        Raises:
            ValueError: The format is neither, or not known by the file's name; or a table is named for JSON.
            InvalidArgument: There is no such table, or several and none is named.
            DataLoss: The checksum is wrong; nothing is kept.
        """
        chosen = format or Path(path).suffix.removeprefix(".")
        if chosen not in FORMATS:
            raise ValueError(f"the format is {chosen!r}; it can be 'csv' or 'json'")
        if table and chosen == "json":
            raise ValueError(f"JSON holds all tables; {table!r} alone can be written as 'csv'")
        request = analysis_pb2.ExportAnalysisRequest(name=name_of(analysis), format=FORMATS[chosen], table=table)
        return await save_chunks(self._stub.ExportAnalysis(request, **self._connection.options(timeout)), Path(path))

    @cached_property
    def _stub(self) -> analysis_pb2_grpc.AnalysisServiceAsyncStub:
        return analysis_pb2_grpc.AnalysisServiceStub(self._connection.channel)
