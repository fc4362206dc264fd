"""Corpora of all sizes are written side by side: none waits behind those that take much longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from patchclamp_analysis.corpora.corpus import Corpus, Sentence
from patchclamp_service.corpora.writing import CorpusWriter

SMALL, MIDDLING, LARGE = 1000, 10 << 20, 1 << 30


@dataclass(frozen=True)
class Held:
    """One sentence, given once a file is there."""

    until: Path

    def __call__(self) -> Iterator[Sentence]:
        while not self.until.exists():
            time.sleep(0.01)
        yield Sentence(("late",))


def at_once() -> Iterator[Sentence]:
    yield Sentence(("soon",))


@pytest.mark.parametrize(("held", "free"), [(LARGE, MIDDLING), (LARGE, SMALL), (MIDDLING, SMALL), (MIDDLING, LARGE)])
async def test_long_work_keeps_nobody_else_waiting(tmp_path: Path, held: int, free: int) -> None:
    writer = CorpusWriter()
    gate = tmp_path / "gate"
    long = [asyncio.create_task(writer.write(Held(gate), tmp_path / f"long{k}", held)) for k in range(3)]
    async with asyncio.timeout(60):
        assert (await writer.write(at_once, tmp_path / "short", free)).sentences == 1
    assert not any(task.done() for task in long)
    gate.touch()
    await asyncio.gather(*long)
    assert [sentence.words for k in range(3) for sentence in Corpus.open(tmp_path / f"long{k}")] == [("late",)] * 3
