"""What is wrong in a file of a corpus is refused with file, line and column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.corpora.corpus import Content, Level
from patchclamp_analysis.corpora.files import Column, CorpusFiles, Format
from patchclamp_analysis.corpora.sources import LayerLabels
from patchclamp_analysis.errors import BadData

from tests.analysis.corpora.reading import CONLLU, JSON, LINES, TEXT, TSV, read, read_lines, source

SHORT = "the file ends before this line, w does not"


@pytest.mark.parametrize(
    ("words", "message", "where"),
    [
        (b"a\n\n", "the line is empty", "w, line 2, column 1"),
        (b"a  b\n", "a blank too many: single blanks separate words", "w, line 1, column 2"),
        (b" a\n", "a blank too many: single blanks separate words", "w, line 1, column 1"),
        (b"a b \n", "a blank too many: single blanks separate words", "w, line 1, column 4"),
        (b"\xc3\xa9 b\tc\n", "the word 'b\\tc' contains a tab", "w, line 1, column 3"),
        (b"a\nb\rc\n", "the word 'b\\rc' contains a carriage return", "w, line 2, column 1"),
        (b"a \xc2\xa0 b\n", "the word '\\xa0' is blank", "w, line 1, column 3"),
        (b"a\nb\0\n", "a NUL character", "w, line 2, column 2"),
        (b"a\n\xc3\xa9\xff\n", "is not UTF-8: 0xff (invalid start byte)", "w, line 2, column 2"),
        (b"a\n\xc3", "is not UTF-8: 0xc3 (unexpected end of data)", "w, line 2, column 1"),
        (b"\xed\xa0\x80\n", "is not UTF-8: 0xed (invalid continuation byte)", "w, line 1, column 1"),
        (b"\xff\xfea\0", "is not UTF-8: 0xff (invalid start byte)", "w, line 1, column 1"),
        (b"a\n" + b"b" * ((1 << 20) + 1), "the line has more than 1048576 bytes", "w, line 2"),
        (b"b" * ((1 << 20) + 1) + b"\n", "the line has more than 1048576 bytes", "w, line 1"),
    ],
)
def test_wrong_lines_of_words(words: bytes, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        read_lines(source("w", words))
    assert (caught.value.message, caught.value.where) == (message, where)


def test_the_longest_line() -> None:
    assert read(LINES, b"b" * (1 << 20) + b"\r\n")[0].words == ("b" * (1 << 20),)


@pytest.mark.parametrize(
    ("labels", "level", "message", "where"),
    [
        ("X Y\nX\n", None, "1 label for 2 words", "l, line 2"),
        ("X Y\nX Y Z\n", None, "3 labels for 2 words", "l, line 2"),
        ("X Y\n", None, SHORT, "l, line 2"),
        ("X Y\nX Y\nX\n", None, "the file ends before this line, l does not", "w, line 3"),
        ("X Y\n\nX Y\n", None, "the line is empty", "l, line 2, column 1"),
        ("X Y\nX  Y\n", None, "a blank too many: single blanks separate words", "l, line 2, column 2"),
        (
            f"X Y\nX {'y' * 257}\n",
            None,
            f"the label '{'y' * 40}'… has 257 characters; 256 is the most",
            "l, line 2, column 3",
        ),
        ("X\n \n", Level.SENTENCE, "the label ' ' is blank", "l, line 2, column 1"),
        ("X\na\tb\n", Level.SENTENCE, "the label 'a\\tb' contains a tab", "l, line 2, column 1"),
        ("X\n", Level.SENTENCE, SHORT, "l, line 2"),
    ],
)
def test_wrong_lines_of_labels(labels: str, level: Level | None, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        read_lines(source("w", "a b\nc d\n"), source("l", labels, "x", level))
    assert (caught.value.message, caught.value.where) == (message, where)


@pytest.mark.parametrize(
    ("data", "message", "where"),
    [
        ("a\tX\nb\n", "1 column; the lines before have 2", "f, line 2, column 2"),
        ("a\tX\n\nb\tX\tY\n", "3 columns; the lines before have 2", "f, line 3, column 6"),
        ("a\nb\n", "1 column; column 2 is said to hold the layer x", "f, line 1, column 2"),
        ("a\tX\n\n\nb\tX\n", "an empty line that ends no sentence", "f, line 3"),
        ("\na\tX\n", "an empty line that ends no sentence", "f, line 1"),
        ("a\tX\n\tX\n", "the word is empty", "f, line 2, column 1"),
        ("a\tX\n \tX\n", "the word ' ' is blank", "f, line 2, column 1"),
        ("a b\tX\n", "the word 'a b' contains a blank", "f, line 1, column 1"),
        ("a\tX\nb\t \n", "the label ' ' is blank", "f, line 2, column 3"),
        ("a\tX\nb\0\tX\n", "a NUL character", "f, line 2, column 2"),
        (
            f"a\tX\n\n{'a' * 1000}\tX\n" * 1 + f"{'a' * 1000}\tX\n" * 1100,
            "the sentence has more than 1048576 characters; an empty line ends a sentence",
            "f, line 1049",
        ),
    ],
)
def test_wrong_tsv(data: str, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        read(TSV, data, Column(2, "x"))
    assert (caught.value.message, caught.value.where) == (message, where)


def test_tsv_without_the_column_of_words() -> None:
    with pytest.raises(BadData, match="f, line 1, column 2: 1 column; column 3 is said to hold the words"):
        read(TSV, "a\n", word_column=3)


REST = "\t_\t_\t_\t_\t_\t_\t_\t_"


@pytest.mark.parametrize(
    ("data", "message", "where"),
    [
        ("1\ta" + REST + "\n2\tb\n", "2 columns; CoNLL-U has 10, separated by tabs", "f, line 2, column 4"),
        ("1 a\n", "1 column; CoNLL-U has 10, separated by tabs", "f, line 1, column 4"),
        ("1\ta" + REST + "\n3\tb" + REST, "the id '3' where 2 comes next", "f, line 2, column 1"),
        ("# x\n1\ta" + REST + "\n1\tb" + REST, "the id '1' where 2 comes next", "f, line 3, column 1"),
        ("x\ta" + REST, "the id 'x' where 1 comes next", "f, line 1, column 1"),
        ("1\t" + REST, "the word is empty", "f, line 1, column 3"),
        ("# only\n\n1\ta" + REST, "a sentence without words", "f, line 1"),
        ("1-2\tab" + REST, "a sentence without words", "f, line 1"),
        ("1\ta" + REST + "\n\n\n", "an empty line that ends no sentence", "f, line 3"),
        ("1\ta\t_\t_\t_\tN=1|N=2\t_\t_\t_\t_", "the key 'N' twice", "f, line 1, column 11"),
    ],
)
def test_wrong_conllu(data: str, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        read(CONLLU, data, Column(6, "x", "N"))
    assert (caught.value.message, caught.value.where) == (message, where)


@pytest.mark.parametrize(
    ("line", "message", "where"),
    [
        ("", "the line is empty", ", column 1"),
        ("{", "is not JSON: Expecting property name enclosed in double quotes", ", column 2"),
        ('{"words": ["é" x]}', "is not JSON: Expecting ',' delimiter", ", column 16"),
        ('{"text": "a"} x', "is not JSON: Extra data", ", column 15"),
        ("[]", "a list instead of an object", ""),
        ("1", "a number instead of an object", ""),
        ("{}", "has neither words nor a text", ""),
        ('{"text": "a", "text": "b"}', "the key 'text' twice", ""),
        ('{"words": ["a"], "labels": {"x": ["1"], "x": ["2"]}}', "the key 'x' twice", ""),
        (
            '{"word": ["a"]}',
            "the key 'word' is unknown; there are words, text, second, labels, sentence_labels",
            "",
        ),
        ('{"words": "a b"}', "a string instead of a list of strings", ", words"),
        ('{"words": []}', "there are no words", ", words"),
        ('{"words": ["a", 1]}', "a number instead of a string", ", words[1]"),
        ('{"words": ["a", null]}', "null instead of a string", ", words[1]"),
        ('{"words": ["a", ""]}', "the word is empty", ", words[1]"),
        ('{"words": ["a b"]}', "the word 'a b' contains a blank", ", words[0]"),
        ('{"words": ["a", "\\u0000"]}', "the word '\\x00' contains a NUL character", ", words[1]"),
        ('{"words": ["\\ud800"]}', "the word '\\ud800' contains half of a surrogate pair", ", words[0]"),
        ('{"words": ["a"], "text": "a"}', "has words and a text; it should have one of them", ""),
        ('{"words": ["a"], "second": "a"}', "has words and a text; it should have one of them", ""),
        ('{"second": "a"}', "has neither words nor a text", ""),
        ('{"text": true}', "a boolean instead of a string", ", text"),
        ('{"text": "\\ud800"}', "the text '\\ud800' contains half of a surrogate pair", ", text"),
        ('{"text": "a", "second": " "}', "the text ' ' is blank", ", second"),
        ('{"words": ["a"], "labels": []}', "a list instead of an object", ", labels"),
        ('{"words": ["a"], "labels": {"x": "1"}}', "a string instead of a list of strings", ", labels.x"),
        ('{"words": ["a"], "labels": {"x": [NaN]}}', "a number instead of a string", ", labels.x[0]"),
        ('{"words": ["a"], "labels": {"x": [["1"]]}}', "a list instead of a string", ", labels.x[0]"),
        ('{"words": ["a"], "labels": {"x": []}}', "0 labels of the layer x for 1 words", ""),
        ('{"words": ["a"], "labels": {"x": ["\\n"]}}', "the label '\\n' is blank", ", labels.x[0]"),
        ('{"text": "a", "labels": {"x": ["1"]}}', "1 labels of the layer x for 0 words", ""),
        ('{"text": "a", "sentence_labels": {"x": 1}}', "a number instead of a string", ", sentence_labels.x"),
        (
            '{"words": ["a"], "labels": {"a/b": ["1"]}}',
            "'a/b' is no name of a layer: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', and not only dots",
            "",
        ),
        (
            '{"words": ["a"], "labels": {"x": ["1"]}, "sentence_labels": {"x": "1"}}',
            "the layer x labels words here and sentences elsewhere; give them different names",
            "",
        ),
    ],
)
def test_wrong_json_lines(line: str, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        read(JSON, f"{line}\n")
    assert (caught.value.message, caught.value.where) == (message, f"f, line 1{where}")


@pytest.mark.parametrize("line", ["[" * 100_000, "1" * 5000], ids=["nested", "digits"])
def test_json_that_is_meant_to_hurt(line: str) -> None:
    with pytest.raises(BadData, match=r"f, line 1: is not JSON that can be read"):
        read(JSON, line)


def test_json_lines_that_do_not_go_together() -> None:
    files = [source("f", '{"words": ["a"]}\n'), source("g", '{"words": ["a"]}\n{"text": "a"}\n')]
    with pytest.raises(BadData, match="g, line 2: is made of text, those before of words"):
        list(CorpusFiles(JSON, files).read())


@pytest.mark.parametrize(("data", "message"), [("a\n\n", "the text is empty"), ("a\n \n", "the text ' ' is blank")])
def test_wrong_text(data: str, message: str) -> None:
    with pytest.raises(BadData) as caught:
        read(TEXT, data)
    assert (caught.value.message, caught.value.where) == (message, "f, line 2, column 1")


def test_too_many_labels() -> None:
    some = LayerLabels("x", "O")
    assert len(some.take([*map(str, range(262_144)), "O", ""], str)) == 262_146
    with pytest.raises(BadData) as caught:
        some.take(["a", "one more"], lambda index: f"here {index}")
    assert caught.value.message == "the layer x has more than 262144 different labels"
    assert caught.value.where == "here 1"


F, G = source("f", ""), source("g", "", "g")


@pytest.mark.parametrize(
    ("files", "message", "where"),
    [
        (CorpusFiles(LINES, []), "none holds the words or texts: that one has no layer", "sources"),
        (CorpusFiles(LINES, [G]), "none holds the words or texts: that one has no layer", "sources"),
        (
            CorpusFiles(LINES, [F, source("h", "")]),
            "a second file without a layer; all but the words or texts are labels",
            "sources[1].layer",
        ),
        (
            CorpusFiles(TEXT, [F, G, source("h", "")]),
            "a second file without a layer; all but the words or texts are labels",
            "sources[2].layer",
        ),
        (CorpusFiles(TEXT, [F, F]), "'f' is the name of sources[0]", "sources[1].name"),
        (
            CorpusFiles(LINES, [F, G, source("h", "", "g")]),
            "the layer g is that of sources[1].layer",
            "sources[2].layer",
        ),
        (CorpusFiles(LINES, [source("f", "", "", Level.WORD)]), "a level without a layer", "sources[0].level"),
        (CorpusFiles(TSV, [F, G]), "TSV has its labels in the same file", "sources[1].layer"),
        (
            CorpusFiles(TEXT, [F, source("h", "", "h", Level.WORD)]),
            "there are no words in text; its labels are of sentences",
            "sources[1].level",
        ),
        (
            CorpusFiles(LINES, [F, source("h", "", "h h")]),
            "'h h' is no name of a layer: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', and not only dots",
            "sources[1].layer",
        ),
        (CorpusFiles(JSON, [F], [Column(1, "x")]), "JSON lines has no columns; CoNLL-U and TSV do", "columns"),
        (CorpusFiles(LINES, [F], word_column=1), "lines has no columns; CoNLL-U and TSV do", "word_column"),
        (CorpusFiles(CONLLU, [F], word_column=11), "CoNLL-U has 10 columns", "word_column"),
        (CorpusFiles(CONLLU, [F], [Column(11, "x")]), "columns count from 1 to 10", "columns[0].column"),
        (CorpusFiles(TSV, [F], [Column(0, "x")]), "columns count from 1", "columns[0].column"),
        (
            CorpusFiles(TSV, [F], [Column(2, "x"), Column(3, "x")]),
            "the layer x is that of columns[0].layer",
            "columns[1].layer",
        ),
        (
            CorpusFiles(CONLLU, [F], [Column(4, "x", "N")]),
            "keys are for FEATS (6) and MISC (10) of CoNLL-U",
            "columns[0].key",
        ),
        (
            CorpusFiles(TSV, [F], [Column(i + 1, f"x{i}") for i in range(65)]),
            "65 layers; a corpus has 64 at most",
            "columns",
        ),
    ],
)
def test_files_that_make_no_sense(files: CorpusFiles, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        files.check()
    assert (caught.value.message, caught.value.where) == (message, where)
    with pytest.raises(BadData):
        files.read()


@given(st.binary(max_size=60), st.sampled_from(Format))
def test_no_bytes_do_worse_than_be_refused(data: bytes, form: Format) -> None:
    try:
        sentences = read(form, data)
    except BadData as error:
        assert error.where.startswith("f, line ")
    else:
        assert all(sentence.content in Content for sentence in sentences)
