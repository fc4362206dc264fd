"""EvaluateRankings: checked at once, then run in a worker process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.evaluation import Evaluation
from patchclamp_analysis.evaluation.selections import neuron_counts

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.analyses import work
from patchclamp_service.analyses.analyses import COLLECTION, Analyses
from patchclamp_service.analyses.checks import built, check_same_model, check_sites, chosen_layer
from patchclamp_service.analyses.ranking_comparison import same_neurons
from patchclamp_service.analyses.rankings import Rankings
from patchclamp_service.analyses.work import Rows
from patchclamp_service.engine.errors import InvalidRequest, Unsupported
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.store.resources import resource_id

__all__ = ["EvaluationJobs"]

_METHOD = "EvaluateRankings"


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a request means: the rankings, their sites and labels, and the sets to train on and to judge by."""

    rankings: tuple[analysis_pb2.Ranking, ...]
    sites: tuple[str, ...]
    label: str
    train: activations_pb2.ActivationSet
    test: activations_pb2.ActivationSet | None
    how: Evaluation

    @property
    def sets(self) -> list[activations_pb2.ActivationSet]:
        return [self.train, self.test] if self.test else [self.train]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the rankings may have known beforehand."""
        if self.test is None:
            return ("no test_set: the rankings may have seen the rows that they are judged by",)
        seen = [each.name for each in self.rankings if each.activation_set_sha256 == self.test.sha256]
        return tuple(f"{name} is made of the rows that it is judged by" for name in seen)


class EvaluationJobs:
    """Starts and runs the operations that judge rankings."""

    def __init__(
        self, sets: ActivationSets, rankings: Rankings, analyses: Analyses, jobs: Jobs, workers: Workers
    ) -> None:
        self._sets = sets
        self._rankings = rankings
        self._analyses = analyses
        self._jobs = jobs
        self._workers = workers
        jobs.register(_METHOD, analysis_pb2.EvaluateRankingsRequest, self._run, analyses.files.discard)

    async def start(self, request: analysis_pb2.EvaluateRankingsRequest) -> operations_pb2.Operation:
        """Checks all that can be seen without the activations, then starts an operation."""
        return await self._jobs.once(_METHOD, request, request.request_id, self._checked)

    async def _checked(self, request: analysis_pb2.EvaluateRankingsRequest) -> tuple[str, Sequence[str]]:
        """What will be made and read. Fills in what may be another default after a restart."""
        target = f"{COLLECTION}/{resource_id(request.analysis_id, 'analysis_id')}"
        judged = await self._judged(request)
        request.activation_set = judged.train.name
        return target, [*request.rankings, *(each.name for each in judged.sets)]

    async def _run(self, request: analysis_pb2.EvaluateRankingsRequest, context: JobContext) -> analysis_pb2.Analysis:
        name, operation, files = context.target, context.operation, self._analyses.files
        if await files.made_by(name, operation):  # an earlier attempt came to its end, and was not heard of
            return await self._analyses.get(name)
        judged = await self._judged(request)
        rows = [await self._rows(judged, stored) for stored in judged.sets]
        paths = {each: await self._rankings.files.path(each, "rankings") for each in request.rankings}
        count = await self._workers.run(
            work.evaluate,
            judged.how,
            {each.partition("/")[2]: path for each, path in paths.items()},
            rows[0],
            rows[1] if judged.test else None,
            judged.notes,
            files.new_path(name, operation),
            context=context,
        )
        return await self._analyses.keep(_analysis(name, judged, count), operation)

    async def _rows(self, judged: _Judged, stored: activations_pb2.ActivationSet) -> Rows:
        # What is trained on, what is judged by and what training takes are in memory at once.
        return Rows(await self._sets.path(stored.name), judged.label, judged.sites, self._workers.memory_bytes // 4)

    async def _judged(self, request: analysis_pb2.EvaluateRankingsRequest) -> _Judged:
        """The rankings and the sets, if they fit."""
        how = built(Evaluation, request.parameters)
        async with aclosing(same_neurons(request.rankings, self._rankings)) as opened:
            found = [(message, ranking.neurons) async for message, ranking in opened]
        rankings, neurons = tuple(message for message, _ in found), found[0][1]
        _check_counts(how, len(neurons))
        label, sites = _label(rankings), tuple(site.name for site in neurons.sites)
        train = await self._sets.get(request.activation_set or rankings[0].activation_set, "activation_set")
        test = await self._sets.get(request.test_set, "test_set") if request.test_set else None
        judged = _Judged(rankings, sites, label, train, test, how)
        for stored, field in zip(judged.sets, ("activation_set", "test_set"), strict=False):
            check_same_model(stored, rankings[0].name, rankings[0].model_digest, field)
            check_sites(stored, sites, rankings[0].name, field)
            chosen_layer(stored, label, supervised=True, field=field)
        if test and test.name == train.name:
            text = f"test_set: {test.name} is what the probes are trained on; give another one, or none"
            raise InvalidRequest(text, reason="GIVEN_TWICE", field="test_set")
        return judged


def _label(rankings: tuple[analysis_pb2.Ranking, ...]) -> str:
    """The layer of labels that the rankings are about; those made without labels are about any."""
    labelled = [(place, each) for place, each in enumerate(rankings) if each.label]
    if not labelled:
        text = "rankings: none is made with labels; give one beside them whose layer they are judged by"
        raise InvalidRequest(text, reason="LAYER_NEEDED", field="rankings")
    _, first = labelled[0]
    for place, each in labelled:
        if each.label != first.label:
            field = f"rankings[{place}]"
            text = f"{field}: {each.name} is about the labels {each.label!r}, and {first.name} about {first.label!r}"
            raise Unsupported(text, reason="OTHER_LABELS", field=field)
    return first.label


def _check_counts(how: Evaluation, neurons: int) -> None:
    try:
        neuron_counts(how.counts, neurons)
    except BadData as error:
        field = f"parameters.{error.where}"
        raise InvalidRequest(f"{field}: {error.message}", reason="INVALID_PARAMETER", field=field) from error


def _analysis(name: str, judged: _Judged, count: int) -> analysis_pb2.Analysis:
    return analysis_pb2.Analysis(
        name=name,
        activation_sets=[each.name for each in judged.sets],
        activation_set_sha256s=[each.sha256 for each in judged.sets],
        rankings=[each.name for each in judged.rankings],
        model=judged.train.model,
        model_digest=judged.train.model_digest,
        row_count=count,
    )
