"""New layers of labels, from rules or from a Python function.

Rules are tried in their order; the first of a layer that fits gives the label. Patterns are RE2's
(github.com/google/re2/wiki/Syntax), which takes time linear in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import re2

from ..errors import BadData
from .corpus import Corpus
from .sentences import Content, Level, Sentence, label_fault, layer_fault
from .word_tests import (
    Affix,
    Casing,
    CasingKind,
    Fits,
    Otherwise,
    Regex,
    TokenLength,
    Vocabulary,
    WordPosition,
    WordTest,
)

__all__ = [
    "Affix",
    "Casing",
    "CasingKind",
    "Otherwise",
    "Regex",
    "Rule",
    "TokenLength",
    "Vocabulary",
    "WordPosition",
    "WordTest",
    "annotate",
    "annotate_sentences_with",
    "annotate_with",
]

# Words whose label is remembered: most words of a text have been there before.
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Labels the words that fit, or the sentences: those with a word that fits; for a pattern, those whose text (of
    words: joined by blanks; of a pair: the first) matches.
    """

    layer: str
    label: str
    test: WordTest
    level: Level | None = None
    """None: words, or sentences where the corpus has no words."""


def annotate(corpus: Corpus, rules: Sequence[Rule]) -> Iterator[Sentence]:
    """The sentences of a corpus with the layers that the rules make. What no rule fits is unlabelled.

    Raises BadData, before the first sentence is read; `where` is as in "rules[3].regex.pattern".
    """
    levels = _levels(corpus, rules)
    fits = _compiled(rules)
    words: dict[str, _WordLabels] = {}
    whole: dict[str, _SentenceLabels] = {}
    for layer, level in levels.items():
        chosen = [(rule, fits[i]) for i, rule in enumerate(rules) if rule.layer == layer]
        if level is Level.WORD:
            words[layer] = _WordLabels(chosen)
        else:
            whole[layer] = _SentenceLabels(chosen)
    return (
        _with(
            sentence,
            {layer: labels.of(sentence) for layer, labels in words.items()},
            {layer: labels.of(sentence) for layer, labels in whole.items()},
        )
        for sentence in corpus
    )


def annotate_with(corpus: Corpus, layer: str, function: Callable[[Sentence], Sequence[str]]) -> Iterator[Sentence]:
    """The sentences of a corpus with one more layer: `function` returns a label for each word, "" for none.

    Raises BadData for a layer that is there already; what the function returns is checked where it is written.
    """
    _check_new(corpus, layer)
    return (_with(sentence, {layer: tuple(function(sentence))}, {}) for sentence in corpus)


def annotate_sentences_with(corpus: Corpus, layer: str, function: Callable[[Sentence], str]) -> Iterator[Sentence]:
    """The same for a layer of sentences: `function` returns the sentence's label, "" for none."""
    _check_new(corpus, layer)
    return (_with(sentence, {}, {layer: function(sentence)}) for sentence in corpus)


def _with(sentence: Sentence, labels: Mapping[str, tuple[str, ...]], sentence_labels: Mapping[str, str]) -> Sentence:
    return Sentence(
        sentence.words,
        sentence.text,
        sentence.second,
        {**sentence.labels, **labels},
        {**sentence.sentence_labels, **sentence_labels},
    )


class _WordLabels:
    """Labels words by the rules of one layer."""

    def __init__(self, rules: Sequence[tuple[Rule, Fits]]) -> None:
        self._rules = [(rule.label, fits) for rule, fits in rules]
        self._by_place = any(isinstance(rule.test, WordPosition) for rule, _ in rules)
        self._known: dict[str, str] = {}

    def of(self, sentence: Sentence) -> tuple[str, ...]:
        """One label a word."""
        words, count = sentence.words, len(sentence.words)
        if self._by_place:
            return tuple(self._label(word, place, count) for place, word in enumerate(words))
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        for word in set(words).difference(self._known):
            self._known[word] = self._label(word, 0, count)
        return tuple([self._known[word] for word in words])

    def _label(self, word: str, place: int, count: int) -> str:
        return next((label for label, fits in self._rules if fits(word, place, count)), "")


class _SentenceLabels:
    """Labels sentences by the rules of one layer."""

    def __init__(self, rules: Sequence[tuple[Rule, Fits]]) -> None:
        self._rules = rules

    def of(self, sentence: Sentence) -> str:
        """The sentence's label."""
        text = " ".join(sentence.words) or sentence.text
        return next((rule.label for rule, fits in self._rules if _fits(rule, fits, text, sentence.words)), "")


def _fits(rule: Rule, fits: Fits, text: str, words: Sequence[str]) -> bool:
    if isinstance(rule.test, Regex | Otherwise):
        return fits(text, 0, 1)
    return any(fits(word, place, len(words)) for place, word in enumerate(words))


def _compiled(rules: Sequence[Rule]) -> list[Fits]:
    patterns = sum(isinstance(rule.test, Regex) for rule in rules)
    re2.purge()  # what the last caller's patterns took
    compiled = []
    for i, rule in enumerate(rules):
        try:
            test = rule.test
            compiled.append(test.compiled(patterns) if isinstance(test, Regex) else test.compiled())
        except BadData as error:
            where = f"rules[{i}].{rule.test.name}"
            raise BadData(error.message, where=f"{where}.{error.where}" if error.where else where) from None
    return compiled


def _levels(corpus: Corpus, rules: Sequence[Rule]) -> dict[str, Level]:
    """The level of each new layer. Raises BadData for rules that make no sense for this corpus."""
    if not rules:
        raise BadData("there are no rules", where="rules")
    has_words = corpus.summary.content is Content.WORDS
    levels: dict[str, Level] = {}
    closed: set[str] = set()
    for i, rule in enumerate(rules):
        here = f"rules[{i}]"
        level = rule.level or (Level.WORD if has_words else Level.SENTENCE)
        if rule.layer not in levels:
            _check_new(corpus, rule.layer, f"{here}.layer")
        if fault := label_fault(rule.label) if rule.label else "the label is empty":
            raise BadData(fault, where=f"{here}.label")
        if level is not levels.setdefault(rule.layer, level):
            text = f"the layer {rule.layer} labels {levels[rule.layer].value}s in the rules before"
            raise BadData(text, where=f"{here}.level")
        if not has_words and level is Level.WORD:
            raise BadData("the corpus has no words to label", where=f"{here}.level")
        if not has_words and not isinstance(rule.test, Regex | Otherwise):
            raise BadData("the corpus has no words; patterns are what fits texts", where=f"{here}.{rule.test.name}")
        if rule.layer in closed:
            raise BadData(f"nothing is left for a rule after the layer {rule.layer}'s otherwise", where=here)
        if isinstance(rule.test, Otherwise):
            closed.add(rule.layer)
    return levels


def _check_new(corpus: Corpus, layer: str, where: str = "layer") -> None:
    if fault := layer_fault(layer):
        raise BadData(fault, where=where)
    if any(layer == there.name for there in corpus.summary.layers):
        raise BadData(f"the corpus has a layer {layer} already", where=where)
