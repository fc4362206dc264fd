"""The client."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

from patchclamp._activations import AggregationName, aggregation_value, to_sentence
from patchclamp._async.streams import AsyncExtraction, AsyncGenerationStream
from patchclamp._channels import TLS, AsyncChannel, CallOptions, check_options, open_async_channel
from patchclamp._generation import check_counts, prompt_input
from patchclamp._intervention_lists import Interventions, flatten
from patchclamp._models import Model
from patchclamp._scores import Scores
from patchclamp._status import status_errors
from patchclamp._tensors import DTypeName, dtype_value
from patchclamp.v1 import (
    activations_pb2,
    activations_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)

__all__ = ["DEFAULT_TARGET", "DEFAULT_TIMEOUT", "AsyncClient"]

DEFAULT_TARGET = "localhost:8470"
DEFAULT_TIMEOUT = 300.0


class AsyncClient:
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
        check_options(timeout, keepalive, retries)
        self._target = target
        self._timeout = timeout
        self._tls = tls
        self._keepalive = keepalive
        self._retries = retries
        self._metadata = tuple((metadata or {}).items())
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._closed = True
        if "_channel" in self.__dict__:
            await self._channel.close(grace=None)

    def generate(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        token_ids: Sequence[int] | None = None,
        model: str = "",
        max_new_tokens: int = 0,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float | None = None,
        min_p: float = 0.0,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        capture: Sequence[str] = (),
        capture_prompt: bool = False,
        capture_generated: bool = True,
        dtype: DTypeName = "float32",
        top_logprobs: int = 0,
        timeout: float | None = None,
    ) -> AsyncGenerationStream:
        """Continues a prompt, given as text, as a conversation or as tokens; streams.

        Args:
            prompt: Text to continue.
            messages: A conversation to continue, oldest first: {"role": "user", "content": "…"}; the model's chat
                template renders it.
            token_ids: Tokens to continue, taken as they are.
            model: "models/smollm2-135m"; empty: the server's default.
            max_new_tokens: Most tokens to generate; 0: the server's default, 128.
            temperature: 0: the most probable token always. Above: logits are divided by it.
            top_k: Only the k most probable tokens; 0: all.
            top_p: Only the most probable tokens that add up to this probability.
            min_p: Only tokens at least this times as probable as the most probable one.
            repetition_penalty: Above 1: tokens seen before become less probable.
            seed: Makes sampling repeatable, whatever else the server runs. None: the server draws one.
            stop: Strings before the first of which the text ends.
            interventions: Edits of this request: `ablate(…)` and its like, their notation, or nested lists of them.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            capture: Sites to return activations of; "layers.*.residual" stands for every layer.
            capture_prompt: Return those of the prompt's tokens, with the result.
            capture_generated: Return those of each generated token, with the token.
            dtype: Element type of captured activations.
            top_logprobs: How many of the most probable tokens to return with each token.
            timeout: Seconds for the whole generation; None: the client's.

        Returns:
            The stream: iterate over it for `Token`s, or ask for its `text()` or `result()`. Leaving its context early
            cancels the generation.
        """
        check_counts(max_new_tokens=max_new_tokens, top_k=top_k, seed=seed, top_logprobs=top_logprobs)
        request = prompt_input(prompt, messages, token_ids)
        rest = inference_pb2.GenerateRequest(
            model=model,
            max_new_tokens=max_new_tokens,
            sampling=inference_pb2.Sampling(
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_p=min_p,
                repetition_penalty=repetition_penalty,
                seed=seed,
            ),
            stop=stop,
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
            top_logprobs=top_logprobs,
        )
        request.MergeFrom(rest)
        if capture:
            wanted = inference_pb2.Capture(
                sites=capture, prompt=capture_prompt, generated=capture_generated, dtype=dtype_value(dtype)
            )
            request.capture.CopyFrom(wanted)
        return AsyncGenerationStream(self._inference.Generate(request, **self._options(timeout)))

    async def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str = "",
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Scores:
        """Log-probability of each continuation after its prompt.

        Args:
            pairs: (prompt, continuation), the continuation with its leading blank if it has one.
            model: "models/smollm2-135m"; empty: the server's default.
            interventions: Edits, the same for every pair; as in `generate`.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            timeout: Seconds for all of it; None: the client's.

        Returns:
            A list with one `Score` a pair, in their order; its `applied` says what was done to the activations.
        """
        request = inference_pb2.ScoreRequest(
            model=model,
            items=[inference_pb2.ScoreItem(prompt=prompt, continuation=after) for prompt, after in pairs],
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
        )
        with status_errors():
            response = await self._inference.Score(request, **self._options(timeout))
        return Scores.from_proto(response, len(request.items))

    def extract(
        self,
        sentences: Iterable[str] | Iterable[Sequence[str]],
        sites: Sequence[str],
        *,
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
            sentences: All of them running text, or all of them lists of words.
            sites: What to read; "layers.*.residual" stands for every layer.
            model: "models/minilm-l6"; empty: the server's default.
            aggregation: From subwords to words: "average", "first" or "last", for words; "none": a row a subword.
                None: "average" for words, "none" for text.
            dtype: Element type on the wire; "bfloat16" arrives widened to float32.
            interventions: Edits, the same for every sentence; as in `generate`.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            include_special_tokens: With aggregation "none": rows of special tokens ([CLS], begin of text) too.
            timeout: Seconds for the whole extraction; None: the client's.

        Returns:
            The stream: iterate over it for `SentenceActivations`; afterwards its `applied` is the receipt.
        """
        if isinstance(sentences, str) or isinstance(sites, str):
            raise TypeError("extract takes a list of sentences and a list of sites; a single string is neither")
        request = activations_pb2.ExtractActivationsRequest(
            model=model,
            sentences=[to_sentence(sentence) for sentence in sentences],
            sites=sites,
            aggregation=aggregation_value(aggregation),
            dtype=dtype_value(dtype),
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
            include_special_tokens=include_special_tokens,
        )
        call = self._activations.ExtractActivations(request, **self._options(timeout))
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
                response = await self._models.ListModels(request, **self._options(timeout))
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
            return Model.from_proto(await self._models.GetModel(request, **self._options(timeout)))

    @cached_property
    def _channel(self) -> AsyncChannel:
        # Not in the constructor: an asynchronous channel belongs to the event loop that runs when it is made.
        return open_async_channel(self._target, self._tls, self._keepalive, self._retries)

    @cached_property
    def _models(self) -> models_pb2_grpc.ModelServiceAsyncStub:
        return models_pb2_grpc.ModelServiceStub(self._channel)

    @cached_property
    def _inference(self) -> inference_pb2_grpc.InferenceServiceAsyncStub:
        return inference_pb2_grpc.InferenceServiceStub(self._channel)

    @cached_property
    def _activations(self) -> activations_pb2_grpc.ActivationServiceAsyncStub:
        return activations_pb2_grpc.ActivationServiceStub(self._channel)

    def _options(self, timeout: float | None) -> CallOptions:
        if self._closed:
            raise RuntimeError(f"the client of {self._target} is closed")
        seconds = self._timeout if timeout is None else timeout
        return CallOptions(timeout=None if math.isinf(seconds) else seconds, metadata=self._metadata)
