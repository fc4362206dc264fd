"""RankNeurons: checked at once, then run in a worker process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.methods import ComparingMethod, RankingMethod

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work
from patchclamp_service.analyses.checks import built, chosen_layer, chosen_sites, label_count, method_named
from patchclamp_service.analyses.messages import shown_count
from patchclamp_service.analyses.rankings import COLLECTION, Rankings
from patchclamp_service.analyses.work import Rows
from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.store.resources import resource_id

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
        return await self._jobs.once(_METHOD, request, request.request_id, self._checked)

    async def _checked(self, request: analysis_pb2.RankNeuronsRequest) -> tuple[str, Sequence[str]]:
        """What will be made and read. Fills in what may be another default after a restart."""
        target = f"{COLLECTION}/{resource_id(request.ranking_id, 'ranking_id')}"
        stored = await self._sets.get(request.activation_set, "activation_set")
        _, request.label, sites = _chosen(request, stored)
        await self._others(request)
        shown_count(request.top, label_count(stored, request.label), sites)
        return target, (request.activation_set, *request.compare_with)

    async def _run(self, request: analysis_pb2.RankNeuronsRequest, context: JobContext) -> analysis_pb2.Ranking:
        name, operation, files = context.target, context.operation, self._rankings.files
        if await files.made_by(name, operation):  # an earlier attempt came to its end, and was not heard of
            return await self._rankings.get(name)
        stored = await self._sets.get(request.activation_set, "activation_set")
        count = await self._rank(request, stored, files.new_path(name, operation), context)
        return await self._rankings.keep(request, stored, name, operation, count)

    async def _rank(
        self,
        request: analysis_pb2.RankNeuronsRequest,
        stored: activations_pb2.ActivationSet,
        path: Path,
        context: JobContext,
    ) -> int:
        """Writes the ranking; returns how many rows it is based on."""
        method, layer, sites = _chosen(request, stored)
        rows = await self._rows(stored, layer, sites)
        if isinstance(method, RankingMethod):
            return await self._workers.run(work.rank, rows, method, path, context=context)
        others = await self._others(request)
        sets = {stored.name: rows} | {each.name: await self._rows(each, "", chosen_sites(each, ())) for each in others}
        return await self._workers.run(work.compare, sets, method, path, context=context)

    async def _rows(self, stored: activations_pb2.ActivationSet, layer: str, sites: tuple[str, ...]) -> Rows:
        return Rows(await self._sets.path(stored.name), layer, sites, self._workers.memory_bytes // 2)

    async def _others(self, request: analysis_pb2.RankNeuronsRequest) -> list[activations_pb2.ActivationSet]:
        """The sets to compare with, each once."""
        found = []
        for place, name in enumerate(request.compare_with):
            field = f"compare_with[{place}]"
            if name in (request.activation_set, *request.compare_with[:place]):
                raise InvalidRequest(f"{field}: {name!r} is given twice", reason="GIVEN_TWICE", field=field)
            found.append(await self._sets.get(name, field))
        return found


def _chosen(
    request: analysis_pb2.RankNeuronsRequest, stored: activations_pb2.ActivationSet
) -> tuple[RankingMethod | ComparingMethod, str, tuple[str, ...]]:
    """The method, the layer of labels and the sites that a request means."""
    kind = method_named(request.method)
    compares = issubclass(kind, ComparingMethod)
    if compares and not request.compare_with:
        text = f"compare_with: {request.method} compares models; name an activation set of another, of the same words"
        raise InvalidRequest(text, reason="SETS_NEEDED", field="compare_with")
    if request.compare_with and not compares:
        text = f"compare_with: {request.method} compares nothing; leave it out"
        raise InvalidRequest(text, reason="SETS_UNUSED", field="compare_with")
    layer = chosen_layer(stored, request.label, supervised=kind.supervised)
    return built(kind, request.parameters), layer, chosen_sites(stored, request.sites)
