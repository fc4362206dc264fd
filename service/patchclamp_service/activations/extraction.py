"""Runs a corpus through an engine into an activation set: in the background, and on from where it was.

Chunks of sentences are always ahead in the engine, so that it never waits; what comes out is written by a thread of
its own, a few MiB at a time. Memory does not depend on the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.corpora.corpus import Corpus
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.errors import Busy as AnalysisBusy
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, Finished
from patchclamp_analysis.sets.set_layout import RowBlock

from patchclamp_service.activations.chunks import Answer, Chunk, answers, cut
from patchclamp_service.activations.extraction_spec import ExtractionSpec, Reading, prepare
from patchclamp_service.activations.receipts import Receipts
from patchclamp_service.activations.row_plan import PlannedSentence
from patchclamp_service.engine.errors import Busy, InvalidRequest
from patchclamp_service.engine.requests import Receipt
from patchclamp_service.jobs.own_thread import OwnThread
from patchclamp_service.jobs.rests import Rests
from patchclamp_service.store.staging import disk_space

if TYPE_CHECKING:  # the engine brings torch, which a server imports late
    from patchclamp_service.engine.engine import Engine

__all__ = ["Extracted", "Report", "extract", "extract_corpus"]

Report = Callable[[str, int, int, str], None]
"""Told the stage, how much of it is done, of how much, and what is counted. What it raises ends the work."""

_WRITE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Extracted:
    """A set that is in its place, and what its edits did."""

    finished: Finished
    receipts: Receipts

    @property
    def receipt(self) -> Receipt:
        """What its edits did, added up."""
        return self.receipts.receipt

    def forget(self) -> None:
        """Removes what a repeated attempt would need, once the receipt is kept elsewhere."""
        self.receipts.remove()


async def extract_corpus(
    engine: Engine,
    corpus: Corpus,
    spec: ExtractionSpec,
    path: Path,
    report: Report,
    sentences: range | None = None,
) -> Extracted:
    """Checks a specification, and does what `extract` does. Raises InvalidRequest, and what that raises."""
    return await extract(await prepare(engine, corpus, spec), path, report, sentences)


async def extract(reading: Reading, path: Path, report: Report, sentences: range | None = None) -> Extracted:
    """Writes the activations of a corpus (or the rows of some of its sentences) to `path`, or goes on with what an
    earlier attempt has left; a set that is there and the same is taken as it is. When it is cancelled or fails, what
    is durable stays for another attempt.

    Raises:
        InvalidRequest: no row is kept, or a sentence cannot be run.
        BadData: a value is not finite.
        Exhausted: the disk is full.
        NotReady: the engine is draining.
        Busy: another attempt has not let go yet.
    """
    numbers = range(len(reading.corpus)) if sentences is None else sentences
    async with OwnThread("patchclamp-set") as thread:
        with _refusals():
            return await _Extraction(reading, numbers, path, report, thread, whole=sentences is None).run()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        with disk_space():
            yield
    except AnalysisBusy as error:
        raise Busy(error.message, retry_after=5.0) from error


class _Extraction:
    """One attempt."""

    def __init__(
        self, reading: Reading, numbers: range, path: Path, report: Report, thread: OwnThread, *, whole: bool
    ) -> None:
        self._reading = reading
        self._numbers = numbers
        self._rests = Rests(reading.engine.pace, thread.wait)
        self._plan = reading.plan(numbers, self._rests.turn)
        self._path = path
        self._report = report
        self._thread = thread
        self._whole = whole
        prepared = reading.prepared
        self._receipts = Receipts.open(path, prepared.digest, len(prepared.interventions))

    async def run(self) -> Extracted:
        """Opens the file, fills it, finishes it."""
        finished = await self._thread.run(self._found)
        if finished is None:
            writer = await self._thread.run(self._opened)
            try:
                await self._fill(writer)
                if self._whole:
                    self._check_selected()
                finished = await self._thread.run(self._finish, writer)
            finally:
                await self._thread.run(_let_go, writer)
        return Extracted(finished, self._receipts)

    async def _fill(self, writer: ActivationSetWriter) -> None:
        """Writes the rows that are missing."""
        self._progress("extracting", self._numbers.start - 1)
        chunks = cut(self._missing(writer), self._reading.engine.limits, self._reading.row_bytes)
        batch: list[Answer] = []
        size = 0
        following = partial(self._thread.run, self._next, chunks)
        async with aclosing(answers(self._reading.engine, following, self._reading.request)) as found:
            async for answer in found:
                batch.append(answer)
                size += len(answer.planned.places) * self._reading.row_bytes
                if size >= _WRITE_BYTES or answer.activations.receipt:
                    await self._thread.run(self._write, writer, batch)
                    self._progress("extracting", answer.planned.number)
                    batch, size = [], 0
        if len(self._numbers) == len(self._reading.corpus):  # of a part, the caller asks whether any part was edited
            self._check_selected()

    def _missing(self, writer: ActivationSetWriter) -> Iterator[PlannedSentence]:
        """The sentences to run, without the rows that are in the file."""
        done = writer.rows_done
        if self._receipts.rows > done:  # of another file
            self._receipts.reset()
        begin = self._receipts.rows if self._receipts.edits else done
        for planned in self._plan.sentences():
            there = len(planned.places) - (planned.end - done)
            if planned.end > begin:
                yield planned if there <= 0 else replace(planned, places=planned.places[there:])

    def _check_selected(self) -> None:
        """Refuses edits that selected nothing in the whole corpus; no request alone could."""
        for number, (edit, done) in enumerate(
            zip(self._reading.prepared.interventions, self._receipts.edits, strict=True)
        ):
            if edit.condition is None and not done.positions_edited:
                text = "these positions select no token of the corpus"
                raise InvalidRequest(text, reason="SELECTS_NOTHING", field=f"interventions[{number}].positions")

    # --- in the thread

    def _found(self) -> Finished | None:
        """The set, if it is there already. One that is not the same is in nobody's way, and goes."""
        if not self._path.exists():
            return None
        self._report("finishing", 0, 0, "")
        try:
            with ActivationSet.open(self._path) as found:
                same = found.description == self._reading.description()
                counted = not self._receipts.edits or self._receipts.rows == found.rows
            if same and counted:
                with self._rests.working():
                    return Finished.of(self._path, self._finishing)
        except BadData:
            pass  # whatever it is, no set of ours
        self._path.unlink()
        return None

    def _opened(self) -> ActivationSetWriter:
        with self._rests.working():
            _ = self._plan.selection  # drawn here, where it can rest, even if the file is there already
            return ActivationSetWriter.open(self._path, self._reading.description(), self._blocks())

    def _blocks(self) -> Iterator[RowBlock]:
        rows = 0
        for block in self._plan.blocks():
            self._thread.check()
            rows += len(block.words)
            self._progress("tokenising", int(block.sentences[-1]))
            yield block
            self._rests.rest()
        if not rows:
            raise InvalidRequest("filter: it keeps no row of the corpus", reason="NO_ROWS", field="filter")

    def _next(self, chunks: Iterator[Chunk]) -> Chunk | None:
        with self._rests.working():
            chunk = next(chunks, None)
            self._rests.rest()
            return chunk

    def _write(self, writer: ActivationSetWriter, batch: Sequence[Answer]) -> None:
        masked = [self._kept(answer, self._reading.masked(answer.planned, answer.activations)) for answer in batch]
        values = {
            site.name: np.concatenate([self._kept(answer, answer.activations.captured[site.name]) for answer in batch])
            for site in self._reading.prepared.sites
        }
        writer.write(values, np.concatenate(masked))
        last = batch[-1]
        if last.activations.receipt and self._receipts.edits:
            writer.commit()
            self._receipts.add(last.activations.receipt, last.planned.end)
            self._receipts.save()

    def _kept(self, answer: Answer, rows: NDArray[Any]) -> NDArray[Any]:
        places = answer.planned.places
        return rows if len(places) == len(rows) else rows[np.asarray(places, dtype=np.int64)]

    def _finish(self, writer: ActivationSetWriter) -> Finished:
        with self._rests.working():
            return writer.finish(self._finishing)

    def _finishing(self, stage: str, done: int, total: int) -> None:
        self._thread.check()
        self._report(stage, done, total, "bytes")
        self._rests.rest()

    def _progress(self, stage: str, sentence: int) -> None:
        self._report(stage, sentence - self._numbers.start + 1, len(self._numbers), "sentences")


def _let_go(writer: ActivationSetWriter) -> None:
    """Closes; what was written need not be written again."""
    with writer, suppress(OSError):
        writer.commit()
