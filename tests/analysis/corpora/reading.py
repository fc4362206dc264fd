"""Corpus files that are not on a disk, and what is read from them."""

from __future__ import annotations

import io

from patchclamp_analysis.corpora.corpus import Level, Sentence
from patchclamp_analysis.corpora.files import Column, CorpusFiles, Format, Source

__all__ = ["CONLLU", "JSON", "LINES", "TEXT", "TSV", "marked", "read", "read_lines", "source"]

LINES, CONLLU, TSV, JSON, TEXT = Format.LINES, Format.CONLLU, Format.TSV, Format.JSON_LINES, Format.TEXT


def source(name: str, data: bytes | str, layer: str = "", level: Level | None = None) -> Source:
    return Source(name, io.BytesIO(data.encode() if isinstance(data, str) else data), layer, level)


def marked(text: str) -> str:
    """With a byte order mark, so that one in the text itself is a character like others."""
    return f"\ufeff{text}"


def read(form: Format, data: bytes | str, *columns: Column, **options: object) -> list[Sentence]:
    return list(CorpusFiles(form, [source("f", data)], columns, **options).read())  # type: ignore[arg-type]


def read_lines(*files: Source, no_label: str = "") -> list[Sentence]:
    return list(CorpusFiles(LINES, files, no_label=no_label).read())
