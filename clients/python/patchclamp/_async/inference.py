"""Calls that run a model on text."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from patchclamp._async.connection import AsyncConnection
from patchclamp._async.streams import AsyncGenerationStream
from patchclamp._classification import Classifications
from patchclamp._generation import check_counts, prompt_input
from patchclamp._intervention_lists import Interventions, flatten
from patchclamp._masks import FilledTexts
from patchclamp._scores import Scores
from patchclamp._sentences import SentenceLike, to_sentences
from patchclamp._status import status_errors
from patchclamp._tensors import DTypeName, dtype_value
from patchclamp.v1 import inference_pb2, inference_pb2_grpc

__all__ = ["AsyncInferenceMethods"]


class AsyncInferenceMethods:
    """The part of a client that generates, scores, classifies and fills masks."""

    _connection: AsyncConnection

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
        return AsyncGenerationStream(self._inference.Generate(request, **self._connection.options(timeout)))

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
            response = await self._inference.Score(request, **self._connection.options(timeout))
        return Scores.from_proto(response, len(request.items))

    async def classify(
        self,
        sentences: Iterable[SentenceLike],
        *,
        model: str = "",
        top: int = 0,
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Classifications:
        """Classes of sentences, or of their words, by the model's classification head.

        Args:
            sentences: All of them texts, all lists of words, or all `Pair`s. A head that classifies words splits texts
                at blanks.
            model: "models/sentiment"; empty: the server's default.
            top: How many of the most probable classes to return; 0: all.
            interventions: Edits, the same for every sentence; as in `generate`.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            timeout: Seconds for all of it; None: the client's.

        Returns:
            A list with one `Classification` a sentence, in their order; its `applied` says what was done to the
            activations.
        """
        check_counts(top=top)
        request = inference_pb2.ClassifyRequest(
            model=model,
            sentences=to_sentences(sentences),
            top=top,
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
        )
        with status_errors():
            response = await self._inference.Classify(request, **self._connection.options(timeout))
        return Classifications.from_proto(response, len(request.sentences))

    async def fill_mask(
        self,
        texts: Iterable[str],
        *,
        model: str = "",
        top: int = 0,
        targets: Sequence[str] = (),
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        timeout: float | None = None,
    ) -> FilledTexts:
        """What may stand in place of mask tokens.

        Args:
            texts: Texts with at least one mask token each, as `Model.mask_token` says: "Paris is the [MASK] of France."
            model: "models/bert"; empty: the server's default.
            top: How many of the most probable tokens to return for each mask; 0: 5.
            targets: Tokens to return for each mask too, whatever their rank; each one token of the vocabulary.
            interventions: Edits, the same for every text; as in `generate`.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            timeout: Seconds for all of it; None: the client's.

        Returns:
            A list with the `FilledMask`s of each text, from left to right; its `applied` says what was done to the
            activations.
        """
        if isinstance(texts, str) or isinstance(targets, str):
            raise TypeError("fill_mask takes a list of texts and a list of targets; a single string is neither")
        check_counts(top=top)
        request = inference_pb2.FillMaskRequest(
            model=model,
            texts=texts,
            top=top,
            targets=targets,
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
        )
        with status_errors():
            response = await self._inference.FillMask(request, **self._connection.options(timeout))
        return FilledTexts.from_proto(response, len(request.texts))

    @cached_property
    def _inference(self) -> inference_pb2_grpc.InferenceServiceAsyncStub:
        return inference_pb2_grpc.InferenceServiceStub(self._connection.channel)
