"""Replies that come one message at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from patchclamp._activations import Assembler, SentenceActivations
from patchclamp._downloads import WholeFile
from patchclamp._exceptions import Cancelled, PatchclampError, ProtocolError
from patchclamp._generation import Generation, Token
from patchclamp._receipts import Applied
from patchclamp._status import status_errors
from patchclamp._waiting import async_in_thread
from patchclamp.v1 import activations_pb2, inference_pb2

__all__ = ["AsyncExtraction", "AsyncGenerationStream", "AsyncMessages", "save_chunks"]

ResponseT = TypeVar("ResponseT")
Response_co = TypeVar("Response_co", covariant=True)


class AsyncResponses(Protocol[Response_co]):
    """What of gRPC's call object is used."""

    def __aiter__(self) -> AsyncIterator[Response_co]: ...

    def cancel(self) -> object: ...


class AsyncStream(Generic[ResponseT]):
    """A running call. Leaving its context, or dropping it, before the end cancels the work on the server."""

    def __init__(self, call: AsyncResponses[ResponseT]) -> None:
        self._call = call
        self._responses = aiter(call)
        self._cancelled = False
        self._ended = False
        self._failure: PatchclampError | None = None

    def __del__(self) -> None:
        # gRPC's own object is part of a cycle: the garbage collector may take minutes to find and cancel it.
        if not self._ended:
            with suppress(RuntimeError):  # the event loop is closed, and every call with it
                self._call.cancel()

    def cancel(self) -> None:
        """Stops the work on the server; iteration ends. Does nothing once the reply is complete."""
        self._cancelled = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    async def _receive(self) -> ResponseT | None:
        """The next message; None at the end. What failed once keeps failing."""
        if self._failure is not None:
            raise self._failure
        if self._cancelled:
            return None
        try:
            with status_errors():
                response = await anext(self._responses, None)
        except PatchclampError as error:
            self._failure = error
            raise
        self._ended = response is None
        return response


class AsyncGenerationStream(AsyncStream[inference_pb2.GenerateResponse]):
    """A generation under way: iterate over its tokens, or wait for the whole of it."""

    def __init__(self, call: AsyncResponses[inference_pb2.GenerateResponse]) -> None:
        super().__init__(call)
        self._tokens: list[Token] = []
        self._generation: Generation | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Token:
        """The next token.

        Raises:
            PatchclampError: The generation failed.
        """
        while self._generation is None and not self._cancelled:
            response = await self._receive()
            if response is None:
                raise ProtocolError(f"the generation ended after {len(self._tokens)} tokens without its last message")
            if response.HasField("token"):
                self._tokens.append(Token.from_proto(response.token))
                return self._tokens[-1]
            if response.HasField("completed"):
                self._generation = Generation.from_proto(self._tokens, response.completed)
                await self._receive()  # the status, without which the call counts as cut short
        raise StopAsyncIteration

    async def result(self) -> Generation:
        """The whole generation, with the tokens that were read before.

        Raises:
            PatchclampError: It failed, or was cancelled.
        """
        async for _ in self:
            pass
        if self._generation is None:
            raise Cancelled(f"the generation was cancelled after {len(self._tokens)} tokens")
        return self._generation

    async def text(self) -> str:
        """The whole text; raises as `result` does."""
        generation = await self.result()
        return generation.text


class AsyncMessages(AsyncStream[ResponseT]):
    """A reply as it comes, message by message."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResponseT:
        """The next message."""
        response = await self._receive()
        if response is None:
            raise StopAsyncIteration
        return response


class AsyncExtraction(AsyncStream[activations_pb2.ExtractActivationsResponse]):
    """An extraction under way: iterate over its sentences.

    Attributes:
        applied: What was done to the activations, added up over the sentences; empty until the last one is read.
    """

    def __init__(self, call: AsyncResponses[activations_pb2.ExtractActivationsResponse], sentence_count: int) -> None:
        super().__init__(call)
        self.applied = Applied()
        self._assembler = Assembler()
        self._ready: deque[SentenceActivations] = deque()
        self._missing = sentence_count

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SentenceActivations:
        """The next sentence.

        Raises:
            PatchclampError: The extraction failed, or the reply does not fit the request.
        """
        while not self._ready and (response := await self._receive()) is not None:
            if response.HasField("applied"):
                self.applied = Applied.from_proto(response.applied)
            self._ready += self._assembler.add(response)
        if not self._ready and not self._cancelled:
            self._ready += self._assembler.finish()
        if self._ready:
            self._missing -= 1
            return self._ready.popleft()
        if self._missing and not self._cancelled:
            raise ProtocolError(f"the extraction ended {self._missing} sentences early")
        raise StopAsyncIteration


async def save_chunks(call: AsyncResponses[activations_pb2.FileChunk], path: Path) -> Path:
    """Writes the file that comes in chunks; it appears once it is whole.

    Raises:
        DataLoss: It is not whole, or its checksum is wrong; nothing is kept.
    """
    with WholeFile(path) as file:
        async with AsyncMessages(call) as chunks:
            async for chunk in chunks:
                await async_in_thread(file.write, chunk)
        await async_in_thread(file.finish)
    return path
