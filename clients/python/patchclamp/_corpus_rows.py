"""Sentences in Python as the lines of a JSON Lines file."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TypeAlias, cast

import numpy as np

from patchclamp._sentences import Pair, SentenceLike

__all__ = ["Label", "Row", "json_lines", "label_text", "labelled", "row", "word_labels"]

# Numbers are written out; None, NaN and the empty string stand for no label.
Label: TypeAlias = str | int | None
Row: TypeAlias = dict[str, object]

ENDED = object()


def labelled(
    sentences: Iterable[SentenceLike],
    labels: Mapping[str, Iterable[Sequence[Label]]],
    sentence_labels: Mapping[str, Iterable[Label]],
) -> Iterator[Row]:
    """An object a sentence.

    Raises:
        ValueError: There is not one entry a sentence in each layer, or something is no sentence or no label.
    """
    names = ["sentences", *(f"layer {layer!r}" for layer in [*labels, *sentence_labels])]
    columns = zip_longest(sentences, *labels.values(), *sentence_labels.values(), fillvalue=ENDED)
    for number, (sentence, *entries) in enumerate(columns):
        if ENDED in (sentence, *entries):
            short = names[[sentence, *entries].index(ENDED)]
            raise ValueError(f"{short}: there are {number} entries, and more elsewhere; each sentence has one")
        place = f"sentence {number + 1}"
        words = {layer: word_labels(place, labels) for layer, labels in zip(labels, entries, strict=False)}
        whole = {
            layer: label_text(place, label)
            for layer, label in zip(sentence_labels, entries[len(labels) :], strict=True)
        }
        yield row(place, sentence, words, whole)


def row(place: str, sentence: object, labels: Mapping[str, list[str]], sentence_labels: Mapping[str, str]) -> Row:
    """The object of one sentence, as the contract describes it; `place` says in errors where it is from.

    Raises:
        ValueError: It is no text, no list of words and no pair.
    """
    made: Row
    match sentence:
        case str():
            made = {"text": sentence}
        case Pair(first=str(first), second=str(second)):
            made = {"text": first, "second": second}
        case _:
            made = {"words": _words(place, sentence)}
    if labels:
        made["labels"] = labels
    if sentence_labels:
        made["sentence_labels"] = sentence_labels
    return made


def word_labels(place: str, labels: object, names: Sequence[str] = ()) -> list[str]:
    """The labels of a sentence's words; see `label_text`."""
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise ValueError(f"{place}: {labels!r} is no list of labels, one a word")
    return [label_text(place, label, names) for label in labels]


def label_text(place: str, label: object, names: Sequence[str] = ()) -> str:
    """A label as the wire carries it; numbers are looked up in `names`, where there are any (−1: no label).

    Raises:
        ValueError: It is neither text nor a whole number, or there is no name of that number.
    """
    if isinstance(label, str):
        return label
    if _is_missing(label):
        return ""
    if isinstance(label, bool | np.bool_):
        return str(bool(label))
    if isinstance(label, float | np.floating) and label.is_integer():
        label = int(label)  # a data frame's whole numbers, beside missing ones
    try:
        number = operator.index(cast("int", label))
    except TypeError:
        raise ValueError(f"{place}: {label!r} is no label; labels are text or whole numbers") from None
    if not names:
        return str(number)
    if not -1 <= number < len(names):
        raise ValueError(f"{place}: there is no class {number}; there are {len(names)}, from 0")
    return "" if number == -1 else names[number]


def json_lines(rows: Iterable[Row]) -> Iterator[bytes]:
    """One line an object, in UTF-8."""
    for made in rows:
        yield json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _words(place: str, words: object) -> list[str]:
    if isinstance(words, Iterable) and not isinstance(words, Mapping | bytes):
        listed = list(words)
        if all(isinstance(word, str) for word in listed):
            return listed
    raise ValueError(f"{place}: {words!r} is no text, no list of words and no Pair")


def _is_missing(label: object) -> bool:
    # pandas' own signs for nothing: neither equal to anything nor true or false.
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, float | np.floating) and math.isnan(label)
