"""FindRedundantNeurons: checked at once, then run in a worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2, common_pb2
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work as analysis_work
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
        await self._sites(request, await self._sets.get(request.activation_set, "activation_set"))
        reads = [request.activation_set, *filter(None, [request.ranking])]
        return await self._jobs.start(_METHOD, request, target="", reads=reads, request_id=request.request_id)

    async def _run(
        self, request: analysis_pb2.FindRedundantNeuronsRequest, context: JobContext
    ) -> analysis_pb2.Redundancy:
        stored = await self._sets.get(request.activation_set, "activation_set")
        sites = await self._sites(request, stored)
        rows = Rows(await self._sets.path(stored.name), "", sites, self._workers.memory_bytes // 2)
        ranking = await self._rankings.files.path(request.ranking, "ranking") if request.ranking else None
        method = CorrelationClusters(threshold=request.threshold or _THRESHOLD)
        found = await self._workers.run(
            analysis_work.find_redundant, rows, method, ranking, request.seed, context=context
        )
        independent = _neurons(found.independent)
        return analysis_pb2.Redundancy(
            activation_set=stored.name,
            clusters=[analysis_pb2.NeuronCluster(neurons=_neurons(cluster)) for cluster in found.clusters],
            independent=independent,
            neuron_count=found.neurons,
            redundant_share=1 - sum(len(each.indices) for each in independent) / found.neurons,
        )

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


def _neurons(by_site: Mapping[str, Sequence[int]]) -> list[common_pb2.Neurons]:
    return [common_pb2.Neurons(site=site, indices=indices) for site, indices in by_site.items()]
