"""How good neurons are: probes of them, and rankings judged by probes."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from patchclamp._activation_sets import ActivationSet
from patchclamp._analyses import Analysis
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.operations import AsyncOperation
from patchclamp._generation import check_counts
from patchclamp._methods import to_struct
from patchclamp._operations import result_reader
from patchclamp._probes import Probe, ProbeEvaluation
from patchclamp._progress import ProgressOption
from patchclamp._rankings import Ranking
from patchclamp._resources import listed, name_of, request_id_or_new
from patchclamp._status import status_errors
from patchclamp.v1 import analysis_pb2, analysis_pb2_grpc

__all__ = ["AsyncEvaluationMethods"]


class AsyncEvaluationMethods:
    """The part of `client.analysis` that trains probes, and judges them and rankings."""

    _connection: AsyncConnection

    async def train_probe(
        self,
        activation_set: str | ActivationSet,
        *,
        label: str = "",
        parameters: Mapping[str, object] | None = None,
        sites: Sequence[str] = (),
        ranking: str | Ranking = "",
        top: int = 0,
        id: str = "",
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[Probe]:
        """Begins to train a linear probe on an activation set.

        Args:
            activation_set: The set.
            label: The layer of labels; may be left out where the set has one layer only.
            parameters: Hyper-parameters of "linear_probe", as `methods` lists them.
            sites: Only the neurons of these sites; none: all of the set.
            ranking: Only the best neurons of this ranking, `top` of them; not together with `sites`.
            top: With a ranking: how many of its neurons.
            id: Id of the new probe, as in `rank`.
            request_id: As in `rank`.
            progress: As in `rank`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `Probe`.
        """
        check_counts(top=top)
        request = analysis_pb2.TrainProbeRequest(
            activation_set=name_of(activation_set),
            label=label,
            parameters=to_struct(parameters),
            sites=listed("sites", sites),
            ranking=name_of(ranking),
            top=top,
            probe_id=id,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.TrainProbe(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Probe), progress)

    async def evaluate_probe(
        self,
        probe: str | Probe,
        activation_set: str | ActivationSet,
        *,
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[ProbeEvaluation]:
        """Begins to judge a probe, best on other sentences than those it was trained on.

        Args:
            probe: The probe.
            activation_set: A set of the same model, with the probe's sites and layer of labels.
            request_id: As in `rank`.
            progress: As in `rank`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `ProbeEvaluation`.
        """
        request = analysis_pb2.EvaluateProbeRequest(
            probe=name_of(probe),
            activation_set=name_of(activation_set),
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.EvaluateProbe(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(ProbeEvaluation), progress)

    async def evaluate(
        self,
        rankings: str | Ranking | Sequence[str | Ranking],
        *,
        activation_set: str | ActivationSet | None = None,
        test_set: str | ActivationSet | None = None,
        parameters: Mapping[str, object] | None = None,
        id: str = "",
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[Analysis]:
        """Begins to judge rankings by probes of their top, random and bottom neurons.

        >>> work = client.analysis.evaluate([ranking, "rankings/other"], test_set="activationSets/test")
        ... # doctest: +SKIP
        >>> work.result().table("summary").to_pandas()  # doctest: +SKIP

        Args:
            rankings: The rankings, of the same neurons and label, each once; up to 32.
            activation_set: The set to train the probes on; None: that of the first ranking.
            test_set: The set to judge by, of other sentences. None: a fifth of the sentences of the set above, which
                the probes do not see; the rankings may have, so give a set of its own for figures to publish.
            parameters: "counts" (numbers of neurons, below 1 a part of all), "seeds", "control", "information",
                "code_length", "l1", "l2", "epochs"; those that are not given have their defaults.
            id: Id of the new analysis, the part after "analyses/", as in `rank`.
            request_id: As in `rank`.
            progress: As in `rank`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `Analysis`, whose table "scores" has a row for each seed.

        Raises:
            InvalidArgument: A parameter is wrong, or none of the rankings was made with labels.
            FailedPrecondition: They are of different neurons or labels.
        """
        given = [rankings] if isinstance(rankings, str | Ranking) else rankings
        request = analysis_pb2.EvaluateRankingsRequest(
            rankings=map(name_of, given),
            activation_set="" if activation_set is None else name_of(activation_set),
            test_set="" if test_set is None else name_of(test_set),
            parameters=to_struct(parameters),
            analysis_id=id,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.EvaluateRankings(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Analysis), progress)

    @cached_property
    def _stub(self) -> analysis_pb2_grpc.AnalysisServiceAsyncStub:
        return analysis_pb2_grpc.AnalysisServiceStub(self._connection.channel)
