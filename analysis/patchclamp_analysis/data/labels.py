"""Labels as class numbers, in sorted order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import BadData

__all__ = ["annotation", "encoded", "encoded_as", "words_of"]

Encoded = tuple[NDArray[np.int32], NDArray[np.float64] | None, tuple[str, ...], NDArray[np.bool_]]
_INTEGERS = (int, np.integer)


def encoded(labels: ArrayLike | None, targets: ArrayLike | None, rows: int) -> Encoded:
    """For each row its class number (−1: none), or its target; the classes; and which rows have one.

    Strings are sorted as strings, integers as numbers. "", None and NaN are no label, NaN is no target.
    """
    if labels is not None and targets is not None:
        raise BadData("give labels or targets, not both")
    if targets is not None:
        values = np.asarray(targets, dtype=np.float64)
        if np.isinf(values).any():
            raise BadData(f"the target is {values[np.isinf(values)][0]}", where=f"row {np.argmax(np.isinf(values))}")
        return np.full(rows, -1, np.int32), values, (), ~np.isnan(values)
    if labels is None:
        return np.full(rows, -1, np.int32), None, (), np.ones(rows, bool)
    given = _array(labels)
    if given.dtype.kind in "biu":
        names, y = np.unique(given, return_inverse=True)
        return y.astype(np.int32), None, tuple(str(name) for name in names), np.ones(rows, bool)
    if given.dtype.kind not in "OUT":
        raise BadData(f"labels must be strings or integers, not {given.dtype}; numbers to predict go to targets")
    return _of_strings(given)


def _of_strings(labels: NDArray[np.object_]) -> Encoded:
    names = _names(labels)
    numeric = all(name == "" or isinstance(label, _INTEGERS) for name, label in zip(names, labels, strict=True))
    classes = tuple(sorted(set(names) - {""}, key=int if numeric else str))
    if not classes:
        raise BadData("no row has a label")
    numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
    y = np.fromiter((numbers[name] for name in names), np.int32, len(names))
    return y, None, classes, y >= 0


def annotation(labels: ArrayLike, rows: NDArray[np.integer], name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The codes of some rows, and all labels in order. A layer may have no label at all."""
    given = _array(labels)
    if given.dtype.kind in "OUT" and not any(_names(given)):
        return np.full(len(rows), -1, np.int32), ()
    try:
        codes, _, names, _ = encoded(given, None, len(given))
    except BadData as error:
        raise BadData(error.message, where=f"annotations.{name}") from None
    return codes[rows], names


def encoded_as(y: NDArray[np.int32], classes: Sequence[str], others: Sequence[str]) -> NDArray[np.int32]:
    """Class numbers of `classes` as those of `others`; −1 for what these lack."""
    if len(set(others)) < len(others):
        raise BadData("a class stands there twice")
    numbers = {name: number for number, name in enumerate(others)}
    table = np.array([numbers.get(name, -1) for name in classes] + [-1], np.int32)
    return table[y]


def words_of(words: ArrayLike, rows: NDArray[np.integer]) -> NDArray[np.object_]:
    """The words of some rows, as strings. BadData where one has none."""
    given = _array(words).astype(object)[rows]
    for place, word in enumerate(given):
        if _is_missing(word):
            raise BadData(f"{word} is no word", where=f"words, row {rows[place]}")
        given[place] = str(word)
    return np.asarray(given)


def _array(values: ArrayLike) -> NDArray[Any]:
    """As numpy has it, but for what is not a string among strings: there it writes "nan" and "None"."""
    array = np.asarray(values)
    if array.dtype.kind in "UT" and not isinstance(values, np.ndarray):
        return np.asarray(values, dtype=object)
    return array


def _names(labels: NDArray[np.object_]) -> list[str]:
    """As strings; "" where there is none."""
    names = []
    for label in labels.tolist():
        missing = _is_missing(label)
        if isinstance(label, float) and not missing:
            raise BadData(f"labels must be strings or integers, not {label}; numbers to predict go to targets")
        names.append("" if missing else str(label))
    return names


def _is_missing(value: object) -> bool:
    """None and NaN, and what pandas has for them: it is not even equal to itself."""
    same = value == value
    return value is None or not (isinstance(same, bool | np.bool_) and bool(same))
