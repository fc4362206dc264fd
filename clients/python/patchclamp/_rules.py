"""Rules that label words; see `patchclamp.rules`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

from patchclamp._generation import check_counts
from patchclamp.v1 import corpora_pb2

__all__ = [
    "CasingName",
    "LevelName",
    "Rule",
    "affix",
    "casing",
    "length",
    "otherwise",
    "position",
    "regex",
    "vocabulary",
]

LevelName: TypeAlias = Literal["word", "sentence"]
CasingName: TypeAlias = Literal["lower", "upper", "title", "mixed", "none"]

LEVELS = {
    None: corpora_pb2.LABEL_LEVEL_UNSPECIFIED,
    "word": corpora_pb2.LABEL_LEVEL_WORD,
    "sentence": corpora_pb2.LABEL_LEVEL_SENTENCE,
}
LONGEST_REPR = 120


class Rule:
    """One rule; immutable."""

    __slots__ = ("_message",)

    def __init__(self, message: corpora_pb2.AnnotationRule) -> None:
        self._message = corpora_pb2.AnnotationRule()
        self._message.CopyFrom(message)

    def to_proto(self) -> corpora_pb2.AnnotationRule:
        """The wire's form; a copy."""
        copy = corpora_pb2.AnnotationRule()
        copy.CopyFrom(self._message)
        return copy

    def __repr__(self) -> str:
        from google.protobuf import text_format  # for a repr alone

        text = text_format.MessageToString(self._message, as_one_line=True, as_utf8=True)
        return f"Rule({text if len(text) <= LONGEST_REPR else f'{text[: LONGEST_REPR - 1]}…'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self._message == other._message

    def __hash__(self) -> int:
        return hash(self._message.SerializeToString(deterministic=True))


def vocabulary(
    layer: str, label: str, words: Iterable[str], *, ignore_case: bool = False, level: LevelName | None = None
) -> Rule:
    """Fits the words of a list."""
    message = _message(layer, label, level)
    message.vocabulary.words[:] = _strings("words", words)
    message.vocabulary.ignore_case = ignore_case
    return Rule(message)


def regex(layer: str, label: str, pattern: str, *, search: bool = False, level: LevelName | None = None) -> Rule:
    """Fits by a pattern of RE2 (no back-references, no look-around): all of the word, or with `search` a part of it."""
    message = _message(layer, label, level)
    message.regex.pattern = pattern
    message.regex.search = search
    return Rule(message)


def affix(
    layer: str,
    label: str,
    *,
    prefixes: Iterable[str] = (),
    suffixes: Iterable[str] = (),
    ignore_case: bool = False,
    level: LevelName | None = None,
) -> Rule:
    """Fits words with one of the beginnings and one of the endings; none given: any.

    Raises:
        ValueError: There is neither a beginning nor an ending.
    """
    message = _message(layer, label, level)
    message.affix.prefixes[:] = _strings("prefixes", prefixes)
    message.affix.suffixes[:] = _strings("suffixes", suffixes)
    message.affix.ignore_case = ignore_case
    if not message.affix.prefixes and not message.affix.suffixes:
        raise ValueError("give prefixes, suffixes or both; with neither, every word fits")
    return Rule(message)


def length(layer: str, label: str, *, min: int = 0, max: int = 0, level: LevelName | None = None) -> Rule:
    """Fits words of at least `min` and at most `max` characters (0: any number)."""
    check_counts(min=min, max=max)
    if max and min > max:
        raise ValueError(f"min is {min}, which is above max, {max}")
    message = _message(layer, label, level)
    message.length.min = min
    message.length.max = max
    return Rule(message)


def position(layer: str, label: str, indices: int | Iterable[int], *, level: LevelName | None = None) -> Rule:
    """Fits words at some places of their sentence, from 0; negative: from its end (−1: the last)."""
    message = _message(layer, label, level)
    message.position.indices[:] = [indices] if isinstance(indices, int) else indices
    return Rule(message)


def casing(layer: str, label: str, kind: CasingName, *, level: LevelName | None = None) -> Rule:
    """Fits words by their case: "lower" (model), "upper" (NASA), "title" (Paris), "mixed" (iPhone), "none" (2026).

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in get_args(CasingName):
        raise ValueError(f"kind is {kind!r}; it can be {', '.join(get_args(CasingName))}")
    message = _message(layer, label, level)
    message.casing.kind = corpora_pb2.CasingKind.Value(f"CASING_KIND_{kind.upper()}")
    return Rule(message)


def otherwise(layer: str, label: str, *, level: LevelName | None = None) -> Rule:
    """Fits all that no earlier rule of the layer fits."""
    message = _message(layer, label, level)
    message.otherwise.SetInParent()
    return Rule(message)


def _message(layer: str, label: str, level: LevelName | None) -> corpora_pb2.AnnotationRule:
    """A rule that fits nothing yet."""
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}; it can be 'word', 'sentence' or None")
    return corpora_pb2.AnnotationRule(layer=layer, label=label, level=LEVELS[level])


def _strings(name: str, values: Iterable[str]) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"{name} is the string {values!r}; give a list: [{values!r}]")
    return list(values)
