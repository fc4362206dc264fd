"""Corpora from files, in any of the formats: what is read from what, and whether that makes sense."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from ..errors import BadData
from .columns import CONLLU_COLUMNS, Column, read_conllu, read_tsv
from .json_lines import read_json_lines
from .sentences import MOST_LAYERS, Consistency, Level, Sentence, layer_fault, quoted
from .sources import Source
from .text_lines import read_lines, read_text

__all__ = ["Column", "CorpusFiles", "Format", "Source"]


class Format(enum.Enum):
    """How the files of a corpus are written; all of them in UTF-8."""

    LINES = "lines"
    """A file of words, a sentence a line, and files of labels that are aligned to it."""
    CONLLU = "CoNLL-U"
    TSV = "TSV"
    """A word a line with its labels in tab-separated columns, an empty line after each sentence."""
    JSON_LINES = "JSON lines"
    TEXT = "text"
    """A text a line, and files of labels that are aligned to it."""


_DEFAULT_WORD_COLUMN = {Format.CONLLU: 2, Format.TSV: 1}
_KEYED_COLUMNS = (6, 10)


@dataclass(frozen=True, slots=True)
class CorpusFiles:
    """Files that make one corpus. Line-aligned files are read side by side, others one after another."""

    format: Format
    sources: Sequence[Source]
    columns: Sequence[Column] = ()
    """For CoNLL-U and TSV."""
    word_column: int = 0
    """From 1; 0: 2 for CoNLL-U (FORM), 1 for TSV."""
    no_label: str = ""
    """A label that stands for none, beside the empty one."""

    def check(self) -> None:
        """Raises BadData where the files and columns make no sense; `where` is as in "sources[1].layer"."""
        self._check_sources()
        self._check_columns()
        layers = {f"sources[{i}].layer": source.layer for i, source in enumerate(self.sources) if source.layer}
        layers |= {f"columns[{i}].layer": column.layer for i, column in enumerate(self.columns)}
        taken: dict[str, str] = {}
        for where, layer in layers.items():
            if fault := layer_fault(layer):
                raise BadData(fault, where=where)
            if layer in taken:
                raise BadData(f"the layer {layer} is that of {taken[layer]}", where=where)
            taken[layer] = where
        if len(taken) > MOST_LAYERS:
            raise BadData(f"{len(taken)} layers; a corpus has {MOST_LAYERS} at most", where="columns")

    def read(self) -> Iterator[Sentence]:
        """The sentences. Raises BadData with file, line and column."""
        self.check()
        labels = [source for source in self.sources if source.layer]
        others = [source for source in self.sources if not source.layer]
        word_column = self.word_column or _DEFAULT_WORD_COLUMN.get(self.format, 0)
        consistency = Consistency()
        match self.format:
            case Format.LINES:
                return read_lines(others[0], labels, no_label=self.no_label)
            case Format.TEXT:
                return chain.from_iterable(read_text(each, labels, no_label=self.no_label) for each in others)
            case Format.JSON_LINES:
                return chain.from_iterable(
                    read_json_lines(each, no_label=self.no_label, consistency=consistency) for each in others
                )
            case Format.CONLLU | Format.TSV:
                read = read_conllu if self.format is Format.CONLLU else read_tsv
                return chain.from_iterable(
                    read(each, self.columns, word_column=word_column, no_label=self.no_label) for each in others
                )

    def _check_sources(self) -> None:
        names: dict[str, int] = {}
        for i, source in enumerate(self.sources):
            if source.name in names:
                text = f"{quoted(source.name)} is the name of sources[{names[source.name]}]"
                raise BadData(text, where=f"sources[{i}].name")
            names[source.name] = i
            self._check_source(source, f"sources[{i}]")
        others = [i for i, source in enumerate(self.sources) if not source.layer]
        aligned = self.format is Format.LINES or len(others) < len(self.sources)
        if not others:
            raise BadData("none holds the words or texts: that one has no layer", where="sources")
        if aligned and len(others) > 1:
            text = "a second file without a layer; all but the words or texts are labels"
            raise BadData(text, where=f"sources[{others[1]}].layer")

    def _check_source(self, source: Source, where: str) -> None:
        if not source.layer:
            if source.level:
                raise BadData("a level without a layer", where=f"{where}.level")
        elif self.format not in (Format.LINES, Format.TEXT):
            raise BadData(f"{self.format.value} has its labels in the same file", where=f"{where}.layer")
        elif self.format is Format.TEXT and source.level is Level.WORD:
            raise BadData("there are no words in text; its labels are of sentences", where=f"{where}.level")

    def _check_columns(self) -> None:
        if self.format not in _DEFAULT_WORD_COLUMN:
            if self.columns or self.word_column:
                where = "columns" if self.columns else "word_column"
                raise BadData(f"{self.format.value} has no columns; CoNLL-U and TSV do", where=where)
            return
        conllu = self.format is Format.CONLLU
        if conllu and self.word_column > CONLLU_COLUMNS:
            raise BadData(f"CoNLL-U has {CONLLU_COLUMNS} columns", where="word_column")
        for i, column in enumerate(self.columns):
            if column.column < 1 or (conllu and column.column > CONLLU_COLUMNS):
                text = f"columns count from 1{f' to {CONLLU_COLUMNS}' if conllu else ''}"
                raise BadData(text, where=f"columns[{i}].column")
            if column.key and not (conllu and column.column in _KEYED_COLUMNS):
                raise BadData("keys are for FEATS (6) and MISC (10) of CoNLL-U", where=f"columns[{i}].key")
