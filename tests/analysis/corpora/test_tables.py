"""Sentences from pandas' and Hugging Face's tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Sequence as ListOf
from patchclamp_analysis.corpora.corpus import Sentence
from patchclamp_analysis.corpora.tables import TableColumns, from_dataframe, from_dataset, from_token_dataframe
from patchclamp_analysis.errors import BadData

WORDS = TableColumns(words="w", labels={"pos": "p"})


def test_a_sentence_a_row() -> None:
    frame = pd.DataFrame({"w": [["a", "b"], ["c"]], "p": [["X", None], ["O"]], "m": [1, 0], "other": [None, None]})
    columns = TableColumns(words="w", labels={"pos": "p"}, sentence_labels={"mood": "m"})
    assert list(from_dataframe(frame, columns, no_label="O")) == [
        Sentence(("a", "b"), labels={"pos": ("X", "")}, sentence_labels={"mood": "1"}),
        Sentence(("c",), labels={"pos": ("",)}, sentence_labels={"mood": "0"}),
    ]


def test_texts_and_pairs() -> None:
    frame = pd.DataFrame({"a": ["one", "two"], "b": ["three", "four"], "m": ["x", np.nan]})
    texts = TableColumns(text="a", sentence_labels={"mood": "m"})
    assert list(from_dataframe(frame, texts)) == [
        Sentence(text="one", sentence_labels={"mood": "x"}),
        Sentence(text="two", sentence_labels={"mood": ""}),
    ]
    pairs = list(from_dataframe(frame, TableColumns(text="a", second="b")))
    assert pairs == [Sentence(text="one", second="three"), Sentence(text="two", second="four")]


def test_what_came_from_a_file_has_arrays_for_lists(tmp_path: Path) -> None:
    pd.DataFrame({"w": [["a", "b"]], "p": [["X", "Y"]]}).to_parquet(tmp_path / "frame.parquet")
    frame = pd.read_parquet(tmp_path / "frame.parquet")
    assert list(from_dataframe(frame, WORDS)) == [Sentence(("a", "b"), labels={"pos": ("X", "Y")})]


@pytest.mark.parametrize("kind", ["object", "category", "string"])
def test_a_word_a_row(kind: str) -> None:
    frame = pd.DataFrame(
        {
            "s": [7, 7, 3, 3, 3],
            "w": pd.Series(["a", "b", "c", "d", "e"], dtype=kind),
            "p": pd.Series(["X", "Y", None, "X", "X"], dtype=kind),
            "m": pd.array([1, 1, None, None, None], dtype="Int64"),
        }
    )
    columns = TableColumns(words="w", labels={"pos": "p"}, sentence_labels={"mood": "m"})
    assert list(from_token_dataframe(frame, columns, sentence="s")) == [
        Sentence(("a", "b"), labels={"pos": ("X", "Y")}, sentence_labels={"mood": "1"}),
        Sentence(("c", "d", "e"), labels={"pos": ("", "X", "X")}, sentence_labels={"mood": ""}),
    ]


def dataset() -> Dataset:
    features = Features(
        {
            "tokens": ListOf(Value("string")),
            "pos": ListOf(ClassLabel(names=["NOUN", "VERB"])),
            "mood": ClassLabel(names=["calm", "angry"]),
            "id": Value("int32"),
        }
    )
    rows = {"tokens": [["a", "b"], ["c"]], "pos": [[0, 1], [-1]], "mood": [1, 0], "id": [5, 6]}
    return Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_dataset(streamed: bool) -> None:
    found = dataset().to_iterable_dataset() if streamed else dataset()
    columns = TableColumns(words="tokens", labels={"pos": "pos"}, sentence_labels={"mood": "mood", "number": "id"})
    assert list(from_dataset(found, columns)) == [
        Sentence(("a", "b"), labels={"pos": ("NOUN", "VERB")}, sentence_labels={"mood": "angry", "number": "5"}),
        Sentence(("c",), labels={"pos": ("",)}, sentence_labels={"mood": "calm", "number": "6"}),
    ]


def test_several_datasets_are_not_one() -> None:
    with pytest.raises(BadData, match="choose a split"):
        list(from_dataset(DatasetDict({"train": dataset()}), TableColumns(words="tokens")))


@pytest.mark.parametrize(
    ("rows", "message", "where"),
    [
        ({"w": [["a"], "b c"], "p": [["X"], ["X"]]}, "'b c' (str) is no list", "row 1, column w"),
        ({"w": [["a"], None], "p": [["X"], ["X"]]}, "'None' (NoneType) is no list", "row 1, column w"),
        ({"w": [["a"], []], "p": [["X"], []]}, "there are no words", "row 1, column w"),
        ({"w": [["a", 1]], "p": [["X", "X"]]}, "'1' (int) is no string", "row 0, column w[1]"),
        ({"w": [["a", "b c"]], "p": [["X", "X"]]}, "the word 'b c' contains a blank", "row 0, column w[1]"),
        ({"w": [["a", "b"]], "p": [["X"]]}, "1 labels for 2 words", "row 0, column p"),
        (
            {"w": [["a"]], "p": [[1.0]]},
            "'1.0' (float) is no label: give strings or whole numbers",
            "row 0, column p[0]",
        ),
        (
            {"w": [["a"]], "p": [[True]]},
            "'True' (bool) is no label: give strings or whole numbers",
            "row 0, column p[0]",
        ),
        ({"w": [["a"]], "p": [["\t"]]}, "the label '\\t' is blank", "row 0, column p[0]"),
    ],
)
def test_wrong_rows(rows: dict[str, list[object]], message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        list(from_dataframe(pd.DataFrame(rows), WORDS))
    assert (caught.value.message, caught.value.where) == (message, where)


@pytest.mark.parametrize(
    ("rows", "message", "where"),
    [
        ({"s": [1, 2, 1], "w": ["a", "b", "c"]}, "1 again, after another sentence", "row 2, column s"),
        ({"s": [1, None], "w": ["a", "b"]}, "is missing", "row 1, column s"),
        ({"s": [1, 2, 2], "w": ["a", "b", "c d"]}, "the word 'c d' contains a blank", "row 2, column w"),
        (
            {"s": [1, 2, 2], "w": ["a", "b", "c"], "m": ["x", "x", "y"]},
            "'y', but the rows of its sentence before have 'x'",
            "row 2, column m",
        ),
    ],
)
def test_wrong_rows_of_words(rows: dict[str, list[object]], message: str, where: str) -> None:
    columns = TableColumns(words="w", sentence_labels={"mood": "m"} if "m" in rows else {})
    with pytest.raises(BadData) as caught:
        list(from_token_dataframe(pd.DataFrame(rows), columns, sentence="s"))
    assert (caught.value.message, caught.value.where) == (message, where)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (TableColumns(), "name the column of the words or else that of the texts"),
        (TableColumns(words="w", text="t"), "name the column of the words or else that of the texts"),
        (TableColumns(words="x"), "there is no column 'x'; there are w, t"),
        (TableColumns(words="w", labels={"pos": "p"}), "there is no column 'p'; there are w, t"),
    ],
)
def test_wrong_columns(columns: TableColumns, message: str) -> None:
    with pytest.raises(BadData) as caught:
        list(from_dataframe(pd.DataFrame({"w": [["a"]], "t": ["a"]}), columns))
    assert caught.value.message == message


def test_neither_library_is_imported_for_it() -> None:
    program = "import sys, patchclamp_analysis.corpora.tables; print({'pandas', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
