"""Every format is read as it was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.corpora.corpus import Level, Sentence, write_corpus
from patchclamp_analysis.corpora.files import Column, CorpusFiles, Format, Source

from tests.analysis.corpora.reading import CONLLU, JSON, LINES, TEXT, TSV, marked, read, read_lines, source
from tests.analysis.sentence_strategies import corpora, labels, temporary_directory

UD = Path(__file__).parents[4] / "shared" / "data" / "ud-ewt"


@pytest.mark.skipif(not UD.is_dir(), reason="needs ../shared/data, which a clone has not")
def test_all_of_ud_ewt(tmp_path: Path) -> None:
    sources = [Source.at(UD / "dev.words"), Source.at(UD / "dev.upos", "upos"), Source.at(UD / "dev.xpos", "xpos")]
    corpus = write_corpus(CorpusFiles(LINES, sources).read(), tmp_path / "dev")
    assert (corpus.summary.sentences, corpus.summary.words) == (2001, 25147)
    assert [sum(layer.counts.values()) for layer in corpus.summary.layers] == [25147, 25147]
    assert len(corpus.summary.layers[0].counts) == 17
    assert next(iter(corpus)).words == ("From", "the", "AP", "comes", "this", "story", ":")


def test_lines() -> None:
    found = read_lines(
        source("w", "Neurons fire\nagain\n"),
        source("pos", "NOUN _\nADV\n", "pos"),
        source("mood", "very calm\n\n", "mood", Level.SENTENCE),
        no_label="_",
    )
    assert found == [
        Sentence(("Neurons", "fire"), labels={"pos": ("NOUN", "")}, sentence_labels={"mood": "very calm"}),
        Sentence(("again",), labels={"pos": ("ADV",)}, sentence_labels={"mood": ""}),
    ]


@pytest.mark.parametrize("data", [b"a b\nc", b"a b\r\nc\r\n", b"\xef\xbb\xbfa b\nc\n", b"a b\r\nc\n"])
def test_line_ends_and_byte_order_marks(data: bytes) -> None:
    assert [sentence.words for sentence in read(LINES, data)] == [("a", "b"), ("c",)]
    assert [sentence.text for sentence in read(TEXT, data)] == ["a b", "c"]


def test_only_blanks_separate_words() -> None:
    assert read(LINES, "10\u00a0000 e\u0301\u2028x\n")[0].words == ("10\u00a0000", "e\u0301\u2028x")


CONLLU_TEXT = """# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\tv\tMood=Imp|Number=Plur\t0\troot\t_\tSpaceAfter=No
2\tnos\tnosotros\tPRON\tp\tNumber=Plur\t1\tobj\t_\t_
2.1\tvacío\t_\t_\t_\t_\t_\t_\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\te\t_\t5\tcase\t_\t_
4\tel\tel\tDET\td\tDefinite=Def\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\tn\tNumber=Sing\t1\tobl\t_\tSpaceAfter=No|Gloss=sea

