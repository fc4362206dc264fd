"""Rankings of neurons and probes, made on the server."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from google.protobuf.struct_pb2 import Struct

from patchclamp._activation_sets import ActivationSet
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.operations import AsyncOperation
from patchclamp._async.probes import AsyncProbes
from patchclamp._async.rankings import AsyncRankings
from patchclamp._methods import Method
from patchclamp._neurons import Neurons, ScoredNeuron
from patchclamp._operations import result_reader
from patchclamp._probes import Probe, ProbeEvaluation
from patchclamp._progress import ProgressOption
from patchclamp._rankings import Ranking
from patchclamp._redundancy import Redundancy
from patchclamp._resources import name_of, request_id_or_new
from patchclamp._status import status_errors
from patchclamp._top_words import NeuronWords
from patchclamp.v1 import analysis_pb2, analysis_pb2_grpc

__all__ = ["AsyncAnalysis"]


class AsyncAnalysis:
    """Analyses of activation sets: `client.analysis`.

    Wherever a set, a ranking or a probe is wanted, its name or the object is accepted. The work goes on in a process of
    its own on the server, whether or not anyone waits for it.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def methods(self, *, timeout: float | None = None) -> tuple[Method, ...]:
        """The methods that rank neurons, ordered by name.

        Args:
            timeout: Seconds for the call; None: the client's.
        """
        with status_errors():
            response = await self._stub.ListMethods(
                analysis_pb2.ListMethodsRequest(), **self._connection.options(timeout)
            )
        return tuple(map(Method.from_proto, response.methods))

    async def rank(
        self,
        activation_set: str | ActivationSet,
        *,
        method: str,
        label: str = "",
        parameters: Mapping[str, object] | None = None,
        sites: Sequence[str] = (),
        top: int = 100,
        id: str = "",
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[Ranking]:
        """Begins to rank the neurons of an activation set.

        >>> work = client.analysis.rank("activationSets/dev", method="probeless", label="upos")  # doctest: +SKIP
        >>> client.generate("The nurse", interventions=ablate(work.result().top(10)))  # doctest: +SKIP

        Args:
            activation_set: The set.
            method: Name of the method, as `methods` lists it.
            label: The layer of labels: "upos"; may be left out where the set has one layer only, and for methods that
                need none.
            parameters: Hyper-parameters by name; those that are not given have their defaults.
            sites: Only the neurons of these sites; "layers.*.residual" stands for every layer. None: all of the set.
            top: How many neurons the ranking holds, overall and for each class. The server keeps all scores.
            id: Id of the new ranking, the part after "rankings/": lowercase letters, digits, '.', '_' and '-', up to
                63; empty: the server makes one.
            request_id: Any string of your own, so that a second call with it and the same arguments gives the operation
                that the first began. None: one for this call, so that it can be tried again.
            progress: What waiting for the operation shows. True: a bar on standard error, if that is a terminal; or a
                function that gets a `Progress`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `Ranking`.
        """
        if isinstance(sites, str):
            raise TypeError(f"sites is the string {sites!r}; give a list: [{sites!r}]")
        request = analysis_pb2.RankNeuronsRequest(
            activation_set=name_of(activation_set),
            label=label,
            method=method,
            parameters=_struct(parameters),
            sites=sites,
            top=top,
            ranking_id=id,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.RankNeurons(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Ranking), progress)

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
        if isinstance(sites, str):
            raise TypeError(f"sites is the string {sites!r}; give a list: [{sites!r}]")
        request = analysis_pb2.TrainProbeRequest(
            activation_set=name_of(activation_set),
            label=label,
            parameters=_struct(parameters),
            sites=sites,
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

    async def find_redundant(
        self,
        activation_set: str | ActivationSet,
        *,
        sites: Sequence[str] = (),
        threshold: float = 0.3,
        seed: int = 0,
        ranking: str | Ranking = "",
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[Redundancy]:
        """Begins to group neurons that say the same, by their correlation over the rows of a set.

        Args:
            activation_set: The set.
            sites: Only the neurons of these sites; none: all of the set.
            threshold: Groups join while their average distance 1 − |correlation| is not above it; above 0 and up to 1.
            seed: Seed of the choice of one neuron a group.
            ranking: Look at the neurons of this ranking and keep its best of each group; not together with `sites`.
            request_id: As in `rank`.
            progress: As in `rank`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `Redundancy`, which the operation keeps.
        """
        if isinstance(sites, str):
            raise TypeError(f"sites is the string {sites!r}; give a list: [{sites!r}]")
        if not 0 < threshold <= 1:  # 0 on the wire stands for the default
            raise ValueError(f"threshold is {threshold}; it is above 0 and at most 1")
        request = analysis_pb2.FindRedundantNeuronsRequest(
            activation_set=name_of(activation_set),
            sites=sites,
            threshold=threshold,
            seed=seed,
            ranking=name_of(ranking),
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.FindRedundantNeurons(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Redundancy), progress)

    async def top_words(
        self,
        activation_set: str | ActivationSet,
        neurons: str | Neurons | Sequence[str | Neurons | ScoredNeuron],
        *,
        top: int = 20,
        threshold: float = 0.1,
        min_count: int = 1,
        timeout: float | None = None,
    ) -> tuple[NeuronWords, ...]:
        """The words that drive each of some neurons most, in their order.

        Args:
            activation_set: A set with a row a word.
            neurons: "layers.3.neurons[17,40]", or several, or those of a ranking: `ranking.top(10)`. Up to 1000.
            top: How many words a neuron.
            threshold: Only words with a score above this, which is above 0 and up to 1.
            min_count: Leave out words that occur fewer times.
            timeout: Seconds for the call; None: the client's.
        """
        if not 0 < threshold <= 1 or top < 1 or min_count < 1:  # 0 on the wire stands for the default
            raise ValueError("threshold must be above 0 and at most 1, top and min_count at least 1")
        given = [neurons] if isinstance(neurons, str | Neurons) else neurons
        request = analysis_pb2.TopWordsRequest(
            activation_set=name_of(activation_set),
            neurons=[Neurons.of(each).to_proto() for each in given],
            top=top,
            threshold=threshold,
            min_count=min_count,
        )
        with status_errors():
            response = await self._stub.TopWords(request, **self._connection.options(timeout))
        return tuple(map(NeuronWords.from_proto, response.neurons))

    @cached_property
    def rankings(self) -> AsyncRankings:
        """The rankings that the server keeps."""
        return AsyncRankings(self._connection)

    @cached_property
    def probes(self) -> AsyncProbes:
        """The probes that the server keeps."""
        return AsyncProbes(self._connection)

    @cached_property
    def _stub(self) -> analysis_pb2_grpc.AnalysisServiceAsyncStub:
        return analysis_pb2_grpc.AnalysisServiceStub(self._connection.channel)


def _struct(values: Mapping[str, object] | None) -> Struct:
    message = Struct()
    for name, value in (values or {}).items():
        try:
            message.update({name: list(value) if isinstance(value, tuple) else value})  # type: ignore[dict-item]
        except (ValueError, TypeError):
            text = f"parameters[{name!r}] is a {type(value).__name__}; it takes a number, a string, a bool or a list"
            raise TypeError(text) from None
    return message
