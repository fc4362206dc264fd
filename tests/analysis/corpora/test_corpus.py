"""Corpora on disk: canonical, whole or not there, read from anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.corpora.corpus import Content, Corpus, Level, Sentence, write_corpus
from patchclamp_analysis.errors import BadData

from tests.analysis.sentence_strategies import corpora, temporary_directory

TWO = (
    Sentence(("Neurons", "fire"), labels={"pos": ("NOUN", "VERB")}, sentence_labels={"mood": "calm"}),
    Sentence(("naïve", "…"), labels={"pos": ("ADJ", "")}, sentence_labels={"mood": ""}),
)


def lines(directory: Path) -> list[str]:
    return (directory / "sentences.jsonl").read_text().splitlines()


def test_summary(tmp_path: Path) -> None:
    summary = write_corpus(TWO, tmp_path / "two").summary
    assert (summary.content, summary.sentences, summary.words) == (Content.WORDS, 2, 4)
    mood, pos = summary.layers
    assert (mood.name, mood.level, dict(mood.counts), mood.unlabelled) == ("mood", Level.SENTENCE, {"calm": 1}, 1)
    assert (pos.name, pos.level, pos.unlabelled) == ("pos", Level.WORD, 1)
    assert list(pos.counts.items()) == [("ADJ", 1), ("NOUN", 1), ("VERB", 1)]


def test_the_canonical_form(tmp_path: Path) -> None:
    summary = write_corpus(TWO, tmp_path / "two").summary
    assert lines(tmp_path / "two") == [
        '{"labels":{"pos":["NOUN","VERB"]},"sentence_labels":{"mood":"calm"},"words":["Neurons","fire"]}',
        '{"labels":{"pos":["ADJ",""]},"words":["naïve","…"]}',
    ]
    data = (tmp_path / "two" / "sentences.jsonl").read_bytes()
    assert summary.digest == hashlib.sha256(data).hexdigest()
    assert summary.size_bytes == len(data)


def test_equal_sentences_have_equal_digests(tmp_path: Path) -> None:
    """However their labels are ordered, and whether what is unlabelled is written out or left out."""
    turned = [
        Sentence(("a",), labels={"x": ("1",), "y": ("2",)}),
        Sentence(("b",), labels={"x": ("",), "y": ("2",)}),
    ]
    written = [Sentence(("a",), labels={"y": ("2",), "x": ("1",)}), Sentence(("b",), labels={"y": ("2",)})]
    first, second = (write_corpus(each, tmp_path / str(i)) for i, each in enumerate((turned, written)))
    assert first.summary.digest == second.summary.digest
    assert list(first) == list(second) == turned


@settings(max_examples=50)
@given(corpora())
def test_what_is_written_is_read(sentences: list[Sentence]) -> None:
    with temporary_directory() as directory:
        corpus = write_corpus(sentences, directory / "corpus")
        assert list(corpus) == sentences
        assert Corpus.open(directory / "corpus").summary == corpus.summary
        again = write_corpus(corpus, directory / "again")
        assert again.summary == corpus.summary


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Long enough for several entries of the index."""
    sentences = (Sentence((str(i),) * (i % 7 + 1)) for i in range(3000))
    return write_corpus(sentences, tmp_path_factory.mktemp("long") / "corpus")


@given(start=st.integers(-3100, 3100), stop=st.none() | st.integers(-3100, 3100))
def test_slices(long: Corpus, start: int, stop: int | None) -> None:
    expected = [str(i) for i in range(3000)][start:stop]
    assert [sentence.words[0] for sentence in long.sentences(start, stop)] == expected


def test_a_slice_reads_no_more_than_the_block_before_it(long: Corpus, tmp_path: Path) -> None:
    """What lies further ahead may be broken, and nobody sees it."""
    directory = tmp_path / "corpus"
    directory.mkdir()
    source = Path(long.directory)
    (directory / "summary.json").write_bytes((source / "summary.json").read_bytes())
    data = (source / "sentences.jsonl").read_bytes()
    start = json.loads((source / "summary.json").read_text())["offsets"][2]
    (directory / "sentences.jsonl").write_bytes(b"x" * start + data[start:])
    assert next(Corpus.open(directory).sentences(2500)).words[0] == "2500"


