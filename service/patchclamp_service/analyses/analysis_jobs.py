"""AnalyzeActivations: checked at once, then run in a worker process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from google.longrunning import operations_pb2
from patchclamp.v1 import analysis_pb2

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work
from patchclamp_service.analyses.analyses import COLLECTION, Analyses
from patchclamp_service.analyses.checks import chosen_sites
from patchclamp_service.analyses.live_text import LiveTexts
from patchclamp_service.analyses.plans import AnalysisPlan, AnalysisPlans
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.analyses.work import Rows, Source
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.store.resources import resource_id

__all__ = ["AnalysisJobs"]

_METHOD = "AnalyzeActivations"

Request = analysis_pb2.AnalyzeActivationsRequest


class AnalysisJobs:
    """Starts and runs the operations that make analyses."""

    def __init__(
        self,
        sets: ActivationSets,
        rankings: Rankings,
        analyses: Analyses,
        texts: LiveTexts,
        jobs: Jobs,
        workers: Workers,
    ) -> None:
        self._sets = sets
        self._plans = AnalysisPlans(sets, rankings, texts)
        self._analyses = analyses
        self._texts = texts
        self._jobs = jobs
        self._workers = workers
        jobs.register(_METHOD, Request, self._run, analyses.files.discard)

    async def start(self, request: Request) -> operations_pb2.Operation:
        """Checks all that can be seen without the activations, then starts an operation."""
        return await self._jobs.once(_METHOD, request, request.request_id, self._checked)

    async def _checked(self, request: Request) -> tuple[str, Sequence[str]]:
        """What will be made and read. Fills in what may be another default after a restart."""
        target = f"{COLLECTION}/{resource_id(request.analysis_id, 'analysis_id')}"
        planned = await self._plans.of(request)
        request.label = planned.layer
        if planned.reading:
            request.text.model = planned.reading.model
        edits = (edit.set_to_mean.activation_set for edit in request.text.interventions if edit.HasField("set_to_mean"))
        return target, tuple(
            dict.fromkeys(filter(None, (*(each.name for each in planned.sets), request.ranking, *edits)))
        )

    async def _run(self, request: Request, context: JobContext) -> analysis_pb2.Analysis:
        name, operation, files = context.target, context.operation, self._analyses.files
        if await files.made_by(name, operation):  # an earlier attempt came to its end, and was not heard of
            return await self._analyses.get(name)
        planned = await self._plans.of(request)
        path = files.new_path(name, operation)
        async with self._sources(planned, context) as sources:
            count = await self._workers.run(
                work.analyze, sources, planned.choice, planned.method, path, context=context
            )
        return await self._analyses.keep(_message(name, request, planned, count), operation)

    @asynccontextmanager
    async def _sources(self, planned: AnalysisPlan, context: JobContext) -> AsyncGenerator[dict[str, Source]]:
        """The rows that the method reads, by name."""
        memory_bytes = self._workers.memory_bytes // 2
        if planned.reading:
            context.report("reading the text")
            async with self._texts.read(planned.reading, memory_bytes, patient=True) as rows:
                yield {"text": rows}
            return
        sources: dict[str, Source] = {}
        for number, stored in enumerate(planned.sets):
            sites = chosen_sites(stored, planned.choice.sites if number == 0 else ())
            sources[stored.name] = Rows(await self._sets.path(stored.name), planned.layer, sites, memory_bytes)
        yield sources


def _message(name: str, request: Request, planned: AnalysisPlan, rows: int) -> analysis_pb2.Analysis:
    """What the tables do not say."""
    message = analysis_pb2.Analysis(
        name=name,
        activation_sets=[each.name for each in planned.sets],
        activation_set_sha256s=[each.sha256 for each in planned.sets],
        rankings=filter(None, [request.ranking]),
        row_count=rows,
    )
    if planned.reading:
        message.model, message.model_digest = planned.reading.model, planned.reading.engine.info.digest
    else:
        message.model, message.model_digest = planned.sets[0].model, planned.sets[0].model_digest
    return message
