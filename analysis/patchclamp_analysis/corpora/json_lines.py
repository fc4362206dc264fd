"""Corpora as JSON lines: an object a line, as `protos/patchclamp/v1/corpora.proto` describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..errors import BadData
from .sentences import Consistency, Sentence, all_plain, quoted, text_fault, word_fault
from .sources import LayerLabels, Source, lines, place

__all__ = ["read_json_lines"]

_KEYS = ("words", "text", "second", "labels", "sentence_labels")
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def read_json_lines(
    source: Source, *, no_label: str = "", consistency: Consistency | None = None
) -> Iterator[Sentence]:
    """{"words": […]}, {"text": "…"} or {"text": "…", "second": "…"} a line, with {"labels": {"layer": […]}} for words
    and {"sentence_labels": {"layer": "…"}} for sentences. A layer that a line leaves out labels nothing there.
    `consistency` is what the sentences have to fit.

    Raises BadData with file and line, and the column or the path within the object.
    """
    consistency = consistency or Consistency()
    layers: dict[str, LayerLabels] = {}
    for number, line in enumerate(lines(source), 1):
        here = place(source.name, number)
        read = _Reader(here, layers, no_label)
        sentence = read.sentence(_parsed(line, source.name, number))
        try:
            consistency.check(sentence)
        except BadData as error:
            raise BadData(error.message, where=here) from None
        yield sentence


def _parsed(line: str, name: str, number: int) -> object:
    if not line:
        raise BadData("the line is empty", where=place(name, number, 1))
    try:
        return _decoder.decode(line)
    except json.JSONDecodeError as error:
        raise BadData(f"is not JSON: {error.msg}", where=place(name, number, error.colno)) from None
    except BadData as error:
        raise BadData(error.message, where=place(name, number)) from None
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise BadData(f"is not JSON that can be read: {error}", where=place(name, number)) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise BadData(f"the key {quoted(next(key for key in keys if keys.count(key) > 1))} twice")
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_unique)


class _Reader:
    """Makes a sentence of one object."""

    def __init__(self, here: str, layers: dict[str, LayerLabels], no_label: str) -> None:
        self._here = here
        self._layers = layers
        self._no_label = no_label

    def sentence(self, raw: object) -> Sentence:
        """The sentence that a line's object describes."""
        parts = self._object(raw, "")
        for key in parts:
            if key not in _KEYS:
                raise BadData(f"the key {quoted(key)} is unknown; there are {', '.join(_KEYS)}", where=self._here)
        labels = self._object(parts.get("labels", {}), "labels")
        sentence_labels = self._object(parts.get("sentence_labels", {}), "sentence_labels")
        return Sentence(
            self._words(parts["words"]) if "words" in parts else (),
            self._text(parts["text"], "text") if "text" in parts else "",
            self._text(parts["second"], "second") if "second" in parts else "",
            {layer: self._labels(layer, found) for layer, found in labels.items()},
            {layer: self._label(layer, found) for layer, found in sentence_labels.items()},
        )

    def _words(self, raw: object) -> tuple[str, ...]:
        words = self._strings(raw, "words")
        if not words:
            raise BadData("there are no words", where=self._at("words"))
        if not all_plain(words):
            for i, word in enumerate(words):
                if fault := word_fault(word):
                    raise BadData(fault, where=self._at(f"words[{i}]"))
        return tuple(words)

    def _text(self, raw: object, path: str) -> str:
        text = self._string(raw, path)
        if fault := text_fault(text):
            raise BadData(fault, where=self._at(path))
        return text

    def _labels(self, layer: str, raw: object) -> tuple[str, ...]:
        path = f"labels.{layer}"
        return self._layer(layer).take(self._strings(raw, path), lambda i: self._at(f"{path}[{i}]"))

    def _label(self, layer: str, raw: object) -> str:
        path = f"sentence_labels.{layer}"
        return self._layer(layer).take((self._string(raw, path),), lambda _: self._at(path))[0]

    def _layer(self, layer: str) -> LayerLabels:
        return self._layers.setdefault(layer, LayerLabels(layer, self._no_label))

    def _object(self, raw: object, path: str) -> dict[str, object]:
        if not isinstance(raw, dict):
            raise self._other(raw, path, "an object")
        return raw

    def _string(self, raw: object, path: str) -> str:
        if not isinstance(raw, str):
            raise self._other(raw, path, "a string")
        return raw

    def _strings(self, raw: object, path: str) -> list[str]:
        if not isinstance(raw, list):
            raise self._other(raw, path, "a list of strings")
        try:
            "".join(raw)  # the quick way to see that all of them are strings
        except TypeError:
            i, other = next((i, other) for i, other in enumerate(raw) if not isinstance(other, str))
            raise self._other(other, f"{path}[{i}]", "a string") from None
        return raw

    def _other(self, raw: object, path: str, wanted: str) -> BadData:
        return BadData(f"{_KINDS.get(type(raw), 'a number')} instead of {wanted}", where=self._at(path))

    def _at(self, path: str) -> str:
        return f"{self._here}, {path if len(path) <= 100 else path[:100] + '…'}" if path else self._here
