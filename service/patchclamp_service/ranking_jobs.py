"""RankNeurons: checked at once, then run in a worker process."""

from __future__ import annotations

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.methods import RankingMethod

from patchclamp_service import analysis_work
from patchclamp_service.activation_sets import ActivationSets
from patchclamp_service.analysis_checks import built, chosen_layer, chosen_sites, label_count, method_named
from patchclamp_service.analysis_messages import shown_count
from patchclamp_service.analysis_work import Rows
from patchclamp_service.jobs import JobContext, Jobs
from patchclamp_service.rankings import COLLECTION, Rankings
from patchclamp_service.resources import resource_id
from patchclamp_service.workers import Workers

__all__ = ["RankingJobs"]

_METHOD = "RankNeurons"


class RankingJobs:
    """Starts and runs the operations that make rankings."""

    def __init__(self, sets: ActivationSets, rankings: Rankings, jobs: Jobs, workers: Workers) -> None:
        self._sets = sets
        self._rankings = rankings
        self._jobs = jobs
        self._workers = workers
        jobs.register(_METHOD, analysis_pb2.RankNeuronsRequest, self._run, rankings.files.discard)

    async def start(self, request: analysis_pb2.RankNeuronsRequest) -> operations_pb2.Operation:
        """Checks all that can be seen without the activations, then starts an operation."""
        target = f"{COLLECTION}/{resource_id(request.ranking_id, 'ranking_id')}"
        stored = await self._sets.get(request.activation_set, "activation_set")
        _, request.label, _ = _chosen(request, stored)
        shown_count(request.top, label_count(stored, request.label))
        return await self._jobs.start(
            _METHOD, request, target=target, reads=(request.activation_set,), request_id=request.request_id
        )

    async def _run(self, request: analysis_pb2.RankNeuronsRequest, context: JobContext) -> analysis_pb2.Ranking:
        name, operation, files = context.target, context.operation, self._rankings.files
        if not await files.made_by(name, operation):  # else an earlier attempt came to its end, and was not heard of
            stored = await self._sets.get(request.activation_set, "activation_set")
            method, layer, sites = _chosen(request, stored)
            path = await self._sets.path(stored.name)
            rows = Rows(path, layer, sites, self._workers.memory_bytes // 2)
            count = await self._workers.run(
                analysis_work.rank, rows, method, files.new_path(name, operation), context=context
            )
            await self._rankings.keep(request, stored, name, operation, count)
        await files.discard(name)
        return await self._rankings.get(name)


def _chosen(
    request: analysis_pb2.RankNeuronsRequest, stored: activations_pb2.ActivationSet
) -> tuple[RankingMethod, str, tuple[str, ...]]:
    """The method, the layer of labels and the sites that a request means."""
    kind = method_named(request.method)
    layer = chosen_layer(stored, request.label, supervised=kind.supervised)
    return built(kind, request.parameters), layer, chosen_sites(stored, request.sites)
