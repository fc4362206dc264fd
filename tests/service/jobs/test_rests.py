"""While others are there, an extraction rests wherever it works without the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.sets.row_selection import RowFilter
from patchclamp_service.activations.extraction import Report, extract_corpus
from patchclamp_service.activations.extraction_spec import ExtractionSpec
from patchclamp_service.engine.engine import Engine
from patchclamp_service.engine.pace import Pace
from patchclamp_service.engine.requests import Limits, Pooling
from patchclamp_service.engine.sites import build_site_map
from patchclamp_service.jobs.rests import Rests

from tests.tiny import tiny_model

SPEC = ExtractionSpec(("layers.1.residual",), corpus="corpora/x")
WORDS, SENTENCES = 9, 400


class Remembered(Pace):
    """Remembers how long work was told to rest while others were there."""

    def __init__(self, share: float) -> None:
        super().__init__(share)
        self.rests: list[float] = []

    def rest(self, seconds: float) -> float:
        given = super().rest(seconds)
        if given:
            self.rests.append(given)
        return given


@pytest.fixture
def pace(request: pytest.FixtureRequest) -> Remembered:
    return Remembered(request.param)


@pytest.fixture
def engine(pace: Remembered) -> Iterator[Engine]:
    model = tiny_model("bert")
    engine = Engine(model, build_site_map(model), Limits(), pace=pace)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    words = ("the", "nurse", "said", "that", "she", "would", "be", "late", "because")
    return write_corpus((Sentence(words) for _ in range(SENTENCES)), tmp_path / "corpus")


def left(path: Path) -> list[str]:
    return [file.name for file in path.iterdir()]


def told(pace: Remembered, counts: dict[str, int]) -> Report:
    """Others are there at all stages but the one in which the engine needs passes."""

    def report(stage: str, done: int, total: int, unit: str) -> None:
        counts.setdefault(stage, len(pace.rests))
        if stage == "extracting" and not pace.free:
            pace.leave()
        elif stage != "extracting" and pace.free:
            pace.arrive()

    return report


@pytest.mark.parametrize("pace", [0.5], indirect=True)
@pytest.mark.parametrize("pooling", [Pooling.AVERAGE, Pooling.NONE])
async def test_planning_rests_after_every_block_and_statistics_after_every_step(
    pace: Remembered, engine: Engine, corpus: Corpus, tmp_path: Path, pooling: Pooling
) -> None:
    spec = ExtractionSpec(SPEC.sites, corpus=SPEC.corpus, pooling=pooling)
    counts: dict[str, int] = {}
    pace.arrive()
    await extract_corpus(engine, corpus, spec, tmp_path / "set.h5", told(pace, counts))
    assert counts["tokenising"] <= counts["extracting"] - (WORDS * SENTENCES // 1000)
    assert len(pace.rests) > counts["statistics"]


@pytest.mark.parametrize("pace", [0.5], indirect=True)
async def test_the_digest_of_a_set_that_is_there_rests_too(
    pace: Remembered, engine: Engine, corpus: Corpus, tmp_path: Path
) -> None:
    path = tmp_path / "set.h5"
    made = await extract_corpus(engine, corpus, SPEC, path, lambda *_: None)
    pace.arrive()
    again = await extract_corpus(engine, corpus, SPEC, path, lambda *_: None)
    assert again.finished == made.finished
    assert len(pace.rests) == -(-made.finished.size_bytes // (1 << 20))


@pytest.mark.parametrize("pace", [0.0], indirect=True)
async def test_the_sentences_of_a_set_that_is_gone_on_with_rest_too(
    pace: Remembered, engine: Engine, corpus: Corpus, tmp_path: Path
) -> None:
    """Others are there from when the rows are planned: the engine gets no sentence before they have gone."""
    stages: list[str] = []

    def report(stage: str, *_: object) -> None:
        if stage == "extracting" and stage not in stages:
            pace.arrive()
        stages.append(stage)

    task = asyncio.create_task(extract_corpus(engine, corpus, SPEC, tmp_path / "set.h5", report))
    async with asyncio.timeout(30):
        while not pace.rests:
            await asyncio.sleep(0)
    assert not engine.load().queued_tokens
    pace.leave()
    await task


@pytest.mark.parametrize("pace", [0.0], indirect=True)
@pytest.mark.parametrize("rule", [RowFilter(), RowFilter(per_word_type=3)])
async def test_what_rests_can_be_cancelled(
    pace: Remembered, engine: Engine, corpus: Corpus, tmp_path: Path, rule: RowFilter
) -> None:
    spec = ExtractionSpec(SPEC.sites, corpus=SPEC.corpus, rule=rule)
    pace.arrive()
    task = asyncio.create_task(extract_corpus(engine, corpus, spec, tmp_path / "set.h5", lambda *_: None))
    async with asyncio.timeout(30):
        while not pace.rests:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(tmp_path) == ["corpus"]


@pytest.mark.parametrize("pace", [0.0], indirect=True)
async def test_progress_says_extracting_before_the_first_rows_are_written(
    engine: Engine, corpus: Corpus, tmp_path: Path
) -> None:
    found: list[tuple[str, int, int]] = []
    await extract_corpus(engine, corpus, SPEC, tmp_path / "set.h5", lambda *at: found.append(at[:3]))
    after = found[[stage for stage, *_ in found].index("extracting")]
    assert after == ("extracting", 0, SENTENCES)


@pytest.mark.parametrize("pace", [0.0], indirect=True)
def test_a_rest_ends_when_nobody_is_there_any_more(pace: Remembered) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            pace.leave()

    rests = Rests(pace, wait)
    pace.arrive()
    with rests.working():
        rests.rest()
    rests.rest()
    assert waits == [0.05] * 3
