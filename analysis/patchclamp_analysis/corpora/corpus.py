"""Corpora on disk: a directory with the sentences, one a line, and a summary; read lazily, page by page.

`sentences.jsonl` is canonical: keys sorted, no blanks, nothing that is empty, so that equal sentences give equal
bytes. `summary.json` counts, and knows where every 1024th sentence begins.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import BadData
from ..files.durable_files import sync_directory
from .sentences import (
    MOST_LABELS,
    Consistency,
    Content,
    Level,
    Sentence,
    all_plain,
    label_fault,
    text_fault,
    word_fault,
)

__all__ = ["Content", "Corpus", "CorpusSummary", "Layer", "Level", "Sentence", "write_corpus"]

_SENTENCES, _SUMMARY, _FORMAT, _STEP = "sentences.jsonl", "summary.json", 1, 1024
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of labels: how many words or sentences carry each, ordered by label, and how many carry none."""

    name: str
    level: Level
    counts: Mapping[str, int]
    unlabelled: int


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """What is in a corpus. Layers are ordered by name."""

    content: Content
    sentences: int
    words: int
    layers: tuple[Layer, ...]
    digest: str
    """SHA-256 (hex) of `sentences.jsonl`."""
    size_bytes: int
    """Size of `sentences.jsonl`."""


