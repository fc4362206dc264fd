"""Corpora on the command line: which files they are read from, and rules that label them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from ..corpora.annotation import Otherwise, Regex, Rule, annotate
from ..corpora.corpus import Corpus, write_corpus
from ..corpora.files import Column, CorpusFiles, Format, Source
from ..corpora.sentences import Level
from ..errors import BadData, Busy
from ..files.durable_files import locked

__all__ = [
    "Columns",
    "CorpusInput",
    "CorpusPath",
    "FormatName",
    "Labels",
    "NoLabel",
    "Rules",
    "SentenceLabels",
    "WordColumn",
    "corpus_directory",
]

Name = Literal["text", "lines", "conllu", "tsv", "jsonl"]

_FORMATS: dict[Name, Format] = {
    "text": Format.TEXT,
    "lines": Format.LINES,
    "conllu": Format.CONLLU,
    "tsv": Format.TSV,
    "jsonl": Format.JSON_LINES,
}
_SUFFIXES: dict[str, Name] = {
    ".conllu": "conllu",
    ".conll": "conllu",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".words": "lines",
}
_RULE = re.compile(
    r"(?P<layer>[^=:]+)=(?P<label>[^:]+):(?P<kind>regex|search|otherwise)(?P<level>/word|/sentence)?"
    r"(?::(?P<pattern>.+))?",
    re.DOTALL,
)

CorpusPath: TypeAlias = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="A file of sentences, or the directory of a corpus that is kept.")
]
FormatName: TypeAlias = Annotated[
    Name | None,
    typer.Option("--format", help="How it is written.", show_default="by its name; lines with --labels, else text"),
]
Labels: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="LAYER=FILE", help="Labels of words, line-aligned. Repeatable."),
]
SentenceLabels: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--sentence-labels", metavar="LAYER=FILE", help="Labels of sentences, one a line. Repeatable."),
]
Columns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="LAYER=N[:KEY]", help="A column of labels, as upos=4, num=6:Number. Repeatable."),
]
WordColumn: TypeAlias = Annotated[
    int, typer.Option("--word-column", metavar="N", help="The column of words; the format's own.", show_default=False)
]
NoLabel: TypeAlias = Annotated[
    str, typer.Option("--no-label", metavar="LABEL", help="A label that stands for none, as _.", show_default=False)
]
Rules: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        "-r",
        metavar="RULE",
        help="Labels by a pattern, as 'kind=number:regex:[0-9]+'. Repeatable; first wins.",
    ),
]


@dataclass(frozen=True, slots=True)
class CorpusInput:
    """What the options say."""

    path: Path
    format: Name | None = None
    labels: tuple[str, ...] = ()
    sentence_labels: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    word_column: int = 0
    no_label: str = ""
    rules: tuple[str, ...] = ()

    def files(self) -> CorpusFiles:
        """The files to read."""
        name = self.format or _SUFFIXES.get(
            self.path.suffix, "lines" if self.labels or self.sentence_labels else "text"
        )
        sources = [Source(str(self.path), self.path)]
        sources += [_source(text, "--labels", Level.WORD) for text in self.labels]
        sources += [_source(text, "--sentence-labels", Level.SENTENCE) for text in self.sentence_labels]
        columns = [_column(text) for text in self.columns]
        return CorpusFiles(_FORMATS[name], sources, columns, self.word_column, self.no_label)

    def annotations(self) -> list[Rule]:
        """The rules."""
        return [_rule(text) for text in self.rules]


@contextmanager
def corpus_directory(given: CorpusInput, out: Path) -> Iterator[Path]:
    """Where the corpus lies; one that is made of files lies, until the end, hidden beside what will be written.

    Raises:
        BadData: The files or the rules are not right.
        Busy: Another run is making `out`.
        OSError: Files cannot be read or written.
    """
    rules = given.annotations()
    workplace = out.with_name(f".{out.name}.corpus")
    with _only_run(out):
        shutil.rmtree(workplace, ignore_errors=True)  # of a run that was killed
        try:
            directory = given.path
            if not directory.is_dir():
                directory = workplace / "read"
                write_corpus(given.files().read(), directory)
            if rules:
                write_corpus(annotate(Corpus.open(directory), rules), workplace / "annotated")
                directory = workplace / "annotated"
            yield directory
        finally:
            shutil.rmtree(workplace, ignore_errors=True)


@contextmanager
def _only_run(out: Path) -> Iterator[None]:
    """Keeps other runs from making `out`. Raises Busy if one is at it."""
    lock = out.with_name(f".{out.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = locked(lock)
    except Busy:
        raise Busy("another run is making this file; wait for it, or write to another one", where=str(out)) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _source(text: str, option: str, level: Level) -> Source:
    layer, equals, path = text.partition("=")
    if not (layer and equals and path):
        raise BadData(f"{text!r} is not LAYER=FILE", where=option)
    return Source(path, Path(path), layer, level)


def _column(text: str) -> Column:
    match = re.fullmatch(r"([^=]+)=([0-9]{1,6})(?::(.+))?", text)
    if not match:
        raise BadData(f"{text!r} is not LAYER=N or LAYER=N:KEY, as upos=4", where="--column")
    return Column(int(match[2]), match[1], match[3] or "")


def _rule(text: str) -> Rule:
    match = _RULE.fullmatch(text)
    if not match or (match["kind"] == "otherwise") == bool(match["pattern"]):
        hint = "LAYER=LABEL:regex:PATTERN (all of the word), :search:PATTERN (a part of it) or :otherwise"
        raise BadData(f"{text!r} is no rule: {hint}", where="--rule")
    test = Regex(match["pattern"], match["kind"] == "search") if match["pattern"] else Otherwise()
    level = Level(match["level"][1:]) if match["level"] else None
    return Rule(match["layer"], match["label"], test, level)
