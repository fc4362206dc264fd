"""Which activations of a corpus are wanted, checked, and how its sentences go to an engine to give them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.corpora.corpus import Content, Corpus, Level, Sentence
from patchclamp_analysis.sets.row_selection import RowFilter
from patchclamp_analysis.sets.set_layout import SetDescription

from patchclamp_service.activations.row_plan import PlannedSentence, RowPlan
from patchclamp_service.activations.set_labels import nearest
from patchclamp_service.engine.errors import EngineFailure, InvalidRequest
from patchclamp_service.engine.requests import (
    ExtractRequest,
    Intervention,
    ModelKind,
    Pooling,
    Prepared,
    SentenceActivations,
    Sentences,
    TextPair,
    TokenRows,
)

if TYPE_CHECKING:  # the engine brings torch, which a server imports late
    from patchclamp_service.engine.engine import Engine

__all__ = ["BYTES", "ExtractionSpec", "Reading", "prepare"]

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Of an element, by its type."""

_POOLINGS = {Content.WORDS: Pooling.AVERAGE, Content.TEXT: Pooling.NONE, Content.PAIRS: Pooling.SENTENCE_AVERAGE}


@dataclass(frozen=True, slots=True)
class ExtractionSpec:
    """Which activations of a corpus are wanted; see CreateActivationSetRequest."""

    sites: tuple[str, ...]
    pooling: Pooling | None = None
    """None: average for words, none for text, the sentence's average for pairs."""
    dtype: str = "float32"
    rule: RowFilter = field(default_factory=RowFilter)
    interventions: tuple[Intervention, ...] = ()
    include_special_tokens: bool = False
    corpus: str = ""
    """What the set calls its corpus."""

    def canonical_rule(self) -> str:
        """What chooses the rows, as JSON; empty: nothing does."""
        if self.rule == RowFilter() and not self.include_special_tokens:
            return ""
        rule = asdict(self.rule) | {"labels": sorted(self.rule.labels), "special_tokens": self.include_special_tokens}
        return json.dumps(rule, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How the sentences of one corpus go to one engine, and which rows come back."""

    engine: Engine
    corpus: Corpus
    spec: ExtractionSpec
    pooling: Pooling
    prepared: Prepared

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, all sites together."""
        return BYTES[self.spec.dtype] * sum(site.width for site in self.prepared.sites)

    @property
    def least_bytes(self) -> int:
        """What the set takes on the disk at least."""
        summary = self.corpus.summary
        if self.spec.rule != RowFilter():
            return 0
        by_word = summary.content is Content.WORDS and not self.pooling.per_sentence
        rows = summary.words if by_word and self.pooling is not Pooling.NONE else summary.sentences
        return rows * self.row_bytes

    def plan(self, numbers: range, turn: Callable[[], None] = lambda: None) -> RowPlan:
        """The rows of some sentences; `turn` is called for every sentence that is read."""
        return RowPlan(self.corpus, self.pooling, self.spec.rule, self._token_rows, self._check, numbers, turn)

    def description(self) -> SetDescription:
        """What the set is."""
        info = self.engine.info
        layers = self.plan(range(0)).layers
        return SetDescription(
            sites=tuple((site.name, site.width) for site in self.prepared.sites),
            dtype=self.spec.dtype,
            aggregation=self.pooling.value,
            model=f"models/{info.name}",
            model_digest=info.digest,
            tokenizer=self.prepared.tokenizer,
            corpus=self.spec.corpus,
            corpus_digest=self.corpus.summary.digest,
            layers=tuple((layer.name, tuple(sorted(layer.counts))) for layer in layers),
            filter=self.spec.canonical_rule(),
            interventions=self.prepared.digest,
        )

    def request(self, planned: Sequence[PlannedSentence]) -> ExtractRequest:
        """What the engine is asked."""
        sentences = [each.sentence for each in planned]
        return ExtractRequest(
            self._contents(sentences),
            tuple(site.name for site in self.prepared.sites),
            self.pooling,
            self.spec.dtype,
            self.prepared.interventions,
            include_special_tokens=self.spec.include_special_tokens,
            background=True,
            part=True,
            targets=tuple(each.second for each in sentences) if self.prepared.of_targets else (),
        )

    def masked(self, planned: PlannedSentence, given: SentenceActivations) -> NDArray[np.bool_]:
        """[rows of the engine]: which are masked. EngineFailure if they are not the rows that were planned."""
        names, places = given.tokens, given.masked
        if not self.prepared.of_sentences:
            names, places = given.target_tokens, given.target_masked
        elif self.prepared.of_targets:
            places = (*places, *given.target_masked)
        if len(names) != len(planned.names) or (names != planned.names and not self.pooling.per_sentence):
            raise EngineFailure(f"sentence {planned.number} has other rows than were planned")
        masked = np.zeros(len(names), dtype=bool)
        masked[list(places)] = True
        return masked

    def _contents(self, sentences: Sequence[Sentence]) -> Sentences:
        match self.corpus.summary.content:
            case Content.WORDS:
                return tuple(each.words for each in sentences)
            case Content.PAIRS if self.engine.info.kind is not ModelKind.ENCODER_DECODER:
                return tuple(TextPair(each.text, each.second) for each in sentences)
        return tuple(each.text for each in sentences)

    def _content(self, sentence: Sentence) -> str | tuple[str, ...] | TextPair:
        """What a sentence is to the side whose rows are wanted."""
        (content,) = self._contents([sentence]) if self.prepared.of_sentences else (sentence.second,)
        return content

    def _token_rows(self, sentence: Sentence) -> TokenRows:
        special, target = self.spec.include_special_tokens, not self.prepared.of_sentences
        return self.engine.token_rows(self._content(sentence), include_special=special, target=target)

    def _check(self, sentence: Sentence) -> None:
        self.engine.check_sentence(self._content(sentence), target=not self.prepared.of_sentences)


async def prepare(engine: Engine, corpus: Corpus, spec: ExtractionSpec) -> Reading:
    """Checks a specification against a model and a corpus, before anything runs. InvalidRequest names the field."""
    content = corpus.summary.content
    pooling = spec.pooling or _POOLINGS[content]
    if content is not Content.WORDS and pooling in (Pooling.FIRST, Pooling.LAST, Pooling.AVERAGE):
        text = f"aggregation: {pooling.name} is over the subwords of a word; this corpus has no words"
        raise InvalidRequest(text, reason="AGGREGATION_NEEDS_WORDS", field="aggregation")
    if spec.dtype not in BYTES:
        text = f"dtype: {spec.dtype!r} is none of {', '.join(BYTES)}"
        raise InvalidRequest(text, reason="INVALID_DTYPE", field="dtype")
    _check_rule(spec.rule, corpus, pooling)
    prepared = await engine.prepare(spec.sites, spec.interventions)
    if engine.info.kind is not ModelKind.ENCODER_DECODER:
        _check_nothing_generated(spec.interventions)
    _check_sides(prepared, content, pooling)
    return Reading(engine, corpus, spec, pooling, prepared)


def _check_nothing_generated(interventions: Sequence[Intervention]) -> None:
    """Positions that no text of any corpus has; others are counted while it runs."""
    for number, edit in enumerate(interventions):
        at = edit.positions
        if at.generated and not (at.prompt or at.indices or at.tokens):
            field = f"interventions[{number}].positions"
            text = f"{field}: these positions select no token of the corpus, since none is generated"
            raise InvalidRequest(text, reason="SELECTS_NOTHING", field=field)


def _check_rule(rule: RowFilter, corpus: Corpus, pooling: Pooling) -> None:
    if rule.per_word_type and pooling.per_sentence:
        text = "filter.per_word_type: the rows of this aggregation are sentences, not words"
        raise InvalidRequest(text, reason="FILTER_NEEDS_WORDS", field="filter.per_word_type")
    if not rule.layer:
        if rule.needs_layer:
            text = "filter.layer: say which layer of labels the filter is about"
            raise InvalidRequest(text, reason="LAYER_NEEDED", field="filter.layer")
        return
    layers = {layer.name: layer for layer in corpus.summary.layers}
    if rule.layer not in layers:
        text = f"filter.layer: the corpus has no layer {rule.layer!r}{nearest(rule.layer, layers)}"
        raise InvalidRequest(text, reason="UNKNOWN_LAYER", field="filter.layer")
    layer = layers[rule.layer]
    if layer.level is Level.WORD and pooling.per_sentence:
        text = f"filter.layer: {rule.layer} labels words; the rows of this aggregation are sentences"
        raise InvalidRequest(text, reason="FILTER_NEEDS_WORDS", field="filter.layer")
    for label in sorted(rule.labels - layer.counts.keys()):
        text = f"filter.labels: the layer {rule.layer} has no label {label!r}{nearest(label, layer.counts)}"
        raise InvalidRequest(text, reason="UNKNOWN_LABEL", field="filter.labels")


def _check_sides(prepared: Prepared, content: Content, pooling: Pooling) -> None:
    if prepared.of_targets and content is not Content.PAIRS:
        text = "sites: those of a decoder read the second text of a pair; this corpus has no pairs"
        raise InvalidRequest(text, reason="TARGET_NEEDED", field="sites")
    if prepared.of_targets and prepared.of_sentences and not pooling.per_sentence:
        text = "sites: those of the encoder and of the decoder have different rows; make a set of each"
        raise InvalidRequest(text, reason="ROWS_DIFFER", field="sites")
