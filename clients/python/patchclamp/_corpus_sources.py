"""What a corpus is uploaded from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from patchclamp._corpus_rows import Label, Row, json_lines, labelled
from patchclamp._corpus_tables import Dataset, LabelColumns, TableColumns, dataset_rows, frame_rows
from patchclamp._sentences import SentenceLike
from patchclamp.v1 import corpora_pb2

if TYPE_CHECKING:
    import pandas

__all__ = ["CorpusSource", "PathLike", "SourceFile", "WordColumns"]

PathLike: TypeAlias = str | os.PathLike[str]

# From layer to the number of its column, from 1; with a key, to that key's value in it: (6, "Number").
WordColumns: TypeAlias = Mapping[str, int | tuple[int, str]]

WORD, SENTENCE = corpora_pb2.LABEL_LEVEL_WORD, corpora_pb2.LABEL_LEVEL_SENTENCE


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to send: a path, or the pieces of one that is made on the way.

    Attributes:
        name: What to call it in errors.
        content: Where its bytes are.
        layer: The layer that it labels; empty: it holds the sentences.
        level: What it labels.
    """

    name: str
    content: Path | Iterable[bytes]
    layer: str = ""
    level: corpora_pb2.LabelLevel.ValueType = corpora_pb2.LABEL_LEVEL_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Annotated text, ready to be uploaded; nothing is read before.

    >>> CorpusSource.lines("dev.words", labels={"upos": "dev.upos"}).format
    1

    Files are in UTF-8. In all of them an empty label stands for none.

    Attributes:
        format: How the files are written: a value of `patchclamp.v1.corpora_pb2.CorpusFormat`.
        files: The files, in the order they are sent.
        columns: Columns of labels.
        word_column: Number of the column of words; 0: the format's own.
    """

    format: corpora_pb2.CorpusFormat.ValueType
    files: tuple[SourceFile, ...]
    columns: WordColumns = field(default_factory=dict)
    word_column: int = 0

    @classmethod
    def text(cls, path: PathLike) -> CorpusSource:
        """Running text, a sentence a line."""
        return cls(corpora_pb2.CORPUS_FORMAT_TEXT, (_file(path),))

    @classmethod
    def lines(
        cls,
        words: PathLike,
        *,
        labels: Mapping[str, PathLike] | None = None,
        sentence_labels: Mapping[str, PathLike] | None = None,
    ) -> CorpusSource:
        """Line-aligned files.

        Args:
            words: A sentence a line, words with single blanks between.
            labels: From layer to a file of labels, on each line one a word.
            sentence_labels: From layer to a file of labels, one a line.
        """
        of_words = [_file(path, layer, WORD) for layer, path in (labels or {}).items()]
        of_sentences = [_file(path, layer, SENTENCE) for layer, path in (sentence_labels or {}).items()]
        return cls(corpora_pb2.CORPUS_FORMAT_LINES, (_file(words), *of_words, *of_sentences))

    @classmethod
    def conllu(cls, path: PathLike, columns: WordColumns, *, word_column: int = 2) -> CorpusSource:
        """CoNLL-U; multi-word ranges and empty nodes are skipped.

        Args:
            path: The file.
            columns: From layer to column, from 1: {"upos": 4, "number": (6, "Number")}. 3 LEMMA, 4 UPOS, 5 XPOS,
                6 FEATS, 8 DEPREL, 10 MISC; FEATS and MISC can be taken by one of their keys.
            word_column: The column of words: FORM.
        """
        return cls(corpora_pb2.CORPUS_FORMAT_CONLLU, (_file(path),), columns, word_column)

    @classmethod
    def tsv(cls, path: PathLike, columns: WordColumns, *, word_column: int = 1) -> CorpusSource:
        """A word a line with its labels in tab-separated columns, an empty line after each sentence.

        Args:
            path: The file.
            columns: From layer to column, from 1: {"ner": 2}.
            word_column: The column of words.
        """
        return cls(corpora_pb2.CORPUS_FORMAT_TSV, (_file(path),), columns, word_column)

    @classmethod
    def jsonl(cls, path: PathLike) -> CorpusSource:
        """A JSON object a line: {"words": […]}, {"text": "…"} or {"text": "…", "second": "…"}, with
        {"labels": {layer: […]}} for words and {"sentence_labels": {layer: "…"}} for sentences."""
        return cls(corpora_pb2.CORPUS_FORMAT_JSONL, (_file(path),))

    @classmethod
    def sentences(
        cls,
        sentences: Iterable[SentenceLike],
        *,
        labels: Mapping[str, Iterable[Sequence[Label]]] | None = None,
        sentence_labels: Mapping[str, Iterable[Label]] | None = None,
    ) -> CorpusSource:
        """Sentences in Python.

        Args:
            sentences: All of them texts, all lists of words, or all `Pair`s.
            labels: From layer to a list of labels for each sentence, one a word.
            sentence_labels: From layer to one label for each sentence.
        """
        return _made(labelled(sentences, labels or {}, sentence_labels or {}))

    @classmethod
    def from_pandas(
        cls,
        frame: pandas.DataFrame,
        *,
        text: str = "",
        words: str = "",
        pair: tuple[str, str] | None = None,
        sentence: str = "",
        labels: LabelColumns = (),
        sentence_labels: LabelColumns = (),
    ) -> CorpusSource:
        """A data frame with a row a sentence; or, with `sentence`, a row a word.

        Args:
            frame: The data frame.
            text: The column of texts.
            words: The column of words: lists of them; with `sentence`, single words.
            pair: The two columns of pairs of texts.
            sentence: The column that tells sentences apart, where a row is a word: equal in the rows of a sentence.
            labels: Columns that label words, or from layer to column.
            sentence_labels: Columns that label sentences, or from layer to column.
        """
        return _made(frame_rows(frame, TableColumns(text, words, pair, labels, sentence_labels), sentence))

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        *,
        text: str = "",
        words: str = "",
        pair: tuple[str, str] | None = None,
        labels: LabelColumns = (),
        sentence_labels: LabelColumns = (),
    ) -> CorpusSource:
        """A data set of Hugging Face's `datasets`; classes that are numbers get their names.

        Args:
            dataset: The data set; an `IterableDataset` too.
            text: The column of texts.
            words: The column of words, lists of them.
            pair: The two columns of pairs of texts.
            labels: Columns that label words, or from layer to column.
            sentence_labels: Columns that label sentences, or from layer to column.
        """
        return _made(dataset_rows(dataset, TableColumns(text, words, pair, labels, sentence_labels)))


def _file(
    path: PathLike, layer: str = "", level: corpora_pb2.LabelLevel.ValueType = corpora_pb2.LABEL_LEVEL_UNSPECIFIED
) -> SourceFile:
    return SourceFile(Path(path).name, Path(path), layer, level)


def _made(rows: Iterator[Row]) -> CorpusSource:
    return CorpusSource(corpora_pb2.CORPUS_FORMAT_JSONL, (SourceFile("sentences", json_lines(rows)),))
