"""FindRedundantNeurons: checked at once, then run in a worker process."""

from __future__ import annotations

from collections.abc import Sequence

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work
from patchclamp_service.analyses.checks import check_same_model, check_sites, chosen_sites
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.analyses.work import Rows
from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.jobs.workers import Workers

__all__ = ["RedundancyJobs"]

_METHOD = "FindRedundantNeurons"
_THRESHOLD = 0.3


class RedundancyJobs:
    """Starts and runs the operations that group neurons."""

    def __init__(self, sets: ActivationSets, rankings: Rankings, jobs: Jobs, workers: Workers) -> None:
        self._sets = sets
        self._rankings = rankings
        self._jobs = jobs
        self._workers = workers
        jobs.register(_METHOD, analysis_pb2.FindRedundantNeuronsRequest, self._run)

    async def start(self, request: analysis_pb2.FindRedundantNeuronsRequest) -> operations_pb2.Operation:
        """Checks all that can be seen without the activations, then starts an operation."""
        return await self._jobs.once(_METHOD, request, request.request_id, self._checked)

    async def _checked(self, request: analysis_pb2.FindRedundantNeuronsRequest) -> tuple[str, Sequence[str]]:
        """What will be read."""
        await self._sites(request, await self._sets.get(request.activation_set, "activation_set"))
        return "", [request.activation_set, *filter(None, [request.ranking])]

    async def _run(
        self, request: analysis_pb2.FindRedundantNeuronsRequest, context: JobContext
    ) -> analysis_pb2.Redundancy:
        stored = await self._sets.get(request.activation_set, "activation_set")
        sites = await self._sites(request, stored)
        rows = Rows(await self._sets.path(stored.name), "", sites, self._workers.memory_bytes // 2)
        ranking = await self._rankings.files.path(request.ranking, "ranking") if request.ranking else None
        method = CorrelationClusters(threshold=request.threshold or _THRESHOLD)
        message = await self._workers.run(work.find_redundant, rows, method, ranking, request.seed, context=context)
        message.activation_set = stored.name
        return message

    async def _sites(
        self, request: analysis_pb2.FindRedundantNeuronsRequest, stored: activations_pb2.ActivationSet
    ) -> tuple[str, ...]:
        """The sites asked for, or those of the ranking."""
        if not request.ranking:
            return chosen_sites(stored, request.sites)
        if request.sites:
            text = "sites: a ranking says which neurons are looked at; leave one of the two out"
            raise InvalidRequest(text, reason="TWO_CHOICES", field="sites")
        ranking = await self._rankings.files.get(request.ranking, "ranking")
        check_same_model(stored, ranking.name, ranking.model_digest, "ranking")
        sites = tuple(site.site for site in ranking.distribution)
        check_sites(stored, sites, ranking.name)
        return sites
