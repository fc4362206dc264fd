"""What the `corpora` commands read: sources of corpora, and rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

from patchclamp._cli_options import named
from patchclamp._corpus_sources import CorpusSource
from patchclamp._rule_notation import from_json, parse
from patchclamp._rules import Rule, vocabulary

__all__ = ["FormatName", "read_rules", "source_of"]

FormatName: TypeAlias = Literal["text", "lines", "conllu", "tsv", "jsonl"]

SUFFIXES: dict[str, FormatName] = {".conllu": "conllu", ".tsv": "tsv", ".jsonl": "jsonl"}
COLUMN = re.compile(r"(?P<number>[1-9][0-9]{0,3})(?::(?P<key>.+))?")
# Which options belong to which formats.
TAKES = {"lines": {"--labels", "--sentence-labels"}, "conllu": {"--column", "--word-column"}}
TAKES["tsv"] = TAKES["conllu"]


def source_of(
    file: Path,
    form: FormatName | None,
    labels: list[str] | None,
    sentence_labels: list[str] | None,
    columns: list[str] | None,
    word_column: int | None,
) -> CorpusSource:
    """What `corpora upload` sends.

    Raises:
        ValueError: An option is of another format, or not written as it should be.
    """
    form = form or SUFFIXES.get(file.suffix) or ("lines" if labels or sentence_labels else "text")
    given = {
        "--labels": labels,
        "--sentence-labels": sentence_labels,
        "--column": columns,
        "--word-column": word_column,
    }
    for option, value in given.items():
        if value and option not in TAKES.get(form, ()):
            formats = " or ".join(name for name, options in TAKES.items() if option in options)
            raise ValueError(f"{option} is for files of the format {formats}, and {str(file)!r} is {form}")
    match form:
        case "lines":
            of_words, of_sentences = named("--labels", labels), named("--sentence-labels", sentence_labels)
            return CorpusSource.lines(file, labels=of_words, sentence_labels=of_sentences)
        case "conllu":
            return CorpusSource.conllu(file, _columns(columns), word_column=word_column or 2)
        case "tsv":
            return CorpusSource.tsv(file, _columns(columns), word_column=word_column or 1)
        case "jsonl":
            return CorpusSource.jsonl(file)
    return CorpusSource.text(file)


def read_rules(file: Path | None, vocabularies: list[str] | None, texts: list[str] | None) -> list[Rule]:
    """Those of the file, then vocabularies, then those given one by one.

    Raises:
        ValueError: There is none, or one is not written as it should be.
    """
    rules = from_json(file.read_text(encoding="utf-8")) if file else []
    rules += [_vocabulary(text) for text in vocabularies or []]
    rules += [parse(text) for text in texts or []]
    if not rules:
        raise ValueError("give a rule: --rule 'kind=number:regex:[0-9]+', --vocabulary or --rules")
    return rules


def _columns(texts: list[str] | None) -> dict[str, int | tuple[int, str]]:
    columns: dict[str, int | tuple[int, str]] = {}
    for layer, value in named("--column", texts).items():
        found = COLUMN.fullmatch(value)
        if found is None:
            raise ValueError(f"--column {layer}={value}: LAYER=N or LAYER=N:KEY is wanted, N from 1")
        columns[layer] = (int(found["number"]), found["key"]) if found["key"] else int(found["number"])
    return columns


def _vocabulary(text: str) -> Rule:
    ((layer, rest),) = named("--vocabulary", [text]).items()
    label, colon, path = rest.partition(":")
    if not (label and colon and path):
        raise ValueError(f"--vocabulary {text!r}: LAYER=LABEL:FILE is wanted")
    words = Path(path).read_text(encoding="utf-8").split("\n")
    return vocabulary(layer, label, [word.strip() for word in words if word.strip()])
