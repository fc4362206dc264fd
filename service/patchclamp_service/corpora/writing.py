"""Writes corpora where the server does not feel it: a small one in a thread, a large one in a process of its own.

Sentences are parsed in Python, which holds the interpreter's lock: in a thread, that takes turns with the engine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from patchclamp_analysis.corpora.corpus import CorpusSummary, Sentence, write_corpus

from patchclamp_service.jobs.own_thread import OwnThread
from patchclamp_service.jobs.progress import JobContext
from patchclamp_service.jobs.worker_process import Report
from patchclamp_service.jobs.workers import Workers
from patchclamp_service.store.staging import disk_space

__all__ = ["CorpusWriter"]

# Parsed in a quarter of a second, which is what a process takes to start.
_SMALL_BYTES = 1 << 20
# Parsed in a minute at most.
_MIDDLING_BYTES = 1 << 26
_AT_ONCE = 2
_PROCESS_BYTES = 1 << 30


class CorpusWriter:
    """Writes a few corpora at a time; others wait, but never behind those that take much longer."""

    def __init__(self) -> None:
        self._small = asyncio.Semaphore(_AT_ONCE)
        self._middling = Workers(_AT_ONCE, _PROCESS_BYTES)
        self._large = Workers(_AT_ONCE, _PROCESS_BYTES)

    async def write(
        self, sentences: Callable[[], Iterable[Sentence]], directory: Path, work_bytes: int
    ) -> CorpusSummary:
        """Writes what `sentences` gives, which can be pickled. `work_bytes` is about how much text it goes through.
        Stops when it is cancelled.

        Raises:
            BadData: the sentences are wrong.
            Exhausted: the disk is full, or they need too much memory.
        """
        if work_bytes > _SMALL_BYTES:
            workers = self._large if work_bytes > _MIDDLING_BYTES else self._middling
            return await workers.run(_write, sentences, directory, context=JobContext("", directory.name, 1))
        async with self._small, OwnThread("patchclamp-corpus") as thread:
            return await thread.run(lambda: _write(None, lambda: _watched(sentences(), thread.check), directory))


def _write(report: Report | None, sentences: Callable[[], Iterable[Sentence]], directory: Path) -> CorpusSummary:
    with disk_space():
        return write_corpus(sentences(), directory).summary


def _watched(sentences: Iterable[Sentence], check: Callable[[], None]) -> Iterator[Sentence]:
    for sentence in sentences:
        check()
        yield sentence
