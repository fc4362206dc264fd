"""From corpora to activation sets on real engines with tiny models: which rows, which values, and going on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.row_selection import RowFilter, RowSelection, Unit
from patchclamp_service.activations.chunks import cut
from patchclamp_service.activations.extraction import Extracted, extract_corpus
from patchclamp_service.activations.extraction_spec import ExtractionSpec
from patchclamp_service.activations.row_plan import PlannedSentence
from patchclamp_service.engine.errors import InvalidRequest, PatchclampError
from patchclamp_service.engine.requests import (
    Add,
    Condition,
    ExtractRequest,
    Intervention,
    Limits,
    Patch,
    Pooling,
    Positions,
    Scale,
    SentenceActivations,
    Sentences,
    TextPair,
)

from tests.service.engine.conftest import Bench, make_bench
from tests.tiny import tiny_model

SITES = ("embeddings", "layers.*.residual")
WORDS = ["the", "nurse", "said", "that", "she", "would", "be", "late", "because", "the", "doctor", "was", "busy"]
TAGS = ("DET", "NOUN", "VERB", "", "PRON")
SPEC = ExtractionSpec(SITES, corpus="corpora/x")


@pytest.fixture(scope="module")
def benches() -> Iterator[dict[str, Bench]]:
    """In chunks of 8 sentences."""
    made = {name: make_bench(tiny_model(name), Limits(sentences=8)) for name in ("llama", "bert", "t5")}
    yield made
    for bench in made.values():
        bench.engine.stop()


@pytest.fixture(params=["llama", "bert"])
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Bench:
    return benches[request.param]


def of_words(count: int = 60) -> Iterator[Sentence]:
    """Sentences of 1 to 9 words; every seventh has a word without a subword. Two layers."""
    for number in range(count):
        size = 1 + number % 9
        words = [WORDS[(3 * number + place) % len(WORDS)] for place in range(size)]
        if number % 7 == 0:
            words.append("\u200b")
        tags = tuple(TAGS[(number + place) % len(TAGS)] for place in range(len(words)))
        yield Sentence(tuple(words), labels={"upos": tags}, sentence_labels={"odd": "yes" if number % 2 else ""})


def of_text(count: int = 30) -> Iterator[Sentence]:
    for number in range(count):
        text = "  ".join(WORDS[: 1 + number % 7])
        yield Sentence(text=text, sentence_labels={"odd": "yes" if number % 2 else ""})


def of_pairs(count: int = 20) -> Iterator[Sentence]:
    for number in range(count):
        yield Sentence(text=" ".join(WORDS[: 1 + number % 7]), second="she was late")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(of_words(), tmp_path / "corpus")


async def extracted(bench: Bench, corpus: Corpus, spec: ExtractionSpec, path: Path) -> Extracted:
    return await extract_corpus(bench.engine, corpus, spec, path, lambda *_: None)


async def run_alone(bench: Bench, corpus: Corpus, spec: ExtractionSpec) -> list[SentenceActivations]:
    """What ExtractActivations gives, a sentence a request."""
    found = []
    for sentence in corpus:
        content: Sentences = (sentence.words or sentence.text,)  # type: ignore[assignment]
        if sentence.second:
            content = (TextPair(sentence.text, sentence.second),)
        request = ExtractRequest(
            content, SITES, spec.pooling, spec.dtype, spec.interventions, spec.include_special_tokens
        )
        (event,) = await bench.events(request)
        assert isinstance(event, SentenceActivations)
        found.append(event)
    return found


CASES = {
    "average": (of_words, SPEC),
    "first": (of_words, replace(SPEC, pooling=Pooling.FIRST)),
    "last": (of_words, replace(SPEC, pooling=Pooling.LAST)),
    "float16": (of_words, replace(SPEC, dtype="float16")),
    "bfloat16": (of_words, replace(SPEC, dtype="bfloat16")),
    "tokens of words": (of_words, replace(SPEC, pooling=Pooling.NONE)),
    "special tokens": (of_words, replace(SPEC, pooling=Pooling.NONE, include_special_tokens=True)),
    "sentences of words": (of_words, replace(SPEC, pooling=Pooling.SENTENCE_LAST)),
    "text": (of_text, replace(SPEC, pooling=Pooling.NONE)),
    "sentences of text": (of_text, replace(SPEC, pooling=Pooling.SENTENCE_AVERAGE)),
    "pairs": (of_pairs, replace(SPEC, pooling=Pooling.SENTENCE_FIRST)),
    "tokens of pairs": (of_pairs, replace(SPEC, pooling=Pooling.NONE)),
    "edits": (of_words, replace(SPEC, interventions=(Intervention("layers.1.neurons", Scale(-3.0), (1, 5)),))),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_set_is_what_each_sentence_gives_alone(bench: Bench, tmp_path: Path, case: str) -> None:
    sentences, spec = CASES[case]
    corpus = write_corpus(sentences(), tmp_path / "corpus")
    done = await extracted(bench, corpus, spec, tmp_path / "set.h5")
    alone = await run_alone(bench, corpus, spec)
    with ActivationSet.open(tmp_path / "set.h5") as found:
        assert found.sentences.tolist() == [n for n, each in enumerate(alone) for _ in each.tokens]
        assert found.places.tolist() == [k for each in alone for k in range(len(each.tokens))]
        assert found.words.tolist() == [token for each in alone for token in each.tokens]
        masked = np.array([k in each.masked for each in alone for k in range(len(each.tokens))])
        assert found.masked.tolist() == masked.tolist()
        assert done.finished.masked_rows == masked.sum()
        for site in found.sites:
            values = np.array(found.site(site))
            expected = np.concatenate([each.captured[site] for each in alone])
            assert values.dtype == expected.dtype
            if spec.dtype == "bfloat16":
                values, expected = (a.astype(np.uint32) << 16 for a in (values, expected))
                values, expected = (a.view(np.float32) for a in (values, expected))
            tolerance = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[spec.dtype]
            np.testing.assert_allclose(values[~masked], expected[~masked], atol=tolerance, rtol=tolerance)
            assert np.isnan(values[masked]).all()
            assert np.abs(values[~masked]).max(axis=1).min() > 0


@pytest.mark.parametrize("pooling", [Pooling.NONE, Pooling.SENTENCE_AVERAGE])
@pytest.mark.parametrize("side", ["encoder", "decoder"])
async def test_either_side_of_an_encoder_decoder(
    benches: dict[str, Bench], tmp_path: Path, side: str, pooling: Pooling
) -> None:
    bench, site = benches["t5"], f"{side}.layers.1.residual"
    corpus = write_corpus(of_pairs(), tmp_path / "corpus")
    await extracted(bench, corpus, replace(SPEC, sites=(site,), pooling=pooling), tmp_path / "set.h5")
    names: list[str] = []
    rows = []
    for sentence in corpus:
        request = ExtractRequest((sentence.text,), (site,), pooling, targets=(sentence.second,))
        (event,) = await bench.events(request)
        assert isinstance(event, SentenceActivations)
        names += event.tokens if side == "encoder" else event.target_tokens
        rows.append(event.captured[site])
    with ActivationSet.open(tmp_path / "set.h5") as found:
        np.testing.assert_allclose(found.read(site), np.concatenate(rows), atol=1e-5)
        if pooling is Pooling.NONE:
            assert found.words.tolist() == names


@pytest.mark.parametrize(
    ("sites", "pooling", "sentences", "reason"),
    [
        (("encoder.layers.0.mlp", "decoder.layers.0.mlp"), Pooling.NONE, of_pairs, "ROWS_DIFFER"),
        (("decoder.layers.0.mlp",), Pooling.NONE, of_words, "TARGET_NEEDED"),
    ],
)
async def test_what_an_encoder_decoder_cannot_give(
    benches: dict[str, Bench],
    tmp_path: Path,
    sites: tuple[str, ...],
    pooling: Pooling,
    sentences: Callable[[], Iterator[Sentence]],
    reason: str,
) -> None:
    corpus = write_corpus(sentences(), tmp_path / "corpus")
    with pytest.raises(InvalidRequest) as caught:
        await extracted(benches["t5"], corpus, replace(SPEC, sites=sites, pooling=pooling), tmp_path / "set.h5")
    assert (caught.value.field, caught.value.reason) == ("sites", reason)


async def test_a_receipt_counts_the_whole_corpus(bench: Bench, corpus: Corpus, tmp_path: Path) -> None:
    edits = (
        Intervention("layers.0.residual", Add((0.5,)), (3,), Positions(indices=(0,))),
        Intervention("layers.1.residual", Add((0.5,)), (3,), condition=Condition("layers.0.residual", 1, above=0.0)),
    )
    spec = replace(SPEC, interventions=edits)
    done = await extracted(bench, corpus, spec, tmp_path / "set.h5")
    alone = [each.receipt for each in await run_alone(bench, corpus, spec)]
    assert done.receipt.edits[0].positions_edited == len(corpus)
    for number in range(2):
        total = sum(receipt.edits[number].positions_edited for receipt in alone if receipt)
        assert done.receipt.edits[number].positions_edited == total
    assert done.receipt.edits[1].gate_firings > 0
    assert done.receipt.digest == alone[0].digest


async def test_a_patch_is_resolved_once(benches: dict[str, Bench], corpus: Corpus, tmp_path: Path) -> None:
    spec = replace(SPEC, interventions=(Intervention("layers.0.residual", Patch("the doctor", -1), (3,)),))
    await extracted(benches["llama"], corpus, spec, tmp_path / "set.h5")
    (source,) = await benches["llama"].events(ExtractRequest(("the doctor",), ("layers.0.residual",)))
    assert isinstance(source, SentenceActivations)
    with ActivationSet.open(tmp_path / "set.h5") as found:
        column = found.read("layers.0.residual")[~found.masked, 3]
    assert (column == source.captured["layers.0.residual"][-1, 3]).all()


# --- which rows


FILTERS = st.builds(
    RowFilter,
    layer=st.sampled_from(["upos", "odd"]),
    labelled_only=st.booleans(),
    labels=st.sampled_from([frozenset(), frozenset({"yes"}), frozenset({"NOUN", "VERB"})]),
    per_label=st.integers(0, 9),
    per_word_type=st.integers(0, 9),
    seed=st.integers(0, 99),
).filter(lambda rule: not rule.labels or (rule.layer == "odd") == (rule.labels == {"yes"}))


@pytest.fixture(scope="module")
def everything(benches: dict[str, Bench], tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, ActivationSet]:
    """A corpus and all of its rows."""
    folder = tmp_path_factory.mktemp("everything")
    corpus = write_corpus(of_words(), folder / "corpus")
    asyncio.run(extracted(benches["bert"], corpus, SPEC, folder / "all.h5"))
    return corpus, ActivationSet.open(folder / "all.h5")


@settings(deadline=None, max_examples=12)
@given(rule=FILTERS)
def test_a_filter_keeps_what_fits_of_all_rows(
    benches: dict[str, Bench], everything: tuple[Corpus, ActivationSet], rule: RowFilter
) -> None:
    corpus, rows = everything
    labels = rows.labels(rule.layer)
    units = [
        Unit(*unit) for unit in zip(rows.sentences.tolist(), rows.places.tolist(), rows.words, labels, strict=True)
    ]
    selection = RowSelection.draw(rule, lambda: iter(units))
    kept = np.array([selection.keeps(unit) for unit in units])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "set.h5"
        if not kept.any():
            with pytest.raises(InvalidRequest, match="no row"):
                asyncio.run(extracted(benches["bert"], corpus, replace(SPEC, rule=rule), path))
            return
        asyncio.run(extracted(benches["bert"], corpus, replace(SPEC, rule=rule), path))
        with ActivationSet.open(path) as found:
            pd.testing.assert_frame_equal(found.to_pandas(), rows.to_pandas()[kept].reset_index(drop=True))
            np.testing.assert_allclose(found.read("embeddings"), rows.read("embeddings")[kept], atol=1e-5)


async def test_sentences_without_a_row_do_not_run(benches: dict[str, Bench], tmp_path: Path) -> None:
    long = Sentence(("a",) * 300, labels={"upos": ("",) * 300})  # longer than the context
    corpus = write_corpus([long, Sentence(("nurse",), labels={"upos": ("NOUN",)})], tmp_path / "corpus")
    spec = replace(SPEC, rule=RowFilter("upos", labelled_only=True))
    done = await extracted(benches["bert"], corpus, spec, tmp_path / "set.h5")
    assert (done.finished.rows, done.finished.sentences) == (1, 1)


async def test_tokens_have_the_labels_of_their_word(bench: Bench, corpus: Corpus, tmp_path: Path) -> None:
    spec = replace(SPEC, pooling=Pooling.NONE, include_special_tokens=True)
    await extracted(bench, corpus, spec, tmp_path / "set.h5")
    tags = [
        sentence.labels["upos"][word] if word >= 0 else ""
        for sentence in corpus
        for word in bench.engine.token_rows(sentence.words, include_special=True).words
    ]
    odd = [
        sentence.sentence_labels["odd"]
        for sentence in corpus
        for _ in bench.engine.token_rows(sentence.words, include_special=True).words
    ]
    with ActivationSet.open(tmp_path / "set.h5") as found:
        assert found.labels("upos").tolist() == tags
        assert found.labels("odd").tolist() == odd


def test_tokens_know_their_word(benches: dict[str, Bench]) -> None:
    rows = benches["bert"].engine.token_rows(("nurse", "\u200b", "late"), include_special=True)
    assert rows.names[0] == "[CLS]"
    assert rows.names[-1] == "[SEP]"
    assert sorted(set(rows.words)) == [-1, 0, 2]
    joined = ["".join(n for n, w in zip(rows.names, rows.words, strict=True) if w == word) for word in (0, 2)]
    assert [text.replace("##", "") for text in joined] == ["nurse", "late"]


async def test_a_range_of_sentences(benches: dict[str, Bench], corpus: Corpus, tmp_path: Path) -> None:
    rule = RowFilter("upos", per_label=20, seed=3)
    spec, bench = replace(SPEC, rule=rule), benches["bert"]
    await extracted(bench, corpus, spec, tmp_path / "all.h5")
    parts = [range(25), range(25, 60)]
    for part in parts:
        await extract_corpus(bench.engine, corpus, spec, tmp_path / f"{part.start}.h5", lambda *_: None, part)
    with ActivationSet.open(tmp_path / "all.h5") as everything:
        opened = [ActivationSet.open(tmp_path / f"{part.start}.h5") for part in parts]
        for name in ("sentences", "places", "words"):
            joined = np.concatenate([getattr(each, name) for each in opened])
            assert joined.tolist() == getattr(everything, name).tolist()
        for each in opened:
            each.close()


# --- refused before anything runs


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        (replace(SPEC, sites=("layers.9.residual",)), "sites[0]", "UNKNOWN_SITE"),
        (replace(SPEC, sites=()), "sites", "NO_SITES"),
        (replace(SPEC, dtype="int8"), "dtype", "INVALID_DTYPE"),
        (replace(SPEC, rule=RowFilter(per_label=1)), "filter.layer", "LAYER_NEEDED"),
        (replace(SPEC, rule=RowFilter("xpos")), "filter.layer", "UNKNOWN_LAYER"),
        (replace(SPEC, rule=RowFilter("upos", labels=frozenset({"NUON"}))), "filter.labels", "UNKNOWN_LABEL"),
        (
            replace(SPEC, rule=RowFilter("upos"), pooling=Pooling.SENTENCE_MAX),
            "filter.layer",
            "FILTER_NEEDS_WORDS",
        ),
        (
            replace(SPEC, rule=RowFilter(per_word_type=1), pooling=Pooling.SENTENCE_MAX),
            "filter.per_word_type",
            "FILTER_NEEDS_WORDS",
        ),
        (
            replace(SPEC, interventions=(Intervention("layers.0.mlp", Scale(2.0), (99,)),)),
            "interventions[0].neurons.indices[0]",
            "INDEX_OUT_OF_RANGE",
        ),
        (
            replace(
                SPEC, interventions=(Intervention("layers.0.mlp", Scale(2.0), positions=Positions(generated=True)),)
            ),
            "interventions[0].positions",
            "SELECTS_NOTHING",
        ),
    ],
)
async def test_refused(
    bench: Bench, corpus: Corpus, tmp_path: Path, spec: ExtractionSpec, field: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await extracted(bench, corpus, spec, tmp_path / "set.h5")
    assert (caught.value.field, caught.value.reason) == (field, reason)
    assert not (tmp_path / "set.h5").exists()


async def test_text_has_no_words_to_pool(bench: Bench, tmp_path: Path) -> None:
    corpus = write_corpus(of_text(), tmp_path / "corpus")
    with pytest.raises(InvalidRequest) as caught:
        await extracted(bench, corpus, replace(SPEC, pooling=Pooling.FIRST), tmp_path / "set.h5")
    assert caught.value.field == "aggregation"


@pytest.mark.parametrize("pooling", [Pooling.NONE, Pooling.AVERAGE])
async def test_a_sentence_that_is_too_long_is_named_before_any_runs(
    bench: Bench, tmp_path: Path, pooling: Pooling
) -> None:
    sentences = [Sentence(("a",)), Sentence(("b",)), Sentence(("c",) * 300)]
    corpus = write_corpus(sentences, tmp_path / "corpus")
    steps = len(bench.steps.reports)
    with pytest.raises(InvalidRequest, match=r"^sentence 2 of the corpus.*context_tokens") as caught:
        await extracted(bench, corpus, replace(SPEC, pooling=pooling), tmp_path / "set.h5")
    assert caught.value.field == "corpus"
    assert len(bench.steps.reports) == steps


async def test_values_that_are_not_finite_are_refused(
    benches: dict[str, Bench], corpus: Corpus, tmp_path: Path
) -> None:
    huge = tuple(Intervention(f"layers.{k}.residual", Scale(1e30)) for k in range(3))
    with pytest.raises((BadData, PatchclampError)):
        await extracted(benches["llama"], corpus, replace(SPEC, interventions=huge), tmp_path / "set.h5")
    assert not (tmp_path / "set.h5").exists()


# --- going on


def left(path: Path) -> list[str]:
    """Names of files that belong to a set."""
    return [file.name for file in path.parent.glob(f"{path.name}*")]


def same(one: Path, other: Path) -> None:
    """The same rows; values up to what other neighbours in a batch do to the last bits."""
    with ActivationSet.open(one) as found, ActivationSet.open(other) as expected:
        assert found.description == expected.description
        pd.testing.assert_frame_equal(found.to_pandas(), expected.to_pandas())
        for site in expected.sites:
            np.testing.assert_allclose(found.read(site), expected.read(site), atol=1e-5)


class Stopped(Exception):
    pass


@dataclass
class StopAt:
    """Stops an extraction once so many sentences are through."""

    sentences: int

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        if stage == "extracting" and done >= self.sentences:
            raise Stopped


@pytest.mark.parametrize("interventions", [(), (Intervention("layers.1.neurons", Scale(-3.0), (1, 5)),)])
@pytest.mark.parametrize("stops", [(8,), (1, 40), (60,)])
async def test_an_extraction_goes_on_where_it_was(
    bench: Bench, corpus: Corpus, tmp_path: Path, interventions: tuple[Intervention, ...], stops: Sequence[int]
) -> None:
    spec, path = replace(SPEC, interventions=interventions), tmp_path / "set.h5"
    undisturbed = await extracted(bench, corpus, spec, tmp_path / "undisturbed.h5")
    for stop in stops:
        with pytest.raises(Stopped):
            await extract_corpus(bench.engine, corpus, spec, path, StopAt(stop))
        assert not path.exists()
    before = len(bench.steps.reports)
    done = await extracted(bench, corpus, spec, path)
    ran = sum(report.prefill_tokens for report in bench.steps.reports[before:])
    assert (ran == 0) == (stops == (60,))
    same(path, tmp_path / "undisturbed.h5")
    assert done.receipt == undisturbed.receipt
    done.forget()
    assert left(path) == ["set.h5"]


async def test_a_set_that_is_there_is_taken_as_it_is(bench: Bench, corpus: Corpus, tmp_path: Path) -> None:
    spec = replace(SPEC, interventions=(Intervention("layers.1.neurons", Scale(-3.0), (1, 5)),))
    first = await extracted(bench, corpus, spec, tmp_path / "set.h5")
    steps = len(bench.steps.reports)
    again = await extracted(bench, corpus, spec, tmp_path / "set.h5")
    assert (again.finished, again.receipt) == (first.finished, first.receipt)
    assert len(bench.steps.reports) == steps


@pytest.mark.parametrize("there", ["another set", "another partial set", "rubbish"])
async def test_what_is_not_the_same_is_made_anew(bench: Bench, corpus: Corpus, tmp_path: Path, there: str) -> None:
    path, other = tmp_path / "set.h5", replace(SPEC, sites=("embeddings",))
    if there == "another set":
        await extracted(bench, corpus, other, path)
    elif there == "rubbish":
        path.write_bytes(b"rubbish")
    else:
        with pytest.raises(Stopped):
            await extract_corpus(bench.engine, corpus, other, path, StopAt(8))
    await extracted(bench, corpus, SPEC, tmp_path / "expected.h5")
    await extracted(bench, corpus, SPEC, path)
    same(path, tmp_path / "expected.h5")


async def test_cancelling_stops_the_engine_and_keeps_what_is_there(
    benches: dict[str, Bench], corpus: Corpus, tmp_path: Path
) -> None:
    bench, path = benches["llama"], tmp_path / "set.h5"
    begun = asyncio.Event()

    def report(stage: str, done: int, total: int, unit: str) -> None:
        if stage == "extracting":
            begun.set()

    task = asyncio.create_task(extract_corpus(bench.engine, corpus, SPEC, path, report))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        while bench.engine.load().queued_tokens:
            await asyncio.sleep(0)
    assert (tmp_path / "set.h5.partial").exists()
    assert (await extracted(bench, corpus, SPEC, path)).finished.rows == corpus.summary.words


async def test_a_full_queue_is_waited_for(corpus: Corpus, tmp_path: Path) -> None:
    bench = make_bench(tiny_model("bert"), Limits(sentences=30, queued_tokens=200))
    try:
        done = await extracted(bench, corpus, SPEC, tmp_path / "set.h5")
    finally:
        bench.engine.stop()
    assert done.finished.rows == corpus.summary.words


# --- chunks


@given(
    st.lists(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=9), max_size=30),
    st.integers(1, 9),
    st.integers(1, 200),
    st.integers(1, 100),
)
def test_chunks_keep_to_the_limits(given: list[list[str]], sentences: int, tokens: int, rows: int) -> None:
    planned = [
        PlannedSentence(k, Sentence(tuple(words)), tuple(words), range(len(words)), {}, 0)
        for k, words in enumerate(given)
    ]
    limits = Limits(sentences=sentences, request_tokens=tokens, capture_bytes=rows * 100)
    chunks = list(cut(planned, limits, 100))
    assert [each for chunk in chunks for each in chunk] == planned
    for chunk in chunks:
        assert 0 < len(chunk) <= sentences
        if len(chunk) > 1:
            assert sum(len(word) for each in chunk for word in each.names) <= tokens
            assert sum(len(each.names) for each in chunk) <= rows
