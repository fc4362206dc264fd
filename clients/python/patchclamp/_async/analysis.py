"""What finds neurons: `client.analysis`."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from patchclamp._activation_sets import ActivationSet
from patchclamp._async.analyses import AsyncAnalyses
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.evaluation import AsyncEvaluationMethods
from patchclamp._async.interpretation import AsyncInterpretationMethods
from patchclamp._async.operations import AsyncOperation
from patchclamp._async.probes import AsyncProbes
from patchclamp._async.rankings import AsyncRankings
from patchclamp._generation import check_counts
from patchclamp._methods import Method, to_struct
from patchclamp._operations import result_reader
from patchclamp._progress import ProgressOption
from patchclamp._rankings import Ranking
from patchclamp._redundancy import Redundancy
from patchclamp._resources import listed, name_of, request_id_or_new
from patchclamp._status import status_errors
from patchclamp.v1 import analysis_pb2

__all__ = ["AsyncAnalysisClient"]


class AsyncAnalysisClient(AsyncEvaluationMethods, AsyncInterpretationMethods):
    """Analyses of activation sets: `client.analysis`.

    Wherever a set, a ranking or a probe is wanted, its name or the object is accepted. The work goes on in a process of
    its own on the server, whether or not anyone waits for it.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def methods(self, *, timeout: float | None = None) -> tuple[Method, ...]:
        """The methods, ordered by name; `Method.answer` says which of `rank` and `analyze` runs it.

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
        compare_with: Sequence[str | ActivationSet] = (),
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
            method: Name of a method that answers with a ranking, as `methods` lists it.
            label: The layer of labels: "upos"; may be left out where the set has one layer only, and for methods that
                need none.
            parameters: Hyper-parameters by name; those that are not given have their defaults.
            sites: Only the neurons of these sites; "layers.*.residual" stands for every layer. None: all of the set.
            top: How many neurons the ranking holds, overall and for each class. The server keeps all scores.
            compare_with: For a method that compares: the other sets, with rows of the same words. Each is compared by
                its own sites; `sites` are those of `activation_set`.
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
        check_counts(top=top)
        request = analysis_pb2.RankNeuronsRequest(
            activation_set=name_of(activation_set),
            label=label,
            method=method,
            parameters=to_struct(parameters),
            sites=listed("sites", sites),
            top=top,
            compare_with=map(name_of, listed("compare_with", compare_with)),
            ranking_id=id,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.RankNeurons(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Ranking), progress)

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
        if not 0 < threshold <= 1:  # 0 on the wire stands for the default
            raise ValueError(f"threshold is {threshold}; it is above 0 and at most 1")
        check_counts(seed=seed)
        request = analysis_pb2.FindRedundantNeuronsRequest(
            activation_set=name_of(activation_set),
            sites=listed("sites", sites),
            threshold=threshold,
            seed=seed,
            ranking=name_of(ranking),
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.FindRedundantNeurons(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Redundancy), progress)

    @cached_property
    def rankings(self) -> AsyncRankings:
        """The rankings that the server keeps."""
        return AsyncRankings(self._connection)

    @cached_property
    def probes(self) -> AsyncProbes:
        """The probes that the server keeps."""
        return AsyncProbes(self._connection)

    @cached_property
    def analyses(self) -> AsyncAnalyses:
        """The analyses that the server keeps."""
        return AsyncAnalyses(self._connection)