class Corpus:
    """A corpus in a directory. Nothing of it stays in memory but its summary; iterate as often as you like."""

    def __init__(self, directory: Path, summary: CorpusSummary, offsets: Sequence[int]) -> None:
        self.directory = directory
        self.summary = summary
        self._offsets = offsets
        self._word_layers = tuple(layer.name for layer in summary.layers if layer.level is Level.WORD)
        self._sentence_layers = tuple(layer.name for layer in summary.layers if layer.level is Level.SENTENCE)

    @classmethod
    def open(cls, directory: Path) -> Corpus:
        """Raises BadData when there is no whole corpus in `directory`."""
        try:
            raw = json.loads((directory / _SUMMARY).read_bytes())
            size = (directory / _SENTENCES).stat().st_size
        except (OSError, ValueError) as error:
            raise BadData(f"there is no corpus in {directory.name}: {error}") from error
        if raw["format"] != _FORMAT:
            raise BadData(f"is of format {raw['format']}; this version reads {_FORMAT}", where=directory.name)
        if raw["size_bytes"] != size:
            raise BadData(f"{_SENTENCES} has {size} bytes instead of {raw['size_bytes']}", where=directory.name)
        return cls(directory, _summary(raw), raw["offsets"])

    def __len__(self) -> int:
        return self.summary.sentences

    def __iter__(self) -> Iterator[Sentence]:
        return self.sentences()

    def sentences(self, start: int = 0, stop: int | None = None) -> Iterator[Sentence]:
        """Sentences `start` to before `stop`, as a slice does. Every layer is in each of them."""
        start, stop, _ = slice(start, stop).indices(len(self))
        if start >= stop:
            return
        with (self.directory / _SENTENCES).open("rb") as file:
            file.seek(self._offsets[start // _STEP])
            skipped = start % _STEP
            for line in islice(file, skipped, skipped + stop - start):
                yield self._sentence(line)

    def _sentence(self, line: bytes) -> Sentence:
        raw = _decode(line.decode())
        words = tuple(raw.get("words", ()))
        labels, sentence_labels = raw.get("labels", {}), raw.get("sentence_labels", {})
        none = ("",) * len(words)
        return Sentence(
            words,
            raw.get("text", ""),
            raw.get("second", ""),
            {name: tuple(labels[name]) if name in labels else none for name in self._word_layers},
            {name: sentence_labels.get(name, "") for name in self._sentence_layers},
        )


def write_corpus(sentences: Iterable[Sentence], directory: Path) -> Corpus:
    """Writes a corpus and opens it. `directory` is there whole or not at all, even after a crash.

    Raises:
        BadData: there are no sentences, or one is wrong or does not fit the others.
        FileExistsError: `directory` is there already.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} is there already")
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}")
    partial.mkdir()
    try:
        _fill(partial, sentences)
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_directory(directory.parent)
    return Corpus.open(directory)


def _fill(directory: Path, sentences: Iterable[Sentence]) -> None:
    with (directory / _SENTENCES).open("xb", buffering=1 << 20) as file:
        writer = _Writer(file)
        for sentence in sentences:
            writer.write(sentence)
        summary = writer.summary()
        _flush(file)
    with (directory / _SUMMARY).open("xb") as file:
        file.write(json.dumps(summary, ensure_ascii=False).encode())
        _flush(file)
    sync_directory(directory)


class _Writer:
    """Writes sentences, and counts them meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._consistency = Consistency()
        self._counts: dict[str, Counter[str]] = {}
        self._sentences = self._words = self._size = 0
        self._offsets: list[int] = []
        self._digest = hashlib.sha256()

    def write(self, sentence: Sentence) -> None:
        """Checks, counts and writes the next sentence."""
        try:
            self._consistency.check(sentence)
            _check_content(sentence)
            for layer, labels in sentence.labels.items():
                self._count(layer, labels)
            for layer, label in sentence.sentence_labels.items():
                self._count(layer, (label,))
        except BadData as error:
            raise BadData(error.message, where=error.where or f"sentence {self._sentences}") from None
        line = _canonical(sentence)
        if self._sentences % _STEP == 0:
            self._offsets.append(self._size)
        self._file.write(line)
        self._digest.update(line)
        self._size += len(line)
        self._sentences += 1
        self._words += len(sentence.words)

    def _count(self, layer: str, labels: Sequence[str]) -> None:
        counts = self._counts.setdefault(layer, Counter())
        if not all(map(counts.__contains__, labels)):
            for label in labels:
                if label not in counts and (fault := label_fault(label)):
                    raise BadData(f"{fault} (layer {layer})")
        counts.update(labels)
        if len(counts) > MOST_LABELS:
            raise BadData(f"the layer {layer} has more than {MOST_LABELS} different labels")

    def summary(self) -> dict[str, object]:
        """What `summary.json` says."""
        if self._consistency.content is None:
            raise BadData("there are no sentences")
        totals = {Level.WORD: self._words, Level.SENTENCE: self._sentences}
        return {
            "format": _FORMAT,
            "content": self._consistency.content.value,
            "sentences": self._sentences,
            "words": self._words,
            "layers": [
                _layer(name, level, self._counts[name], totals[level])
                for name, level in sorted(self._consistency.levels.items())
            ],
            "digest": self._digest.hexdigest(),
            "size_bytes": self._size,
            "offsets": self._offsets,
        }


def _layer(name: str, level: Level, counts: Counter[str], total: int) -> dict[str, object]:
    labels = {label: count for label, count in sorted(counts.items()) if label}
    return {"name": name, "level": level.value, "counts": labels, "unlabelled": total - sum(labels.values())}


def _check_content(sentence: Sentence) -> None:
    if sentence.words:
        if not all_plain(sentence.words):
            for i, word in enumerate(sentence.words):
                if fault := word_fault(word, blanks=True):
                    raise BadData(f"{fault} (word {i})")
        return
    for text in (sentence.text, sentence.second) if sentence.second else (sentence.text,):
        if fault := text_fault(text):
            raise BadData(fault)


def _canonical(sentence: Sentence) -> bytes:
    """A sentence as JSON in one line. A layer without a label in this sentence is left out, like all that is empty."""
    parts: dict[str, object] = {
        "labels": {layer: labels for layer, labels in sentence.labels.items() if any(labels)},
        "second": sentence.second,
        "sentence_labels": {layer: label for layer, label in sentence.sentence_labels.items() if label},
        "text": sentence.text,
        "words": sentence.words,
    }
    return f"{_encode({key: part for key, part in parts.items() if part})}\n".encode()


def _summary(raw: dict[str, Any]) -> CorpusSummary:
    layers = (Layer(each["name"], Level(each["level"]), each["counts"], each["unlabelled"]) for each in raw["layers"])
    return CorpusSummary(
        Content(raw["content"]), raw["sentences"], raw["words"], tuple(layers), raw["digest"], raw["size_bytes"]
    )


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
