"""Rules label what they say, in their order, and the wrong ones are refused before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.corpora.annotation import (
    Affix,
    Casing,
    CasingKind,
    Otherwise,
    Regex,
    Rule,
    TokenLength,
    Vocabulary,
    WordPosition,
    WordTest,
    annotate,
    annotate_sentences_with,
    annotate_with,
)
from patchclamp_analysis.corpora.corpus import Corpus, Level, Sentence, write_corpus
from patchclamp_analysis.errors import BadData

WORDS = ("Paris", "model", "NASA", "iPhone", "2026", "A", "naïve", "RUNNING")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    sentences = [
        Sentence(WORDS, labels={"old": ("x",) * 8}, sentence_labels={"mood": "calm"}),
        Sentence(("again",), labels={"old": ("",)}, sentence_labels={"mood": ""}),
    ]
    return write_corpus(sentences, tmp_path_factory.mktemp("annotation") / "words")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    sentences = [Sentence(text="the nurse said", second="she"), Sentence(text="no one", second="the nurse")]
    return write_corpus(sentences, tmp_path_factory.mktemp("annotation") / "texts")


def fitting(corpus: Corpus, test: WordTest) -> list[str]:
    """The words of the first sentence that a test fits."""
    first = next(annotate(corpus, [Rule("new", "yes", test)]))
    return [word for word, label in zip(first.words, first.labels["new"], strict=True) if label == "yes"]


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (Vocabulary({"paris", "model", "absent"}), ["model"]),
        (Vocabulary({"paris", "MODEL"}, ignore_case=True), ["Paris", "model"]),
        (Vocabulary(["NAÏVE"], ignore_case=True), ["naïve"]),
        (Regex("[A-Z][a-z]+"), ["Paris"]),
        (Regex("[A-Z][a-z]+", search=True), ["Paris", "iPhone"]),
        (Regex("na.ve"), ["naïve"]),
        (Regex(r"\d+"), ["2026"]),
        (Regex("a|A"), ["A"]),
        (Regex("(?i)n", search=True), ["NASA", "iPhone", "naïve", "RUNNING"]),
        (Affix(prefixes=("i", "m")), ["model", "iPhone"]),
        (Affix(suffixes=("e", "l")), ["model", "iPhone", "naïve"]),
        (Affix(("N", "m"), ("l",)), ["model"]),
        (Affix(suffixes=("ing",)), []),
        (Affix(suffixes=("ING",), ignore_case=True), ["RUNNING"]),
        (TokenLength(5, 6), ["Paris", "model", "iPhone", "naïve"]),
        (TokenLength(7), ["RUNNING"]),
        (TokenLength(max=1), ["A"]),
        (WordPosition((0, 2)), ["Paris", "NASA"]),
        (WordPosition((-1, 100, -100)), ["RUNNING"]),
        (Casing(CasingKind.LOWER), ["model", "naïve"]),
        (Casing(CasingKind.UPPER), ["NASA", "A", "RUNNING"]),
        (Casing(CasingKind.TITLE), ["Paris", "A"]),
        (Casing(CasingKind.MIXED), ["iPhone"]),
        (Casing(CasingKind.NONE), ["2026"]),
        (Otherwise(), list(WORDS)),
    ],
)
def test_what_a_rule_fits(corpus: Corpus, test: WordTest, words: list[str]) -> None:
    assert fitting(corpus, test) == words


@given(st.text(min_size=1, max_size=6))
def test_every_word_has_a_casing(word: str) -> None:
    fits = {kind for kind in CasingKind if Casing(kind).compiled()(word, 0, 1)}
    assert len(fits) == 1 or fits == {CasingKind.UPPER, CasingKind.TITLE}


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("ǅ", CasingKind.TITLE),
        ("ǆǅ", CasingKind.MIXED),
        ("Jean-luc", CasingKind.TITLE),
        ("Jean-Luc", CasingKind.MIXED),
        ("3com", CasingKind.LOWER),
        ("3Com", CasingKind.TITLE),
        ("日本", CasingKind.NONE),
        ("ß", CasingKind.LOWER),
    ],
)
def test_casings(word: str, kind: CasingKind) -> None:
    assert Casing(kind).compiled()(word, 0, 1)


def test_the_first_rule_wins_and_layers_are_apart(corpus: Corpus) -> None:
    rules = [
        Rule("kind", "number", Regex(r"\d+")),
        Rule("long", "yes", TokenLength(6)),
        Rule("kind", "first", WordPosition((0,))),
        Rule("kind", "short", TokenLength(max=5)),
        Rule("kind", "other", Otherwise()),
    ]
    first, second = annotate(corpus, rules)
    assert first.labels["kind"] == ("first", "short", "short", "other", "number", "short", "short", "other")
    assert first.labels["long"] == ("", "", "", "yes", "", "", "", "yes")
    assert (second.labels["kind"], second.labels["long"]) == (("first",), ("",))
    assert first.labels["old"] == ("x",) * 8
    assert first.sentence_labels == {"mood": "calm"}


def test_sentences_are_labelled_by_their_words_or_their_text(corpus: Corpus) -> None:
    rules = [
        Rule("a", "NASA", Vocabulary(["NASA"]), Level.SENTENCE),
        Rule("b", "two", Regex("Paris model", search=True), Level.SENTENCE),
        Rule("b", "rest", Otherwise(), Level.SENTENCE),
        Rule("c", "whole", Regex("again"), Level.SENTENCE),
        Rule("d", "long", WordPosition((7,)), Level.SENTENCE),
    ]
    found = [sentence.sentence_labels for sentence in annotate(corpus, rules)]
    assert found == [
        {"mood": "calm", "a": "NASA", "b": "two", "c": "", "d": "long"},
        {"mood": "", "a": "", "b": "rest", "c": "whole", "d": ""},
    ]


def test_texts_are_labelled_as_sentences(texts: Corpus) -> None:
    """A pair by the first of its texts."""
    rules = [Rule("x", "nurse", Regex("nurse", search=True)), Rule("x", "none", Otherwise())]
    assert [sentence.sentence_labels for sentence in annotate(texts, rules)] == [{"x": "nurse"}, {"x": "none"}]


def test_words_that_come_again_are_labelled_again(tmp_path: Path) -> None:
    """Also when more words have been there than are remembered."""
    sentences = (Sentence((str(i % 7), str(i), "a")) for i in range(100_500))
    corpus = write_corpus(sentences, tmp_path / "many")
    rules = [Rule("x", "seven", Vocabulary([*map(str, range(7))]))]
    labels = [sentence.labels["x"] for sentence in annotate(corpus, rules)]
    assert labels[:7] == [("seven", "seven", "")] * 7
    assert set(labels[7:]) == {("seven", "", "")}


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){25}", "((a?){100}){9}a{900}"])
def test_patterns_that_others_choke_on(tmp_path: Path, pattern: str) -> None:
    """A backtracking engine would not come back in this universe's lifetime."""
    corpus = write_corpus([Sentence(("a" * 5000 + "!",))], tmp_path / "a")
    assert next(annotate(corpus, [Rule("x", "y", Regex(pattern))])).labels["x"] == ("",)


