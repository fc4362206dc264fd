"""Calls that stream to the server, for either half."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import TypeVar

import grpc
import grpc.aio

from patchclamp._channels import CallOptions

__all__ = ["answer_to", "async_answer_to"]

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ValueT = TypeVar("ValueT")


async def async_answer_to(
    method: grpc.aio.StreamUnaryMultiCallable[RequestT, ResponseT],
    requests: AsyncIterator[RequestT],
    options: CallOptions,
) -> ResponseT:
    """Sends all of it, and gives the answer.

    When the server refuses before it has read everything, a write that fails at that moment may replace its status
    by INTERNAL (github.com/grpc/grpc/issues/36066). So the status is noted when it arrives.
    """
    call = method(requests, **options)
    arrived: list[grpc.aio.AioRpcError] = []
    call.add_done_callback(lambda done: arrived.append(_error_of(done)))
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INTERNAL and arrived[0].code() is not grpc.StatusCode.OK:
            raise arrived[0] from error
        raise


def answer_to(
    method: grpc.StreamUnaryMultiCallable[RequestT, ResponseT], requests: Iterator[RequestT], options: CallOptions
) -> ResponseT:
    """Sends all of it, and gives the answer."""
    return method(requests, **options)


def _error_of(call: grpc.aio.StreamUnaryCall[RequestT, ResponseT]) -> grpc.aio.AioRpcError:
    code, trailers, details = (_settled(call.code()), _settled(call.trailing_metadata()), _settled(call.details()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details, "")


def _settled(value: Coroutine[object, None, ValueT]) -> ValueT:
    """What a call that is done knows already; waiting for it would be too late."""
    try:
        value.send(None)
    except StopIteration as known:
        settled: ValueT = known.value
        return settled
    raise AssertionError("the call is not done")
