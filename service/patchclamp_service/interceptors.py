"""What surrounds every request: parsing, checking, the error table, metrics and one line of log.

The bytes are parsed in here, not by gRPC, because gRPC answers UNKNOWN with the parser's own words when they are no
message.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import Message

from patchclamp_service.checks import parse
from patchclamp_service.errors import foreseen, refuse
from patchclamp_service.metrics import Metrics

__all__ = ["Front"]

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Incoming = bytes | AsyncIterator[bytes]
    Context = grpc.aio.ServicerContext[Any, Any]

_OWN = ("/patchclamp.", "/google.longrunning.")
# A refused caller who is silent for so long does not write any more; he is listened to for so long at most.
_SILENT_SECONDS, _HEARD_SECONDS = 0.2, 30.0
# Takes ten milliseconds to check; a larger message holds nobody else up.
_LARGE_BYTES = 1 << 20
_log = structlog.get_logger(__name__)


class Front(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """The one interceptor. Servicers below it raise the engine's exceptions and name no status code."""

    def __init__(self, metrics: Metrics, message_bytes: int) -> None:
        self._metrics = metrics
        self._message_bytes = message_bytes
        self._running: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        """Wraps the handler of one method. Names that are no method share one label in the metrics."""
        handler: Handler | None = await continuation(details)
        if handler is None:
            self._metrics.request_ended("unknown", grpc.StatusCode.UNIMPLEMENTED.name, 0.0)
            return handler  # type: ignore[return-value]  # gRPC answers UNIMPLEMENTED; the stubs know no None
        return self._wrap(handler, details.method)

    async def idle(self, seconds: float) -> None:
        """Returns when no request to patchclamp's own services is left, at the latest after `seconds`."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    def _wrap(self, handler: Handler, method: str) -> Handler:
        call: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        streams = handler.response_streaming
        makers = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        read: Any = self._read_many if handler.request_streaming else self._read_one

        async def answer(incoming: Incoming, context: Context) -> Message | None:
            async with self._counted(method) as end, _answered(context, end), _heard_out(incoming):
                request = read(incoming, handler.request_deserializer)
                if not handler.request_streaming:
                    request = await request
                return await (_send(call(request, context), context) if streams else call(request, context))

        make: Any = makers[handler.request_streaming, streams]
        return make(answer, request_deserializer=None, response_serializer=handler.response_serializer)  # type: ignore[no-any-return]

    async def _read_one(self, data: bytes, decode: Callable[[bytes], Message]) -> Message:
        if len(data) < _LARGE_BYTES:
            return parse(data, decode, self._message_bytes)
        return await asyncio.to_thread(parse, data, decode, self._message_bytes)

    async def _read_many(
        self, incoming: AsyncIterator[bytes], decode: Callable[[bytes], Message]
    ) -> AsyncIterator[Message]:
        async for data in incoming:
            yield await self._read_one(data, decode)

    @asynccontextmanager
    async def _counted(self, method: str) -> AsyncGenerator[dict[str, str]]:
        """Counts and logs one request, however it ends: with what the yielded dict then says."""
        task, started = asyncio.current_task(), perf_counter()
        assert task is not None
        own = method.startswith(_OWN)
        if own:
            self._running.add(task)
        end = {"code": grpc.StatusCode.OK.name}
        try:
            yield end
        finally:
            self._running.discard(task)
            seconds = perf_counter() - started
            self._metrics.request_ended(method, end["code"], seconds)
            (_log.info if own else _log.debug)("request", method=method, seconds=round(seconds, 6), **end)


@asynccontextmanager
async def _answered(context: Context, end: dict[str, str]) -> AsyncGenerator[None]:
    """Turns what is raised inside into the status that the caller gets, and notes it in `end`."""
    try:
        yield
    except grpc.aio.AbortError:  # a ready-made servicer (health) has answered
        end["code"] = _named(context.code())
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and not task.cancelling():  # not the caller's doing: something inside was cancelled
            await _refuse(error, context, end)
        end["code"] = _given_up(context)
        raise
    except Exception as error:
        if context.done():  # a message could not be sent, since the caller had gone
            end["code"] = _given_up(context)
            raise
        await _refuse(error, context, end)


@asynccontextmanager
async def _heard_out(incoming: Incoming) -> AsyncGenerator[None]:
    """Reads on when a stream of requests is refused: gRPC's asyncio clients report a write that comes too late as an
    internal error of their own, and the caller would never learn the reason."""
    try:
        yield
    except Exception:
        with suppress(Exception):  # among them the end of the stream, and both timeouts
            async with asyncio.timeout(_HEARD_SECONDS):
                while not isinstance(incoming, bytes):
                    async with asyncio.timeout(_SILENT_SECONDS):
                        await anext(incoming)
        raise


async def _refuse(error: BaseException, context: Context, end: dict[str, str]) -> None:
    """Ends the request with the table's status. What nobody foresaw goes to the log, under an id."""
    error_id = "" if foreseen(error) else secrets.token_hex(6)
    refusal = refuse(error, error_id)
    end |= {"code": refusal.code.name, "reason": refusal.reason}
    if error_id:
        end["error_id"] = error_id
        _log.error("unforeseen", error_id=error_id, exc_info=error)
    await context.abort(refusal.code, refusal.text, refusal.trailing_metadata())


async def _send(responses: AsyncGenerator[Message] | Awaitable[None], context: Context) -> None:
    """Writes a stream. Closes it at once when the caller goes away, instead of when it is garbage."""
    if not isinstance(responses, AsyncGenerator):
        await responses  # a ready-made servicer (health) that writes for itself
        return
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


def _given_up(context: Context) -> str:
    """Why a request ended early: its deadline, or its caller."""
    left = context.time_remaining()
    late = left is not None and left <= 0
    return (grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED).name


def _named(code: object) -> str:
    """gRPC's core keeps a number where its interface promises the enum."""
    return next((status.name for status in grpc.StatusCode if code in (status, status.value[0])), "UNKNOWN")
