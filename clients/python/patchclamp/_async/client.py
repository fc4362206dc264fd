"""The client."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

from patchclamp._activations import AggregationName, aggregation_value
from patchclamp._async.activation_sets import AsyncActivationSets
from patchclamp._async.analysis import AsyncAnalysisClient
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.corpora import AsyncCorpora
from patchclamp._async.inference import AsyncInferenceMethods
from patchclamp._async.operations import AsyncOperations
from patchclamp._async.streams import AsyncExtraction
from patchclamp._channels import TLS
from patchclamp._intervention_lists import Interventions, flatten
from patchclamp._models import Model
from patchclamp._sentences import SentenceLike, to_sentences
from patchclamp._status import status_errors
from patchclamp._tensors import DTypeName, dtype_value
from patchclamp.v1 import activations_pb2, activations_pb2_grpc, models_pb2, models_pb2_grpc

__all__ = ["DEFAULT_TARGET", "DEFAULT_TIMEOUT", "AsyncClient"]

DEFAULT_TARGET = "localhost:8470"
DEFAULT_TIMEOUT = 300.0


class AsyncClient(AsyncInferenceMethods):
    """A connection to a patchclamp server; connects on first use.

    >>> async with AsyncClient("localhost:8470") as client:
    ...     async for token in client.generate("The nurse said that", interventions=[ablate("layers.10.neurons[17]")]):
    ...         print(token.text, end="")

    Every method raises a `StatusError` when the server refuses or fails; what is wrong with the arguments themselves
    raises `ValueError` before anything is sent.

    Args:
        target: "host:port", or any other name gRPC resolves ("unix:/run/patchclamp.sock").
        timeout: Seconds after which a call fails with `DeadlineExceeded`; `math.inf`: never. Each method takes its
            own as well.
        tls: True for the system's root certificates, or credentials from `grpc.ssl_channel_credentials`.
        keepalive: Seconds between pings while a call is running; None: no pings.
        retries: Further tries, 0 to 4, with growing pauses, of calls that find no server (UNAVAILABLE) before their
            first message.
        metadata: Headers to send with every call, such as {"authorization": "Bearer …"}.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        tls: TLS = False,
        keepalive: float | None = 60.0,
        retries: int = 4,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> None:
        self._connection = AsyncConnection(target, timeout, tls, keepalive, retries, metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._connection.close()

    def extract(
        self,
        sentences: Iterable[SentenceLike],
        sites: Sequence[str],
        *,
        targets: Iterable[str | Sequence[str]] | None = None,
        model: str = "",
        aggregation: AggregationName | None = None,
        dtype: DTypeName = "float32",
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        include_special_tokens: bool = False,
        timeout: float | None = None,
    ) -> AsyncExtraction:
        """Activations of sentences, in their order; streams.

        Args:
            sentences: All of them running text, all lists of words, or all `Pair`s.
            sites: What to read; "layers.*.residual" stands for every layer.
            targets: What the decoder of an encoder-decoder reads, one a sentence: text, or words where the sentences
                are words. Needed for sites of the decoder.
            model: "models/minilm-l6"; empty: the server's default.
            aggregation: From subwords to words: "average", "first" or "last", for words; "none": a row a subword;
                "sentence_first" ([CLS]), "sentence_last", "sentence_average", "sentence_max": a row a sentence.
                None: "average" for words, "none" for text.
            dtype: Element type on the wire; "bfloat16" arrives widened to float32.
            interventions: Edits, the same for every sentence; as in `generate`.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            include_special_tokens: With aggregation "none": rows of special tokens ([CLS], begin of text) too.
            timeout: Seconds for the whole extraction; None: the client's.

        Returns:
            The stream: iterate over it for `SentenceActivations`; afterwards its `applied` is the receipt.
        """
        if isinstance(sites, str):
            raise TypeError(f"sites is the string {sites!r}; give a list: [{sites!r}]")
        request = activations_pb2.ExtractActivationsRequest(
            model=model,
            sentences=to_sentences(sentences, targets),
            sites=sites,
            aggregation=aggregation_value(aggregation),
            dtype=dtype_value(dtype),
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
            include_special_tokens=include_special_tokens,
        )
        call = self._activations.ExtractActivations(request, **self._connection.options(timeout))
        return AsyncExtraction(call, len(request.sentences))

    async def models(self, *, timeout: float | None = None) -> list[Model]:
        """The models of the server, ordered by name, without their sites and modules.

        Args:
            timeout: Seconds for each page of them; None: the client's.
        """
        models: list[Model] = []
        request = models_pb2.ListModelsRequest()
        while True:
            with status_errors():
                response = await self._models.ListModels(request, **self._connection.options(timeout))
            models += map(Model.from_proto, response.models)
            if not response.next_page_token:
                return models
            request.page_token = response.next_page_token

    async def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        """One model, with its sites, modules and limits.

        Args:
            name: "models/smollm2-135m"; empty: the server's default.
            timeout: Seconds for the call; None: the client's.
        """
        request = models_pb2.GetModelRequest(name=name)
        with status_errors():
            return Model.from_proto(await self._models.GetModel(request, **self._connection.options(timeout)))

    @cached_property
    def corpora(self) -> AsyncCorpora:
        """Annotated text that the server keeps."""
        return AsyncCorpora(self._connection)

    @cached_property
    def activation_sets(self) -> AsyncActivationSets:
        """Files of activations that the server keeps."""
        return AsyncActivationSets(self._connection)

    @cached_property
    def analysis(self) -> AsyncAnalysisClient:
        """Rankings of neurons, probes, and what neurons stand for."""
        return AsyncAnalysisClient(self._connection)

    @cached_property
    def operations(self) -> AsyncOperations:
        """Long-running work on the server."""
        return AsyncOperations(self._connection)

    @cached_property
    def _models(self) -> models_pb2_grpc.ModelServiceAsyncStub:
        return models_pb2_grpc.ModelServiceStub(self._connection.channel)

    @cached_property
    def _activations(self) -> activations_pb2_grpc.ActivationServiceAsyncStub:
        return activations_pb2_grpc.ActivationServiceStub(self._connection.channel)
