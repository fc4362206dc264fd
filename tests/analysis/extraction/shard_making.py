"""Shards whose values say which row they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from patchclamp_analysis.extraction.extractors import Written
from patchclamp_analysis.extraction.shards import Shard
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, RowBlock, SetDescription

__all__ = ["PLAN", "SHARDS", "WIDTH", "describe", "write"]

WIDTH = 3
SHARDS = [Shard(0, 0, 2), Shard(1, 2, 5), Shard(2, 5, 6)]
PLAN = {"model": {"spec": "tiny"}, "sites": ["embeddings"]}


def describe(**changes) -> SetDescription:
    return replace(
        SetDescription(
            sites=(("embeddings", WIDTH), ("layers.0.residual", WIDTH)),
            dtype="float32",
            aggregation="average",
            model="models/tiny",
            layers=(("upos", ("NOUN", "VERB")),),
        ),
        **changes,
    )


def value_of(sentence: int, place: int) -> float:
    return 10.0 * sentence + place


def write(shard: Shard, path: Path, *, words: int = 4, **changes) -> Written:
    """A set of the shard's sentences, of `words` words each, whose values say which row they belong to."""
    rows = [(sentence, place) for sentence in range(shard.start, shard.stop) for place in range(words)]
    block = RowBlock(
        np.array([sentence for sentence, _ in rows]),
        np.array([place for _, place in rows], np.int32),
        [f"w{sentence}.{place}" for sentence, place in rows],
        {"upos": ["NOUN" if place else "" for _, place in rows]},
    )
    description = describe(**changes)
    values = np.array([[value_of(*row)] * WIDTH for row in rows], np.float32)
    with ActivationSetWriter.open(path, description, [block]) as writer:
        writer.write({site: values + i for i, (site, _) in enumerate(description.sites)}, np.zeros(len(rows), bool))
        return Written(writer.finish())