def test_a_vocabulary_of_a_million_words(corpus: Corpus) -> None:
    words = frozenset(f"word{i}" for i in range(1_000_000)) | {"NASA"}
    assert fitting(corpus, Vocabulary(words)) == ["NASA"]


OK = Regex("a")


@pytest.mark.parametrize(
    ("rules", "message", "where"),
    [
        ([], "there are no rules", "rules"),
        ([Rule("old", "y", OK)], "the corpus has a layer old already", "rules[0].layer"),
        ([Rule("mood", "y", OK)], "the corpus has a layer mood already", "rules[0].layer"),
        (
            [Rule("x", "y", OK), Rule("x y", "y", OK)],
            "'x y' is no name of a layer: up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', and not only dots",
            "rules[1].layer",
        ),
        ([Rule("x", "", OK)], "the label is empty", "rules[0].label"),
        ([Rule("x", " ", OK)], "the label ' ' is blank", "rules[0].label"),
        (
            [Rule("x", "y", OK), Rule("x", "y", OK, Level.SENTENCE)],
            "the layer x labels words in the rules before",
            "rules[1].level",
        ),
        (
            [Rule("x", "y", Otherwise()), Rule("z", "y", OK), Rule("x", "z", OK)],
            "nothing is left for a rule after the layer x's otherwise",
            "rules[2]",
        ),
        ([Rule("x", "y", Vocabulary([]))], "there are no words in the list", "rules[0].vocabulary.words"),
        (
            [Rule("x", "y", OK), Rule("x", "y", Regex("(a"))],
            "RE2 refuses '(a': missing ): (a",
            "rules[1].regex.pattern",
        ),
        (
            [Rule("x", "y", Regex(r"(a)\1"))],
            "RE2 refuses '(a)\\\\1': invalid escape sequence: \\1",
            "rules[0].regex.pattern",
        ),
        (
            [Rule("x", "y", Regex("(?=a)"))],
            "RE2 refuses '(?=a)': invalid perl operator: (?=",
            "rules[0].regex.pattern",
        ),
        (
            [Rule("x", "y", Regex("((a{1,100}){1,100}){1,100}"))],
            "RE2 refuses '((a{1,100}){1,100}){1,100}': invalid repetition size: {1,100}",
            "rules[0].regex.pattern",
        ),
        (
            [Rule("x", "y", Regex(r"(\pL{1,100}x){9}"))],
            "RE2 refuses '(\\\\pL{1,100}x){9}': pattern too large - compile failed",
            "rules[0].regex.pattern",
        ),
        ([Rule("x", "y", Regex("\ud800"))], "'\\ud800' contains half of a surrogate pair", "rules[0].regex.pattern"),
        ([Rule("x", "y", Affix())], "neither beginnings nor endings are given", "rules[0].affix"),
        ([Rule("x", "y", Affix(("a",), ("b", "")))], "is empty, which fits every word", "rules[0].affix.suffixes[1]"),
        ([Rule("x", "y", TokenLength())], "neither min nor max is given", "rules[0].length"),
        ([Rule("x", "y", TokenLength(3, 2))], "max 2 is below min 3", "rules[0].length.max"),
        ([Rule("x", "y", WordPosition(()))], "there are no places", "rules[0].position.indices"),
    ],
)
def test_wrong_rules(corpus: Corpus, rules: Sequence[Rule], message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        annotate(corpus, rules)
    assert (caught.value.message, caught.value.where) == (message, where)


@pytest.mark.parametrize(
    ("rule", "message", "where"),
    [
        (Rule("x", "y", OK, Level.WORD), "the corpus has no words to label", "rules[0].level"),
        (
            Rule("x", "y", Casing(CasingKind.UPPER)),
            "the corpus has no words; patterns are what fits texts",
            "rules[0].casing",
        ),
    ],
)
def test_rules_that_need_words(texts: Corpus, rule: Rule, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        annotate(texts, [rule])
    assert (caught.value.message, caught.value.where) == (message, where)


def test_a_thousand_patterns_share_the_memory(corpus: Corpus) -> None:
    rules = [Rule("x", str(i), Regex(f"({i}|.{{1,30}}x)+")) for i in range(1000)] + [Rule("x", "2026", Regex("2026"))]
    assert next(annotate(corpus, rules)).labels["x"][4] == "2026"


def test_python_functions(corpus: Corpus) -> None:
    first, second = annotate_with(corpus, "place", lambda sentence: [str(i) for i in range(len(sentence.words))])
    assert (first.labels["place"][:2], second.labels["place"]) == (("0", "1"), ("0",))
    counted = annotate_sentences_with(corpus, "count", lambda sentence: str(len(sentence.words)))
    assert [sentence.sentence_labels["count"] for sentence in counted] == ["8", "1"]


def test_what_a_python_function_returns_is_checked(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="sentence 0: 1 labels of the layer x for 8 words"):
        write_corpus(annotate_with(corpus, "x", lambda sentence: ["y"]), tmp_path / "corpus")
    with pytest.raises(BadData, match="layer: the corpus has a layer old already"):
        annotate_with(corpus, "old", lambda sentence: sentence.words)
