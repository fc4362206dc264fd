"""TrainProbe and EvaluateProbe: checked at once, then run in a worker process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.methods.linear_probe import LinearProbe

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work
from patchclamp_service.analyses.checks import built, check_same_model, check_sites, chosen_layer, chosen_sites
from patchclamp_service.analyses.messages import struct_of
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.analyses.work import Judged, Rows, Trained
from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.store.resources import resource_id
from patchclamp_service.store.result_files import ResultFiles

__all__ = ["COLLECTION", "ProbeJobs"]

COLLECTION = "probes"

_TRAIN, _EVALUATE = "TrainProbe", "EvaluateProbe"


class ProbeJobs:
    """Starts and runs the operations that make probes, and those that judge them."""

    def __init__(
        self,
        sets: ActivationSets,
        rankings: Rankings,
        probes: ResultFiles[analysis_pb2.Probe],
        jobs: Jobs,
        workers: Workers,
    ) -> None:
        self._sets = sets
        self._rankings = rankings
        self._probes = probes
        self._jobs = jobs
        self._workers = workers
        jobs.register(_TRAIN, analysis_pb2.TrainProbeRequest, self._train, probes.discard)
        jobs.register(_EVALUATE, analysis_pb2.EvaluateProbeRequest, self._evaluate)

    async def train(self, request: analysis_pb2.TrainProbeRequest) -> operations_pb2.Operation:
        """Checks all that can be seen without the activations, then starts an operation."""
        return await self._jobs.once(_TRAIN, request, request.request_id, self._trainable)

    async def _trainable(self, request: analysis_pb2.TrainProbeRequest) -> tuple[str, Sequence[str]]:
        """What will be made and read. Fills in what may be another default after a restart."""
        target = f"{COLLECTION}/{resource_id(request.probe_id, 'probe_id')}"
        stored = await self._sets.get(request.activation_set, "activation_set")
        built(LinearProbe, request.parameters)
        request.label = chosen_layer(stored, request.label, supervised=True)
        await self._sites(request, stored)
        return target, [request.activation_set, *filter(None, [request.ranking])]

    async def evaluate(self, request: analysis_pb2.EvaluateProbeRequest) -> operations_pb2.Operation:
        """Checks that set and probe fit, then starts an operation."""
        return await self._jobs.once(_EVALUATE, request, request.request_id, self._judgeable)

    async def _judgeable(self, request: analysis_pb2.EvaluateProbeRequest) -> tuple[str, Sequence[str]]:
        """What will be read."""
        await self._judged(request)
        return "", (request.activation_set, request.probe)

    async def _train(self, request: analysis_pb2.TrainProbeRequest, context: JobContext) -> analysis_pb2.Probe:
        name, operation = context.target, context.operation
        if await self._probes.made_by(name, operation):  # an earlier attempt came to its end, and was not heard of
            return await self._probes.get(name)
        stored = await self._sets.get(request.activation_set, "activation_set")
        method = built(LinearProbe, request.parameters)
        rows = await self._rows(stored, request.label, await self._sites(request, stored))
        ranking = await self._rankings.files.path(request.ranking, "ranking") if request.ranking else None
        path = self._probes.new_path(name, operation)
        trained = await self._workers.run(work.train_probe, rows, method, ranking, request.top, path, context=context)
        probe = _probe(name, request.label, method, stored, trained)
        await self._probes.keep(probe, operation)
        return probe

    async def _evaluate(
        self, request: analysis_pb2.EvaluateProbeRequest, context: JobContext
    ) -> analysis_pb2.ProbeEvaluation:
        stored, probe = await self._judged(request)
        rows = await self._rows(stored, probe.label, tuple(site.site for site in probe.sites))
        path: Path = await self._probes.path(probe.name, "probe")
        judged = await self._workers.run(work.evaluate_probe, rows, path, context=context)
        return _evaluation(request, judged)

    async def _rows(self, stored: activations_pb2.ActivationSet, layer: str, sites: tuple[str, ...]) -> Rows:
        return Rows(await self._sets.path(stored.name), layer, sites, self._workers.memory_bytes // 2)

    async def _sites(
        self, request: analysis_pb2.TrainProbeRequest, stored: activations_pb2.ActivationSet
    ) -> tuple[str, ...]:
        """The sites that the probe is trained on: those asked for, or those of the ranking."""
        if not request.ranking:
            if request.top:
                raise InvalidRequest("top: of which ranking? give `ranking` too", reason="NO_RANKING", field="top")
            return chosen_sites(stored, request.sites)
        if request.sites:
            text = "sites: a ranking says which neurons are read; leave one of the two out"
            raise InvalidRequest(text, reason="TWO_CHOICES", field="sites")
        ranking = await self._rankings.files.get(request.ranking, "ranking")
        check_same_model(stored, ranking.name, ranking.model_digest, "ranking")
        if not 1 <= request.top <= ranking.neuron_count:
            text = f"top: {request.top} is out of range: 1 to {ranking.neuron_count}, the neurons of {ranking.name}"
            raise InvalidRequest(text, reason="OUT_OF_RANGE", field="top")
        sites = tuple(site.site for site in ranking.distribution)
        check_sites(stored, sites, ranking.name)
        return sites

    async def _judged(
        self, request: analysis_pb2.EvaluateProbeRequest
    ) -> tuple[activations_pb2.ActivationSet, analysis_pb2.Probe]:
        """The set and the probe, if they fit."""
        probe = await self._probes.get(request.probe, "probe")
        stored = await self._sets.get(request.activation_set, "activation_set")
        check_same_model(stored, probe.name, probe.model_digest, "probe")
        check_sites(stored, tuple(site.site for site in probe.sites), probe.name)
        chosen_layer(stored, probe.label, supervised=True, field="activation_set")
        return stored, probe


def _probe(
    name: str, label: str, method: LinearProbe, stored: activations_pb2.ActivationSet, trained: Trained
) -> analysis_pb2.Probe:
    message = analysis_pb2.Probe(
        name=name,
        label=label,
        classes=trained.classes,
        neuron_count=sum(trained.sites.values()),
        parameters=struct_of(asdict(method)),
        activation_set=stored.name,
        activation_set_sha256=stored.sha256,
        row_count=trained.rows,
        development_accuracy=trained.development_accuracy,
        model_digest=stored.model_digest,
        notes=trained.notes,
        sites=[analysis_pb2.SiteCount(site=site, count=count) for site, count in trained.sites.items()],
    )
    message.create_time.FromDatetime(datetime.now(UTC))
    return message


def _evaluation(request: analysis_pb2.EvaluateProbeRequest, judged: Judged) -> analysis_pb2.ProbeEvaluation:
    classes = [
        analysis_pb2.ClassEvaluation(
            label=each.label, precision=each.precision, recall=each.recall, f1=each.f1, count=each.rows
        )
        for each in judged.classes
    ]
    return analysis_pb2.ProbeEvaluation(
        probe=request.probe,
        activation_set=request.activation_set,
        accuracy=judged.accuracy,
        majority=judged.majority,
        macro_f1=fmean(each.f1 for each in judged.classes),
        row_count=judged.rows,
        classes=classes,
    )
