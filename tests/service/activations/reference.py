"""What an activation set must hold: transformers' hidden states of each sentence run alone, averaged over the subwords
of each word. And the real text it is compared on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_service.engine.model import LoadedModel
from torch import Tensor

__all__ = ["SITES", "UD_EWT", "differences", "states_of_words", "ud_ewt"]

UD_EWT = Path(__file__).parents[4] / "shared" / "data" / "ud-ewt"
"""Universal Dependencies English EWT (CC BY-SA 4.0); beside the project where it was made, not part of it."""

SITES = ("embeddings", "layers.*.residual")


def ud_ewt(directory: Path, every: int = 1) -> Corpus:
    """The dev sentences, or each `every`-th of them, with their parts of speech. Skips where they are not there."""
    if not UD_EWT.is_dir():
        pytest.skip("needs ../shared/data/ud-ewt")
    words, tags = ((UD_EWT / f"dev.{name}").read_text().splitlines() for name in ("words", "upos"))
    pairs = list(zip(words, tags, strict=True))[::every]
    return write_corpus(
        (Sentence(tuple(line.split(" ")), labels={"upos": tuple(upos.split(" "))}) for line, upos in pairs), directory
    )


def differences(model: LoadedModel, found: ActivationSet, corpus: Corpus) -> Iterator[float]:
    """Of each sentence, the largest difference of any value to what transformers gives; where a row has values above
    1, as a part of its largest: the residual stream of SmolLM2 reaches 24,000, and float32 has seven digits."""
    sites = list(found.sites)
    stored = [found.site(site) for site in sites]
    for number, sentence in enumerate(corpus):
        rows = slice(*found.sentence_offsets[number : number + 2])
        assert found.words[rows].tolist() == list(sentence.words)
        expected = states_of_words(model, sentence.words)
        given = np.stack([site[rows] for site in stored])
        largest = np.maximum(1, np.abs(expected).max(axis=2, keepdims=True))
        yield float((np.abs(expected - given) / largest).max())


@torch.inference_mode()
def states_of_words(model: LoadedModel, words: Sequence[str]) -> np.ndarray:
    """[layers + 1, words, hidden] of a sentence: what is behind the embeddings and behind each block."""
    text = " ".join(words)
    inputs = model.tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    with _last_block(model) as last:
        states = model.module(**inputs, output_hidden_states=True).hidden_states
    # The last hidden state of a decoder is behind its final norm; the residual stream is not.
    layers = torch.stack([*states[:-1], last[0]])[:, 0]
    rows, start = [], 0
    for word in words:
        end = start + len(word)
        own = [place for place, (first, behind) in enumerate(offsets) if first < end and behind > start]
        rows.append(layers[:, own].mean(1))
        start = end + 1
    averaged: np.ndarray = torch.stack(rows, 1).numpy()
    return averaged


@contextmanager
def _last_block(model: LoadedModel) -> Iterator[list[Tensor]]:
    """What the last block gives, in a list."""
    body: Any = model.module
    inner = body.model.layers if model.is_decoder else body.encoder.layer
    kept: list[Tensor] = []

    def keep(module: object, arguments: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handle = inner[-1].register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