# no text
1\tSí\tsí\tINTJ\t_\t_\t0\troot\t_\t_
"""


def test_conllu() -> None:
    columns = [
        Column(4, "upos"),
        Column(5, "xpos"),
        Column(6, "number", "Number"),
        Column(8, "deprel"),
        Column(10, "gloss", "Gloss"),
    ]
    first, second = read(CONLLU, CONLLU_TEXT, *columns, no_label="_")
    assert first.words == ("vamos", "nos", "a", "el", "mar")
    assert first.labels == {
        "upos": ("VERB", "PRON", "ADP", "DET", "NOUN"),
        "xpos": ("v", "p", "e", "d", "n"),
        "number": ("Plur", "Plur", "", "", "Sing"),
        "deprel": ("root", "obj", "case", "det", "obl"),
        "gloss": ("", "", "", "", "sea"),
    }
    assert second == Sentence(
        ("Sí",), labels={"upos": ("INTJ",), "xpos": ("",), "number": ("",), "deprel": ("root",), "gloss": ("",)}
    )


def test_another_column_may_hold_the_words() -> None:
    assert read(CONLLU, CONLLU_TEXT, word_column=3)[0].words == ("ir", "nosotros", "a", "el", "mar")
    assert read(TSV, "NOUN\tsea\n", Column(1, "pos"), word_column=2) == [Sentence(("sea",), labels={"pos": ("NOUN",)})]


def test_words_of_conllu_may_contain_blanks() -> None:
    row = "1\t10 000\t_\tNUM\t_\t_\t0\troot\t_\t_\n"
    assert read(CONLLU, row, Column(4, "upos")) == [Sentence(("10 000",), labels={"upos": ("NUM",)})]


def test_tsv() -> None:
    found = read(TSV, "EU\tB-ORG\t\nrejects\tO\tx\n\nPeter\tB-PER\ty y", Column(2, "ner"), Column(3, "z"), no_label="O")
    assert found == [
        Sentence(("EU", "rejects"), labels={"ner": ("B-ORG", ""), "z": ("", "x")}),
        Sentence(("Peter",), labels={"ner": ("B-PER",), "z": ("y y",)}),
    ]


def test_json_lines() -> None:
    data = '{"words": ["a", "b"], "labels": {"x": ["1", ""]}}\n{"sentence_labels": {"y": "O"}, "words": ["\\u00e9"]}\n'
    assert read(JSON, data, no_label="O") == [
        Sentence(("a", "b"), labels={"x": ("1", "")}),
        Sentence(("é",), sentence_labels={"y": ""}),
    ]
    assert read(JSON, '{"text": "a\\nb", "second": "c"}') == [Sentence(text="a\nb", second="c")]


def test_text_with_labels() -> None:
    files = [source("t", "a b\n c\td\n"), source("y", "good\nbad\n", "mood")]
    assert list(CorpusFiles(TEXT, files).read()) == [
        Sentence(text="a b", sentence_labels={"mood": "good"}),
        Sentence(text=" c\td", sentence_labels={"mood": "bad"}),
    ]


@pytest.mark.parametrize("form", [CONLLU, TSV, JSON, TEXT])
def test_several_files_follow_one_another(form: Format) -> None:
    data = {
        CONLLU: CONLLU_TEXT,
        TSV: "a\nb\n\nc",
        JSON: '{"words": ["a"]}\n{"words": ["b"]}',
        TEXT: "a\nb",
    }[form]
    together = list(CorpusFiles(form, [source("f", data), source("g", data)]).read())
    assert together == read(form, data) * 2
    assert len(together) == 4


def test_paths_are_opened_and_closed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    assert list(CorpusFiles(TEXT, [Source.at(tmp_path / "a.txt")]).read()) == [Sentence(text="one")]


def written_as_tsv(sentences: Sequence[Sentence]) -> str:
    return "\n".join(
        "".join("\t".join(row) + "\n" for row in zip(s.words, s.labels["ner"], s.labels["pos"], strict=True))
        for s in sentences
    )


def written_as_conllu(sentences: Sequence[Sentence]) -> str:
    def row(i: int, word: str, ner: str, pos: str) -> str:
        return f"{i}\t{word}\t_\t{pos}\t_\t_\t_\t_\t_\tX=1|{f'Ner={ner}' if ner else ''}\n"

    return "\n".join(
        "# text = …\n" + "".join(map(row, range(1, 99), s.words, s.labels["ner"], s.labels["pos"])) for s in sentences
    )


def without_sentence_labels(sentences: Sequence[Sentence]) -> list[Sentence]:
    return [Sentence(sentence.words, labels=sentence.labels) for sentence in sentences]


@given(corpora(content="words", label=labels.filter(bool)), st.sampled_from(["\n", "\r\n"]))
def test_round_trip_lines(sentences: list[Sentence], end: str) -> None:
    def file(name: str, rows: list[str], level: Level | None = None) -> Source:
        return source(name, marked("".join(row + end for row in rows)), "" if name == "w" else name, level)

    layers = [file(name, [" ".join(s.labels[name]) for s in sentences]) for name in ("ner", "pos")]
    mood = file("mood", [s.sentence_labels["mood"] for s in sentences], Level.SENTENCE)
    assert read_lines(file("w", [" ".join(s.words) for s in sentences]), *layers, mood) == sentences


@given(corpora(content="words"))
def test_round_trip_tsv(sentences: list[Sentence]) -> None:
    found = read(TSV, marked(written_as_tsv(sentences)), Column(2, "ner"), Column(3, "pos"))
    assert found == without_sentence_labels(sentences)


@given(corpora(content="words", label=labels.filter(lambda label: "|" not in label)))
def test_round_trip_conllu(sentences: list[Sentence]) -> None:
    found = read(CONLLU, written_as_conllu(sentences), Column(10, "ner", "Ner"), Column(4, "pos"))
    assert found == without_sentence_labels(sentences)


@given(corpora(), st.booleans())
def test_round_trip_json_lines(sentences: list[Sentence], escaped: bool) -> None:
    def written(sentence: Sentence) -> str:
        parts = {name: getattr(sentence, name) for name in ("words", "text", "second", "labels", "sentence_labels")}
        return json.dumps({name: part for name, part in parts.items() if part}, ensure_ascii=escaped) + "\n"

    assert read(JSON, "".join(map(written, sentences))) == sentences


@given(corpora(content="text"))
def test_round_trip_text(sentences: list[Sentence]) -> None:
    files = [
        source("t", marked("".join(f"{s.text}\n" for s in sentences))),
        source("mood", marked("".join(f"{s.sentence_labels['mood']}\n" for s in sentences)), "mood"),
    ]
    assert list(CorpusFiles(TEXT, files).read()) == sentences


@settings(max_examples=30)
@given(corpora(content="words"))
def test_a_written_corpus_can_be_read_as_json_lines(sentences: list[Sentence]) -> None:
    """The canonical form is that format."""
    with temporary_directory() as directory:
        corpus = write_corpus(sentences, directory / "one")
        again = CorpusFiles(JSON, [Source.at(directory / "one" / "sentences.jsonl")]).read()
        assert write_corpus(again, directory / "two").summary.digest == corpus.summary.digest
