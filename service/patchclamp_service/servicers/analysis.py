"""AnalysisService: rankings of neurons and probes, made of activation sets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2, analysis_pb2_grpc

from patchclamp_service.analyses.analyses import Analyses
from patchclamp_service.analyses.analysis_exports import export as export_analysis
from patchclamp_service.analyses.analysis_jobs import AnalysisJobs
from patchclamp_service.analyses.evaluation_jobs import EvaluationJobs
from patchclamp_service.analyses.messages import listed_methods
from patchclamp_service.analyses.probe_jobs import ProbeJobs
from patchclamp_service.analyses.ranking_comparison import agreement
from patchclamp_service.analyses.ranking_exports import export
from patchclamp_service.analyses.ranking_jobs import RankingJobs
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.analyses.redundancy_jobs import RedundancyJobs
from patchclamp_service.analyses.word_queries import WordQueries
from patchclamp_service.store.result_files import ResultFiles
from patchclamp_service.wire.tensors import tensor

__all__ = ["AnalysisServicer"]


class AnalysisServicer(analysis_pb2_grpc.AnalysisServiceServicer):
    """Starts analyses, and hands out what they have made."""

    def __init__(
        self,
        rankings: Rankings,
        probes: ResultFiles[analysis_pb2.Probe],
        analyses: Analyses,
        ranking_jobs: RankingJobs,
        probe_jobs: ProbeJobs,
        redundancy_jobs: RedundancyJobs,
        analysis_jobs: AnalysisJobs,
        evaluation_jobs: EvaluationJobs,
        word_queries: WordQueries,
        scratch: Path,
    ) -> None:
        self._rankings = rankings
        self._probes = probes
        self._analyses = analyses
        self._ranking_jobs = ranking_jobs
        self._probe_jobs = probe_jobs
        self._redundancy_jobs = redundancy_jobs
        self._analysis_jobs = analysis_jobs
        self._evaluation_jobs = evaluation_jobs
        self._word_queries = word_queries
        self._scratch = scratch

    async def ListMethods(
        self, request: analysis_pb2.ListMethodsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.ListMethodsResponse:
        """All methods."""
        return analysis_pb2.ListMethodsResponse(methods=listed_methods())

    async def RankNeurons(
        self, request: analysis_pb2.RankNeuronsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that makes a ranking."""
        return await self._ranking_jobs.start(request)

    async def GetRanking(
        self, request: analysis_pb2.GetRankingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.Ranking:
        """One ranking with its best neurons."""
        return await self._rankings.get(request.name, request.top)

    async def ListRankings(
        self, request: analysis_pb2.ListRankingsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.ListRankingsResponse:
        """A page of rankings, without their neurons."""
        found, following = await self._rankings.files.list(request.page_size, request.page_token)
        return analysis_pb2.ListRankingsResponse(rankings=found, next_page_token=following)

    async def DeleteRanking(
        self, request: analysis_pb2.DeleteRankingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Row and file."""
        await self._rankings.files.delete(request.name)
        return empty_pb2.Empty()

    async def ExportRanking(
        self, request: analysis_pb2.ExportRankingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[activations_pb2.FileChunk]:
        """All scores."""
        _, ranking = await self._rankings.open(request.name, "name")
        async with aclosing(export(ranking, request.format, self._scratch)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def TrainProbe(
        self, request: analysis_pb2.TrainProbeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that makes a probe."""
        return await self._probe_jobs.train(request)

    async def EvaluateProbe(
        self, request: analysis_pb2.EvaluateProbeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that judges a probe."""
        return await self._probe_jobs.evaluate(request)

    async def GetProbe(
        self, request: analysis_pb2.GetProbeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.Probe:
        """One probe."""
        return await self._probes.get(request.name)

    async def ListProbes(
        self, request: analysis_pb2.ListProbesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.ListProbesResponse:
        """A page of probes."""
        found, following = await self._probes.list(request.page_size, request.page_token)
        return analysis_pb2.ListProbesResponse(probes=found, next_page_token=following)

    async def DeleteProbe(
        self, request: analysis_pb2.DeleteProbeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Row and file."""
        await self._probes.delete(request.name)
        return empty_pb2.Empty()

    async def FindRedundantNeurons(
        self, request: analysis_pb2.FindRedundantNeuronsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that groups neurons."""
        return await self._redundancy_jobs.start(request)

    async def AnalyzeActivations(
        self, request: analysis_pb2.AnalyzeActivationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that makes an analysis."""
        return await self._analysis_jobs.start(request)

    async def EvaluateRankings(
        self, request: analysis_pb2.EvaluateRankingsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that judges rankings."""
        return await self._evaluation_jobs.start(request)

    async def GetAnalysis(
        self, request: analysis_pb2.GetAnalysisRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.Analysis:
        """One analysis with the first rows of its tables."""
        return await self._analyses.get(request.name, request.rows)

    async def ListAnalyses(
        self, request: analysis_pb2.ListAnalysesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.ListAnalysesResponse:
        """A page of analyses, without their tables' rows."""
        found, following = await self._analyses.files.list(request.page_size, request.page_token)
        return analysis_pb2.ListAnalysesResponse(analyses=found, next_page_token=following)

    async def DeleteAnalysis(
        self, request: analysis_pb2.DeleteAnalysisRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Row and file."""
        await self._analyses.files.delete(request.name)
        return empty_pb2.Empty()

    async def ExportAnalysis(
        self, request: analysis_pb2.ExportAnalysisRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[activations_pb2.FileChunk]:
        """All rows."""
        async with aclosing(export_analysis(self._analyses, request, self._scratch)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def TopWords(
        self, request: analysis_pb2.TopWordsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.TopWordsResponse:
        """The words that drive neurons."""
        return await self._word_queries.top_words(request)

    async def CompareRankings(
        self, request: analysis_pb2.CompareRankingsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> analysis_pb2.RankingComparison:
        """How far rankings agree."""
        found = await agreement(request, self._rankings)
        return analysis_pb2.RankingComparison(
            rankings=request.rankings,
            top=found.top,
            overlap=tensor(found.overlap.astype(np.float32)),
            average_overlap=found.average_overlap,
            neuron_vote=found.neuron_vote,
        )
