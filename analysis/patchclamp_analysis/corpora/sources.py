"""The files that a corpus is read from: lines of UTF-8, and errors that say where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ..errors import BadData
from .sentences import MOST_LABELS, Level, label_fault

__all__ = ["LONGEST", "LayerLabels", "Source", "lines", "place"]

LONGEST = 1 << 20
"""Bytes of a line, and of a sentence that is spread over lines."""

_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Source:
    """A file: what errors call it, and its bytes. An open file is read from where it stands and not closed."""

    name: str
    file: BinaryIO | Path
    layer: str = ""
    """The layer that its labels make; "": words, texts or several things."""
    level: Level | None = None
    """What its labels label; None: words, or sentences where there are no words."""

    @classmethod
    def at(cls, path: str | Path, layer: str = "", level: Level | None = None) -> Source:
        """The file at a path."""
        return cls(Path(path).name, Path(path), layer, level)


def place(name: str, line: int, column: int = 0) -> str:
    """Where something is: "dev.upos, line 3, column 7". Both count from 1, columns in characters; 0: not given."""
    return f"{name}, line {line}, column {column}" if column else f"{name}, line {line}"


def lines(source: Source) -> Iterator[str]:
    """The lines without their ends (LF or CR LF). A byte order mark is skipped.

    Raises BadData for what is not UTF-8, for NUL, and for lines of more than LONGEST bytes.
    """
    with source.file.open("rb") if isinstance(source.file, Path) else nullcontext(source.file) as file:
        for number, raw in enumerate(iter(partial(file.readline, LONGEST + 2), b""), 1):
            if number == 1:
                raw = raw.removeprefix(_MARK)
            yield _decoded(raw, source.name, number)


def _decoded(raw: bytes, name: str, number: int) -> str:
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if len(raw) > LONGEST:
        raise BadData(f"the line has more than {LONGEST} bytes", where=place(name, number))
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode()) + 1
        found = f"0x{raw[error.start]:02x}"
        raise BadData(f"is not UTF-8: {found} ({error.reason})", where=place(name, number, column)) from None
    if "\0" in text:
        raise BadData("a NUL character", where=place(name, number, text.index("\0") + 1))
    return text


class LayerLabels:
    """Checks the labels of one layer as they come, and puts "" for the one that stands for none."""

    def __init__(self, layer: str, no_label: str) -> None:
        self._layer = layer
        self._no_label = no_label
        self._known: set[str] = set()

    def take(self, labels: Sequence[str], where: Callable[[int], str]) -> tuple[str, ...]:
        """The labels of a sentence. `where` gives the place of the label with an index, for errors."""
        if not self._known.issuperset(labels):
            self._add(labels, where)
        if self._no_label and self._no_label in labels:
            return tuple("" if label == self._no_label else label for label in labels)
        return tuple(labels)

    def _add(self, labels: Sequence[str], where: Callable[[int], str]) -> None:
        for i, label in enumerate(labels):
            if label not in self._known:
                if fault := label_fault(label):
                    raise BadData(fault, where=where(i))
                self._known.add(label)
        if len(self._known) > MOST_LABELS + 2:  # none of them, and the one that stands for none, come on top
            text = f"the layer {self._layer} has more than {MOST_LABELS} different labels"
            raise BadData(text, where=where(len(labels) - 1))
