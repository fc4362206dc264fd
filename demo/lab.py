"""Measurements through the SDK: gaps, perplexity, activations."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from patchclamp import Client

from demo.clamp import Clamp, interventions
from demo.data import Prompts
from demo.recording import Recording
from demo.spread import Floats

__all__ = ["Lab"]

CALLERS = 8
NEURONS = "layers.*.neurons"
WORDS_GIVEN = 3

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Lab:
    """What the demo asks of the service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def gaps(self, prompts: Prompts, clamps: Sequence[Clamp] = ()) -> Floats:
        """log p(" she") − log p(" he") after each prompt; shape [prompts]."""
        pairs = [(text, pronoun) for text in prompts.texts for pronoun in (" she", " he")]
        scores = self._client.score(pairs, interventions=interventions(clamps))
        logprobs = np.array([score.logprob for score in scores]).reshape(-1, 2)
        return np.asarray(logprobs[:, 0] - logprobs[:, 1])

    def log_perplexity(self, texts: Sequence[str], clamps: Sequence[Clamp] = ()) -> float:
        """Mean negative log-probability of a token, in nats, after the first words of each text."""
        scores = self._client.score([split(text) for text in texts], interventions=interventions(clamps))
        return -float(np.concatenate([score.token_logprobs for score in scores]).mean(dtype=np.float64))

    def record(self, texts: Sequence[str], clamps: Sequence[Clamp] = ()) -> Recording:
        """Activations of all feed-forward neurons, but for the first token: its activations are like no other's."""
        stream = self._client.extract(texts, [NEURONS], dtype="float16", interventions=interventions(clamps))
        rows, widths = [], dict[str, int]()
        for sentence in stream:
            widths = {site: values.shape[1] for site, values in sentence.activations.items()}
            rows.append(np.concatenate([values[1:] for values in sentence.activations.values()], axis=1))
        return Recording(widths, rows)

    def continuation(self, prompt: str, clamps: Sequence[Clamp] = ()) -> str:
        """What the model finds most probable after the prompt, up to the end of the line."""
        edits = interventions(clamps)
        return self._client.generate(prompt, max_new_tokens=24, stop=["\n"], interventions=edits).text()

    def together(self, task: Callable[[ItemT], ResultT], items: Iterable[ItemT]) -> list[ResultT]:
        """The task for every item, several at once: the service runs them in shared forward passes."""
        with ThreadPoolExecutor(CALLERS) as callers:
            return list(callers.map(task, items))


def split(text: str) -> tuple[str, str]:
    """The first words and the rest."""
    words = text.split(" ")
    return " ".join(words[:WORDS_GIVEN]), " " + " ".join(words[WORDS_GIVEN:])