@pytest.mark.parametrize(
    ("sentences", "message", "where"),
    [
        ([], "there are no sentences", ""),
        ([Sentence()], "has neither words nor a text", "sentence 0"),
        ([TWO[0], Sentence(text="a")], "is made of text, those before of words", "sentence 1"),
        ([Sentence(text="a"), Sentence(text="a", second="b")], "is made of pairs, those before of text", "sentence 1"),
        ([Sentence(("a",), text="a")], "has words and a text; it should have one of them", "sentence 0"),
        ([Sentence(("a",), labels={"x": ("1", "2")})], "2 labels of the layer x for 1 words", "sentence 0"),
        ([Sentence(text="a", labels={"x": ("1",)})], "1 labels of the layer x for 0 words", "sentence 0"),
        (
            [Sentence(("a",), labels={"x": ("1",)}), Sentence(("a",), sentence_labels={"x": "1"})],
            "the layer x labels words here and sentences elsewhere; give them different names",
            "sentence 1",
        ),
        ([Sentence(("a", ""))], "the word is empty (word 1)", "sentence 0"),
        ([Sentence(("a", "\u00a0"))], "the word '\\xa0' is blank (word 1)", "sentence 0"),
        ([Sentence(("a\tb",))], "the word 'a\\tb' contains a tab (word 0)", "sentence 0"),
        ([Sentence(("a\0",))], "the word 'a\\x00' contains a NUL character (word 0)", "sentence 0"),
        ([Sentence(("\ud800",))], "the word '\\ud800' contains half of a surrogate pair (word 0)", "sentence 0"),
        ([Sentence(text=" \n")], "the text ' \\n' is blank", "sentence 0"),
        ([Sentence(text="a", second="\0")], "the text '\\x00' contains a NUL character", "sentence 0"),
        ([Sentence(("a",), labels={"x": (" ",)})], "the label ' ' is blank (layer x)", "sentence 0"),
        ([Sentence(("a",), labels={"x": ("a\n",)})], "the label 'a\\n' contains a line feed (layer x)", "sentence 0"),
        (
            [Sentence(("a",), sentence_labels={"x": "y" * 257})],
            f"the label '{'y' * 40}'… has 257 characters; 256 is the most (layer x)",
            "sentence 0",
        ),
        (
            [Sentence(("a",), labels={"a/b": ("",)})],
            "'a/b' is no name of a layer: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', and not only dots",
            "sentence 0",
        ),
        (
            [Sentence(("a",), labels={f"x{i}": ("",) for i in range(65)})],
            "the layer x64 is one too many: a corpus has 64 at most",
            "sentence 0",
        ),
    ],
)
def test_what_is_no_corpus(sentences: list[Sentence], message: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(BadData) as caught:
        write_corpus(sentences, tmp_path / "corpus")
    assert (caught.value.message, caught.value.where) == (message, where)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layer", ["", ".", "..", "a b", "ä", "x" * 65])
def test_names_of_layers_that_are_none(layer: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="is no name of a layer"):
        write_corpus([Sentence(("a",), labels={layer: ("1",)})], tmp_path / "corpus")


@pytest.mark.parametrize("layer", ["a", "_", "-", ".a", "UPOS.v2", "x" * 64])
def test_names_of_layers(layer: str, tmp_path: Path) -> None:
    corpus = write_corpus([Sentence(("a",), labels={layer: ("1",)})], tmp_path / "corpus")
    assert corpus.summary.layers[0].name == layer


def test_a_word_may_have_any_character_that_separates_nothing(tmp_path: Path) -> None:
    words = ("10\u00a0000", "a\u2028b", "e\u0301", "\u200b", "👩‍👩‍👧", "שלום", "\ufeff", "\x1f-", '"\\')
    assert next(iter(write_corpus([Sentence(words)], tmp_path / "corpus"))).words == words


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def sentences() -> Iterator[Sentence]:
        yield from TWO
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_corpus(sentences(), tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    corpus = write_corpus(TWO, tmp_path / "corpus")
    with pytest.raises(FileExistsError):
        write_corpus(TWO[:1], tmp_path / "corpus")
    assert list(corpus) == list(TWO)


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("sentences.jsonl", b"", "corpus: sentences.jsonl has 0 bytes instead of"),
        ("summary.json", b"{", "there is no corpus in corpus"),
        ("summary.json", b'{"format": 2}', "corpus: is of format 2; this version reads 1"),
    ],
)
def test_a_damaged_corpus_is_not_opened(file: str, data: bytes, message: str, tmp_path: Path) -> None:
    write_corpus(TWO, tmp_path / "corpus")
    (tmp_path / "corpus" / file).write_bytes(data)
    with pytest.raises(BadData, match=message):
        Corpus.open(tmp_path / "corpus")


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="there is no corpus in absent"):
        Corpus.open(tmp_path / "absent")
