"""Control tasks: what a probe can learn by heart, which says nothing about the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Data
from ..errors import BadData

__all__ = ["control_labels", "control_task"]


def control_task(train: Data, *others: Data, seed: int = 0) -> tuple[Data, ...]:
    """The same data with a random class for each word type, the same wherever the word stands.

    Classes are drawn for each type with their frequencies in `train`; types in the order of their first occurrence
    over the splits in turn, as NeuroX does, from numpy's generator of this seed. Selectivity is the accuracy on the
    task less that on its control task.

    Source: Hewitt & Liang 2019, Designing and interpreting probes with control tasks. BadData where the words are not
    known, and where the draw leaves one class only in `train`: another seed.
    """
    splits = (train, *others)
    drawn = control_labels(train, *others, seed=seed)
    names = np.array(train.classes, dtype=object)
    tasks = [data.with_labels(names[labels], "control") for data, labels in zip(splits, drawn, strict=True)]
    return tuple(task.with_classes(train.classes) for task in tasks)


def control_labels(train: Data, *others: Data, seed: int = 0) -> list[NDArray[np.int64]]:
    """[N] class numbers of each split's control task."""
    train.require_classes()
    words = [_words(data) for data in (train, *others)]
    places: dict[str, int] = {}
    for split in words:
        for word in split:
            places.setdefault(word, len(places))
    # The legacy generator: its stream is frozen, and it is the one that the reference uses.
    draw = np.random.RandomState(seed)
    classes = draw.choice(len(train.classes), len(places), p=train.counts / len(train))
    return [classes[[places[word] for word in split]].astype(np.int64) for split in words]


def _words(data: Data) -> NDArray[Any]:
    if data.words is None:
        raise BadData("a control task needs the word of each row", where=data.label)
    return data.words
