"""Corpora as messages, and messages as what the analysis library takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from patchclamp.v1 import corpora_pb2
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
)
from patchclamp_analysis.corpora.corpus import Content, Corpus, CorpusSummary, Layer, Level, Sentence
from patchclamp_analysis.corpora.files import Format
from patchclamp_analysis.corpora.sampling import balanced, split

__all__ = ["FORMATS", "LEVELS", "annotated", "corpus_message", "sampled", "sentence_message"]

FORMATS: dict[corpora_pb2.CorpusFormat.ValueType, Format] = {
    corpora_pb2.CORPUS_FORMAT_LINES: Format.LINES,
    corpora_pb2.CORPUS_FORMAT_CONLLU: Format.CONLLU,
    corpora_pb2.CORPUS_FORMAT_TSV: Format.TSV,
    corpora_pb2.CORPUS_FORMAT_JSONL: Format.JSON_LINES,
    corpora_pb2.CORPUS_FORMAT_TEXT: Format.TEXT,
}
LEVELS: dict[corpora_pb2.LabelLevel.ValueType, Level] = {
    corpora_pb2.LABEL_LEVEL_WORD: Level.WORD,
    corpora_pb2.LABEL_LEVEL_SENTENCE: Level.SENTENCE,
}
_CONTENTS = {
    Content.TEXT: corpora_pb2.CORPUS_CONTENT_TEXT,
    Content.WORDS: corpora_pb2.CORPUS_CONTENT_WORDS,
    Content.PAIRS: corpora_pb2.CORPUS_CONTENT_PAIRS,
}
_CASINGS = {
    corpora_pb2.CASING_KIND_LOWER: CasingKind.LOWER,
    corpora_pb2.CASING_KIND_UPPER: CasingKind.UPPER,
    corpora_pb2.CASING_KIND_TITLE: CasingKind.TITLE,
    corpora_pb2.CASING_KIND_MIXED: CasingKind.MIXED,
    corpora_pb2.CASING_KIND_NONE: CasingKind.NONE,
}
_TESTS: dict[str, Callable[[corpora_pb2.AnnotationRule], WordTest]] = {
    "vocabulary": lambda rule: Vocabulary(frozenset(rule.vocabulary.words), rule.vocabulary.ignore_case),
    "regex": lambda rule: Regex(rule.regex.pattern, rule.regex.search),
    "affix": lambda rule: Affix(tuple(rule.affix.prefixes), tuple(rule.affix.suffixes), rule.affix.ignore_case),
    "length": lambda rule: TokenLength(rule.length.min, rule.length.max),
    "position": lambda rule: WordPosition(tuple(rule.position.indices)),
    "casing": lambda rule: Casing(_CASINGS[rule.casing.kind]),
    "otherwise": lambda rule: Otherwise(),
}


def corpus_message(name: str, created: datetime, summary: CorpusSummary, source: str) -> corpora_pb2.Corpus:
    """A corpus as it is described to callers."""
    message = corpora_pb2.Corpus(
        name=name,
        sentence_count=summary.sentences,
        word_count=summary.words,
        content=_CONTENTS[summary.content],
        layers=map(_layer, summary.layers),
        digest=summary.digest,
        source=source,
        size_bytes=summary.size_bytes,
    )
    message.create_time.FromDatetime(created)
    return message


def _layer(layer: Layer) -> corpora_pb2.LabelLayer:
    level = corpora_pb2.LABEL_LEVEL_WORD if layer.level is Level.WORD else corpora_pb2.LABEL_LEVEL_SENTENCE
    labels = (corpora_pb2.LabelCount(label=label, count=count) for label, count in layer.counts.items())
    return corpora_pb2.LabelLayer(name=layer.name, level=level, labels=labels, unlabelled=layer.unlabelled)


def sentence_message(sentence: Sentence) -> corpora_pb2.AnnotatedSentence:
    """A sentence with its labels."""
    message = corpora_pb2.AnnotatedSentence(words=sentence.words, text=sentence.text, second=sentence.second)
    for layer, labels in sentence.labels.items():
        message.labels[layer].labels.extend(labels)
    message.sentence_labels.update(sentence.sentence_labels)
    return message


def annotated(request: corpora_pb2.AnnotateCorpusRequest, corpus: Corpus) -> Iterator[Sentence]:
    """The sentences that a request asks for. Raises BadData whose `where` is the field."""
    return annotate(corpus, _rules(request.rules))


def sampled(request: corpora_pb2.SampleCorpusRequest, corpus: Corpus) -> Iterator[Sentence]:
    """The sentences that a request asks for. Raises BadData whose `where` is the field within the method."""
    if request.HasField("split"):
        return split(corpus, list(request.split.fractions), request.split.part, seed=request.seed)
    wanted = request.balanced
    return balanced(corpus, wanted.layer, per_label=wanted.per_label, labels=list(wanted.labels), seed=request.seed)


def _rules(messages: Iterable[corpora_pb2.AnnotationRule]) -> tuple[Rule, ...]:
    return tuple(
        Rule(message.layer, message.label, _TESTS[message.WhichOneof("rule") or ""](message), LEVELS.get(message.level))
        for message in messages
    )
