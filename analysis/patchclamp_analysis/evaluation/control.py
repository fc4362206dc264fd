"""Control tasks: what a probe can learn by heart, which says nothing about the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..errors import BadData

__all__ = ["control_labels", "control_task"]


def control_task(
    train: Data, *others: Data, seed: int = 0, uniform: bool = False, fold_case: bool = False
) -> tuple[Data, ...]:
    """The same data with a random class for each word type, the same wherever the word stands.

    Classes are drawn for each type with their frequencies in `train`, or `uniform`; types in the order of their first
    occurrence over the splits in turn, as NeuroX does, from numpy's generator of this seed. With `fold_case`, words
    that differ in case are of one type. Selectivity is the accuracy on the task less that on its control task.

    Source: Hewitt & Liang 2019, Designing and interpreting probes with control tasks. BadData where the words are not
    known, or all of `train` are of one type.
    """
    splits = (train, *others)
    drawn = control_labels(train, *others, seed=seed, uniform=uniform, fold_case=fold_case)
    names = np.array(train.classes, dtype=object)
    tasks = [data.with_labels(names[labels], "control") for data, labels in zip(splits, drawn, strict=True)]
    return tuple(task.with_classes(train.classes) for task in tasks)


def control_labels(
    train: Data, *others: Data, seed: int = 0, uniform: bool = False, fold_case: bool = False
) -> list[NDArray[np.int64]]:
    """[N] class numbers of each split's control task."""
    train.require_classes()
    words = [_words(data, fold_case) for data in (train, *others)]
    places: dict[str, int] = {}
    for split in words:
        for word in split:
            places.setdefault(word, len(places))
    frequencies = np.full(len(train.classes), 1 / len(train.classes)) if uniform else train.counts / len(train)
    # The legacy generator: its stream is frozen, and it is the one that the reference uses.
    draw = np.random.RandomState(seed)
    classes = draw.choice(len(train.classes), len(places), p=frequencies)
    return [classes[[places[word] for word in split]].astype(np.int64) for split in words]


def _words(data: Data, fold_case: bool) -> list[str]:
    if data.words is None:
        raise BadData("a control task needs the word of each row", where=data.label)
    return [word.lower() if fold_case else word for word in data.words]
