"""What neurons stand for: in activation sets, and in text that is read at once."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from patchclamp._activation_sets import ActivationSet
from patchclamp._activations import AggregationName
from patchclamp._analyses import Analysis
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.operations import AsyncOperation
from patchclamp._generation import check_counts
from patchclamp._intervention_lists import Interventions
from patchclamp._live_text import LiveTextLike, live_text, set_or_text
from patchclamp._methods import to_struct
from patchclamp._neurons import NeuronsLike, neuron_messages
from patchclamp._operations import result_reader
from patchclamp._progress import ProgressOption
from patchclamp._rankings import Ranking
from patchclamp._resources import listed, name_of, request_id_or_new
from patchclamp._status import status_errors
from patchclamp._top_words import NeuronWords
from patchclamp.v1 import analysis_pb2, analysis_pb2_grpc

__all__ = ["AsyncInterpretationMethods"]


class AsyncInterpretationMethods:
    """The part of `client.analysis` that says what neurons stand for."""

    _connection: AsyncConnection

    async def analyze(
        self,
        activation_set: str | ActivationSet | None = None,
        *,
        method: str,
        label: str = "",
        parameters: Mapping[str, object] | None = None,
        sites: Sequence[str] = (),
        neurons: NeuronsLike = (),
        ranking: str | Ranking = "",
        top: int = 0,
        compare_with: Sequence[str | ActivationSet] = (),
        text: LiveTextLike | None = None,
        model: str = "",
        aggregation: AggregationName | None = None,
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        id: str = "",
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[Analysis]:
        """Begins to run a method that answers with tables.

        >>> work = client.analysis.analyze("activationSets/dev", method="top_words", ranking="rankings/upos", top=5)
        ... # doctest: +SKIP
        >>> work.result().table("words").to_pandas()  # doctest: +SKIP

        Args:
            activation_set: The set that is looked at; either this or `text`.
            method: Name of a method that answers with tables, as `methods` lists it.
            label: The layer of labels: "upos". For methods that need none: only rows that have a label in it. May be
                left out where the set has one layer only, or the method needs none.
            parameters: Hyper-parameters by name; those that are not given have their defaults.
            sites: Only the neurons of these sites; "layers.*.residual" stands for every layer. Of sites, neurons and
                ranking one at most; none: all of the set.
            neurons: Only these: "layers.3.neurons[17,40]", or several, or those of a ranking: `ranking.top(10)`.
            ranking: Only the best neurons of this ranking, of the same model, `top` of them.
            top: With a ranking: how many of its neurons; 0: 10.
            compare_with: For a method that compares: the other sets, with rows of the same words.
            text: A text that the model reads at once, with `sites` or `neurons`; its activations are not kept. "The
                nurse said": a row a token; ["The", "nurse", "said"]: a row a word; or several sentences, as
                `client.extract` takes them.
            model: With a text: the model that reads it; empty: the server's default.
            aggregation: With a text of words: how subwords make a word, as in `client.extract`.
            interventions: With a text: edits, the same for every sentence; as in `client.generate`.
            intervention_sets: With a text: names of sets the server keeps, applied before `interventions`.
            id: Id of the new analysis, the part after "analyses/", as in `rank`.
            request_id: As in `rank`.
            progress: As in `rank`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `Analysis`, with the first rows of its tables.

        Raises:
            ValueError: A set and a text are given, or neither, or what is for a text without one.
            InvalidArgument: The method, a parameter, the layer or a neuron is unknown.
        """
        check_counts(top=top)
        request = analysis_pb2.AnalyzeActivationsRequest(
            activation_set=set_or_text(activation_set, text),
            text=live_text(text, model, aggregation, interventions, intervention_sets),
            compare_with=map(name_of, listed("compare_with", compare_with)),
            label=label,
            method=method,
            parameters=to_struct(parameters),
            sites=listed("sites", sites),
            neurons=neuron_messages(neurons),
            ranking=name_of(ranking),
            top=top,
            analysis_id=id,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.AnalyzeActivations(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(Analysis), progress)

    async def top_words(
        self,
        activation_set: str | ActivationSet | None = None,
        neurons: NeuronsLike = (),
        *,
        top: int = 20,
        threshold: float = 0.1,
        min_count: int = 1,
        text: LiveTextLike | None = None,
        model: str = "",
        aggregation: AggregationName | None = None,
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        timeout: float | None = None,
    ) -> tuple[NeuronWords, ...]:
        """The words that drive each of some neurons most, in their order.

        >>> client.analysis.top_words("activationSets/dev", "layers.3.neurons[17,40]")  # doctest: +SKIP
        >>> client.analysis.top_words(neurons=ranking.top(10), text="The nurse said")  # doctest: +SKIP

        Args:
            activation_set: A set with a row a word or a token; either this or `text`.
            neurons: "layers.3.neurons[17,40]", or several, or those of a ranking: `ranking.top(10)`. Up to 1000.
            top: How many words a neuron.
            threshold: Only words with a score above this, which is above 0 and up to 1.
            min_count: Leave out words that occur fewer times.
            text: A text that the model reads at once, as in `analyze`; nothing of it is kept.
            model: With a text: as in `analyze`.
            aggregation: With a text of words: as in `analyze`.
            interventions: With a text: as in `analyze`.
            intervention_sets: With a text: as in `analyze`.
            timeout: Seconds for the call; None: the client's.

        Raises:
            ValueError: No neurons are given, or a set and a text, or a number is out of its range.
        """
        if not 0 < threshold <= 1 or top < 1 or min_count < 1:  # 0 on the wire stands for the default
            raise ValueError("threshold must be above 0 and at most 1, top and min_count at least 1")
        wanted = neuron_messages(neurons)
        if not wanted:
            raise ValueError("give neurons, as 'layers.3.neurons[17,40]' or ranking.top(10)")
        request = analysis_pb2.TopWordsRequest(
            activation_set=set_or_text(activation_set, text),
            neurons=wanted,
            top=top,
            threshold=threshold,
            min_count=min_count,
            text=live_text(text, model, aggregation, interventions, intervention_sets),
        )
        with status_errors():
            response = await self._stub.TopWords(request, **self._connection.options(timeout))
        return tuple(map(NeuronWords.from_proto, response.neurons))

    @cached_property
    def _stub(self) -> analysis_pb2_grpc.AnalysisServiceAsyncStub:
        return analysis_pb2_grpc.AnalysisServiceStub(self._connection.channel)
