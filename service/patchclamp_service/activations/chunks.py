"""Feeds planned sentences to an engine in chunks, and gives back their activations in order."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchclamp_service.activations.row_plan import PlannedSentence, in_corpus
from patchclamp_service.engine.errors import EngineFailure, Exhausted, InvalidRequest
from patchclamp_service.engine.requests import ExtractRequest, Limits, SentenceActivations
from patchclamp_service.engine.stream import Stream

if TYPE_CHECKING:  # the engine brings torch, which a server imports late
    from patchclamp_service.engine.engine import Engine

__all__ = ["Answer", "Chunk", "answers", "cut"]

# Long enough for the engine to sort sentences by length, short enough to hold several.
_CHUNK_BYTES = 64 << 20
# So many chunks take the queue at most; the rest of it is for others.
_QUEUE_SHARE = 16
# In the engine at any time, so that it never waits for the next.
_AHEAD = 2
_SENTENCE = re.compile(r"sentences\[(\d+)\]")

Chunk = Sequence[PlannedSentence]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an engine gave for a sentence. The receipt of a chunk comes with its last sentence."""

    planned: PlannedSentence
    activations: SentenceActivations


def cut(sentences: Iterable[PlannedSentence], limits: Limits, row_bytes: int) -> Iterator[Chunk]:
    """Consecutive sentences, as many as memory and the engine's limits let one request have; at least one."""
    most_bytes = min(_CHUNK_BYTES, limits.capture_bytes)
    # A token has at least one byte of text: special ones aside, there are fewer tokens than this.
    most_text = min(limits.request_tokens, limits.queued_tokens // _QUEUE_SHARE)
    chunk: list[PlannedSentence] = []
    size = text = 0
    for planned in sentences:
        own_size, own_text = len(planned.names) * row_bytes, _text_bytes(planned)
        full = size + own_size > most_bytes or text + own_text > most_text or len(chunk) == limits.sentences
        if chunk and full:
            yield chunk
            chunk, size, text = [], 0, 0
        chunk.append(planned)
        size, text = size + own_size, text + own_text
    if chunk:
        yield chunk


def _text_bytes(planned: PlannedSentence) -> int:
    sentence = planned.sentence
    return sum(len(part.encode()) + 1 for part in (*sentence.words, sentence.text, sentence.second))


async def answers(
    engine: Engine, following: Callable[[], Awaitable[Chunk | None]], request: Callable[[Chunk], ExtractRequest]
) -> AsyncGenerator[Answer]:
    """Runs chunks until none follows, and yields sentence by sentence. Leaving it early stops the work.

    Raises:
        InvalidRequest: a sentence cannot be run; the message says which.
        PatchclampError: what the engine raises, save that its queue is full, which passes.
    """
    streams: deque[tuple[Chunk, Stream]] = deque()
    try:
        while True:
            while len(streams) < _AHEAD and (chunk := await following()):
                streams.append((chunk, await _submitted(engine, request(chunk), chunk)))
            if not streams:
                return
            async for answer in _read(*streams[0]):
                yield answer
            streams.popleft()
    finally:
        for _, stream in streams:
            await stream.aclose()


async def _submitted(engine: Engine, request: ExtractRequest, chunk: Chunk) -> Stream:
    while True:
        try:
            return await engine.submit(request)
        except Exhausted as error:
            if error.retry_after is None:
                raise
            await asyncio.sleep(error.retry_after)
        except InvalidRequest as error:
            raise _named(error, chunk) from error


async def _read(chunk: Chunk, stream: Stream) -> AsyncGenerator[Answer]:
    waiting = deque(chunk)
    try:
        async for event in stream:
            if not isinstance(event, SentenceActivations) or not waiting:
                raise EngineFailure(f"a {type(event).__name__} too many among the sentences of a corpus")
            yield Answer(waiting.popleft(), event)
    except InvalidRequest as error:
        raise _named(error, chunk) from error
    if waiting:
        raise EngineFailure(f"{len(waiting)} of {len(chunk)} sentences have no activations")


def _named(error: InvalidRequest, chunk: Chunk) -> InvalidRequest:
    """The same error with the sentence as the corpus numbers it."""
    found = _SENTENCE.match(error.field)
    return in_corpus(error, chunk[int(found[1])].number) if found else error
