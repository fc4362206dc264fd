"""Sentences in Python, data frames and data sets: the lines that are uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp import Client, CorpusSource, Pair
from patchclamp._uploads import Upload
from patchclamp.v1 import corpora_pb2

WORD_LISTS = [["a", "b"], ["c"]]


@pytest.mark.parametrize("source", ["x.txt", Path("x.txt"), ["a b"]])
def test_what_is_no_source_is_told_which_there_are(source: Any) -> None:
    said = rf"type {type(source).__name__}; .*CorpusSource\.text.*CorpusSource\.lines"
    with Client("localhost:1") as client, pytest.raises(TypeError, match=said):
        client.corpora.upload(source)


def lines(source: CorpusSource) -> list[dict[str, Any]]:
    """The objects that an upload of the source carries."""
    upload = Upload(source, corpus_id="", no_label="", request_id="")
    assert upload.header.format == corpora_pb2.CORPUS_FORMAT_JSONL
    data = b"".join(message.chunk.data for message in upload.messages())
    upload.close()
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


@pytest.mark.parametrize(
    ("sentences", "options", "wanted"),
    [
        (["a b", "c"], {}, [{"text": "a b"}, {"text": "c"}]),
        (WORD_LISTS, {}, [{"words": ["a", "b"]}, {"words": ["c"]}]),
        ([("a", "b"), np.array(["c"])], {}, [{"words": ["a", "b"]}, {"words": ["c"]}]),
        ([Pair("a", "b")], {}, [{"text": "a", "second": "b"}]),
        (
            WORD_LISTS,
            {"labels": {"upos": [["D", "N"], [None]], "number": [[1, 2], [np.int64(3)]]}},
            [
                {"words": ["a", "b"], "labels": {"upos": ["D", "N"], "number": ["1", "2"]}},
                {"words": ["c"], "labels": {"upos": [""], "number": ["3"]}},
            ],
        ),
        (
            ["a", "b"],
            {"sentence_labels": {"positive": [True, float("nan")]}},
            [
                {"text": "a", "sentence_labels": {"positive": "True"}},
                {"text": "b", "sentence_labels": {"positive": ""}},
            ],
        ),
    ],
)
def test_lists(sentences: Any, options: dict[str, Any], wanted: list[dict[str, Any]]) -> None:
    assert lines(CorpusSource.sentences(sentences, **options)) == wanted


@pytest.mark.parametrize(
    ("sentences", "options", "says"),
    [
        ([7], {}, "sentence 1: 7 is no text, no list of words and no Pair"),
        (["a", ["b", 7]], {}, "sentence 2: "),
        ([Pair("a", None)], {}, "sentence 1: "),  # type: ignore[arg-type]
        ([{"a": 1}], {}, "sentence 1: "),
        (WORD_LISTS, {"labels": {"upos": [["D", "N"]]}}, "layer 'upos': there are 1 entries, and more elsewhere"),
        (["a"], {"sentence_labels": {"s": ["x", "y"]}}, "sentences: there are 1 entries, and more elsewhere"),
        (WORD_LISTS, {"labels": {"upos": ["DN", "N"]}}, "sentence 1: 'DN' is no list of labels"),
        (WORD_LISTS, {"labels": {"upos": [["D", {}], ["N"]]}}, "sentence 1: {} is no label"),
        (["a"], {"sentence_labels": {"s": [0.5]}}, "sentence 1: 0.5 is no label"),
    ],
)
def test_what_is_no_sentence_or_label_is_said(sentences: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="^" + says):
        lines(CorpusSource.sentences(sentences, **options))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.lists(TEXTS) | TEXTS | st.builds(Pair, TEXTS, TEXTS)))
def test_every_text_survives(sentences: list[Any]) -> None:
    found = [
        Pair(line["text"], line["second"]) if "second" in line else line.get("text", line.get("words"))
        for line in lines(CorpusSource.sentences(sentences))
    ]
    assert found == sentences


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        lines(CorpusSource.sentences(["\ud800"]))


FRAME = pd.DataFrame(
    {
        "tokens": WORD_LISTS,
        "tags": [["D", "N"], np.array(["N"])],
        "text": ["a b", "c"],
        "other": ["x", "y"],
        "label": [1.0, float("nan")],
        "kind": pd.array(["p", None], "string"),
    }
)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            {"words": "tokens", "labels": ["tags"]},
            [
                {"words": ["a", "b"], "labels": {"tags": ["D", "N"]}},
                {"words": ["c"], "labels": {"tags": ["N"]}},
            ],
        ),
        (
            {"text": "text", "sentence_labels": {"y": "label", "kind": "kind"}},
            [
                {"text": "a b", "sentence_labels": {"y": "1", "kind": "p"}},
                {"text": "c", "sentence_labels": {"y": "", "kind": ""}},
            ],
        ),
        ({"pair": ("text", "other")}, [{"text": "a b", "second": "x"}, {"text": "c", "second": "y"}]),
    ],
)
def test_a_data_frame_with_a_row_a_sentence(options: dict[str, Any], wanted: list[dict[str, Any]]) -> None:
    assert lines(CorpusSource.from_pandas(FRAME, **options)) == wanted


def test_a_data_frame_with_a_row_a_word() -> None:
    frame = pd.DataFrame(
        {
            "id": [4, 4, 2, 4],
            "word": ["a", "b", "c", "d"],
            "tag": ["D", None, "N", "V"],
            "genre": ["news", "news", "blog", "news"],
        }
    )
    source = CorpusSource.from_pandas(frame, words="word", sentence="id", labels=["tag"], sentence_labels=["genre"])
    assert lines(source) == [
        {"words": ["a", "b"], "labels": {"tag": ["D", ""]}, "sentence_labels": {"genre": "news"}},
        {"words": ["c"], "labels": {"tag": ["N"]}, "sentence_labels": {"genre": "blog"}},
        {"words": ["d"], "labels": {"tag": ["V"]}, "sentence_labels": {"genre": "news"}},
    ]


def test_words_of_a_sentence_share_its_label() -> None:
    frame = pd.DataFrame({"id": [1, 1], "word": ["a", "b"], "genre": ["x", "y"]})
    with pytest.raises(ValueError, match="id 1: its words differ in column 'genre'"):
        lines(CorpusSource.from_pandas(frame, words="word", sentence="id", sentence_labels=["genre"]))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, ValueError, "exactly one of text, words and pair"),
        ({"text": "text", "words": "tokens"}, ValueError, "exactly one of text, words and pair"),
        ({"text": "texts"}, ValueError, "there is no column 'texts'; there are tokens, tags, text"),
        ({"text": "label"}, ValueError, "row 0: 1.0 is no text"),
        ({"pair": ("text", "label")}, ValueError, "row 0: "),
        ({"words": "tokens", "labels": ["text"]}, ValueError, "row 0, column 'text': 'a b' is no list of labels"),
        ({"words": "tokens", "labels": "tags"}, TypeError, r"give a list: \['tags'\]"),
    ],
)
def test_columns_that_do_not_fit_are_said(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        lines(CorpusSource.from_pandas(FRAME, **options))


DATA = {"tokens": WORD_LISTS, "tags": [[1, 0], [-1]], "positive": [1, 0], "text": ["a b", "c"]}
FEATURES = datasets.Features(
    {
        "tokens": datasets.List(datasets.Value("string")),
        "tags": datasets.List(datasets.ClassLabel(names=["D", "N"])),
        "positive": datasets.ClassLabel(names=["no", "yes"]),
        "text": datasets.Value("string"),
    }
)
NAMED = [
    {"words": ["a", "b"], "labels": {"upos": ["N", "D"]}, "sentence_labels": {"positive": "yes"}},
    {"words": ["c"], "labels": {"upos": [""]}, "sentence_labels": {"positive": "no"}},
]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_data_set_has_names_of_classes(streamed: bool) -> None:
    dataset = datasets.Dataset.from_dict(DATA, features=FEATURES)
    source = CorpusSource.from_dataset(
        dataset.to_iterable_dataset() if streamed else dataset,
        words="tokens",
        labels={"upos": "tags"},
        sentence_labels=["positive"],
    )
    assert lines(source) == NAMED


def test_a_data_set_without_types_has_numbers() -> None:
    dataset = datasets.Dataset.from_dict(DATA)
    source = CorpusSource.from_dataset(dataset, text="text", sentence_labels=["positive"])
    assert [line["sentence_labels"]["positive"] for line in lines(source)] == ["1", "0"]


def test_a_number_without_a_class_is_said() -> None:
    class Rows(list[dict[str, object]]):
        features = FEATURES

    rows = Rows([{"text": "a", "positive": 2}])
    with pytest.raises(ValueError, match="row 0, column 'positive': there is no class 2; there are 2, from 0"):
        lines(CorpusSource.from_dataset(rows, text="text", sentence_labels=["positive"]))


def test_a_column_that_a_data_set_lacks_is_said() -> None:
    dataset = datasets.Dataset.from_dict(DATA, features=FEATURES)
    with pytest.raises(ValueError, match="there is no column 'txt'"):
        lines(CorpusSource.from_dataset(dataset, text="txt"))


def test_nothing_is_read_before_the_upload() -> None:
    source = CorpusSource.sentences(iter([7]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sentence 1"):
        lines(source)
