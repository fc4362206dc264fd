"""Sentences with labels, and what every corpus of them keeps to."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import BadData

__all__ = [
    "LONGEST_LABEL",
    "MOST_LABELS",
    "MOST_LAYERS",
    "Consistency",
    "Content",
    "Level",
    "Sentence",
    "all_plain",
    "label_fault",
    "layer_fault",
    "quoted",
    "text_fault",
    "word_fault",
]

LONGEST_LABEL = 256
"""Characters of a label."""
MOST_LABELS = 262_144
"""Different labels of a layer."""
MOST_LAYERS = 64
"""Layers of a corpus."""

_LAYER = re.compile(r"\.*[A-Za-z0-9_-][A-Za-z0-9._-]*")
_CONTROLS = {"\t": "a tab", "\n": "a line feed", "\v": "a vertical tab", "\f": "a form feed", "\r": "a carriage return"}
_CONTROLS |= {"\0": "a NUL character"}
_CONTROL = re.compile("[\0\t\n\v\f\r]")


class Content(enum.Enum):
    """What the sentences of a corpus are made of."""

    TEXT = "text"
    WORDS = "words"
    PAIRS = "pairs"


class Level(enum.Enum):
    """What a layer labels."""

    WORD = "word"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence: words, or a text, or a pair of texts. The label "" stands for none."""

    words: tuple[str, ...] = ()
    text: str = ""
    second: str = ""
    """The second text of a pair."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Layer → one label per word."""
    sentence_labels: Mapping[str, str] = field(default_factory=dict)
    """Layer → the sentence's label."""

    @property
    def content(self) -> Content:
        """What it is made of. Raises BadData when it is made of nothing, or of several things."""
        if self.words:
            if self.text or self.second:
                raise BadData("has words and a text; it should have one of them")
            return Content.WORDS
        if not self.text:
            raise BadData("has neither words nor a text")
        return Content.PAIRS if self.second else Content.TEXT


class Consistency:
    """Holds the sentences of one corpus to one shape: the same content, each layer on one level."""

    def __init__(self) -> None:
        self.content: Content | None = None
        self.levels: dict[str, Level] = {}

    def check(self, sentence: Sentence) -> None:
        """Raises BadData, without a place, when the sentence does not fit those before it."""
        content = sentence.content
        if content is not self.content:
            if self.content:
                raise BadData(f"is made of {content.value}, those before of {self.content.value}")
            self.content = content
        for layer, labels in sentence.labels.items():
            self._on(layer, Level.WORD)
            if len(labels) != len(sentence.words):
                raise BadData(f"{len(labels)} labels of the layer {layer} for {len(sentence.words)} words")
        for layer in sentence.sentence_labels:
            self._on(layer, Level.SENTENCE)

    def _on(self, layer: str, level: Level) -> None:
        known = self.levels.get(layer)
        if known is level:
            return
        if known:
            raise BadData(f"the layer {layer} labels words here and sentences elsewhere; give them different names")
        if fault := layer_fault(layer):
            raise BadData(fault)
        if len(self.levels) == MOST_LAYERS:
            raise BadData(f"the layer {layer} is one too many: a corpus has {MOST_LAYERS} at most")
        self.levels[layer] = level


def all_plain(words: Sequence[str]) -> bool:
    """Whether no word has whitespace or NUL in it; quick. What is not plain may be right too: see `word_fault`."""
    joined = " ".join(words)
    return joined.split() == list(words) and "\0" not in joined and _encodable(joined)


def word_fault(word: str, *, blanks: bool = False) -> str:
    """What is wrong with a word, "" if nothing is. Any character but ASCII whitespace and NUL may be in it, since
    words are lines and cells elsewhere; with `blanks`, blanks as well.
    """
    if not word or word.isspace():
        return f"the word {quoted(word)} is blank" if word else "the word is empty"
    if " " in word and not blanks:
        return f"the word {quoted(word)} contains a blank"
    return _character_fault("word", word)


def text_fault(text: str) -> str:
    """What is wrong with a text, "" if nothing is."""
    if not text or text.isspace():
        return f"the text {quoted(text)} is blank" if text else "the text is empty"
    if "\0" in text:
        return f"the text {quoted(text)} contains a NUL character"
    return "" if _encodable(text) else f"the text {quoted(text)} contains half of a surrogate pair"


def label_fault(label: str) -> str:
    """What is wrong with a label, "" if nothing is."""
    if label.isspace():
        return f"the label {quoted(label)} is blank"
    if len(label) > LONGEST_LABEL:
        return f"the label {quoted(label)} has {len(label)} characters; {LONGEST_LABEL} is the most"
    return _character_fault("label", label)


def layer_fault(name: str) -> str:
    """What is wrong with the name of a layer, "" if nothing is."""
    if len(name) <= 64 and _LAYER.fullmatch(name):
        return ""
    return f"{quoted(name)} is no name of a layer: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', and not only dots"


def quoted(text: str) -> str:
    """A text as errors show it: cut, with what cannot be seen escaped."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"


def _character_fault(kind: str, text: str) -> str:
    if match := _CONTROL.search(text):
        return f"the {kind} {quoted(text)} contains {_CONTROLS[match[0]]}"
    return "" if _encodable(text) else f"the {kind} {quoted(text)} contains half of a surrogate pair"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
