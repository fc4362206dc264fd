"""Where requests are parsed and checked: small ones where they arrive, large ones beside the event loop."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from patchclamp.v1 import corpora_pb2
from patchclamp_service.interceptors import Front
from patchclamp_service.metrics import Metrics

Request = corpora_pb2.AnnotateCorpusRequest


def request(words: int) -> Any:
    vocabulary = corpora_pb2.Vocabulary(words=(f"word{number}" for number in range(words)))
    return Request(corpus="corpora/a", rules=[corpora_pb2.AnnotationRule(layer="a", label="b", vocabulary=vocabulary)])


async def one(given: Any, context: object) -> empty_pb2.Empty:
    return empty_pb2.Empty()


async def all_of(given: AsyncIterator[Any], context: object) -> empty_pb2.Empty:
    async for _ in given:
        pass
    return empty_pb2.Empty()


@pytest.mark.parametrize("streams", [False, True], ids=["one", "stream"])
@pytest.mark.parametrize(("words", "beside"), [(10, False), (200_000, True)])
async def test_a_large_message_does_not_hold_up_the_event_loop(streams: bool, words: int, beside: bool) -> None:
    threads: list[int] = []

    def decode(data: bytes) -> Any:
        threads.append(threading.get_ident())
        return Request.FromString(data)

    handler = grpc.stream_unary_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
    method = handler(
        all_of if streams else one,
        request_deserializer=decode,
        response_serializer=empty_pb2.Empty.SerializeToString,
    )
    codec = (Request.SerializeToString, empty_pb2.Empty.FromString)
    server = grpc.aio.server(
        interceptors=[Front(Metrics(), 64 << 20)], options=[("grpc.max_receive_message_length", 64 << 20)]
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", {"Do": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        if streams:
            await channel.stream_unary("/test.Test/Do", *codec)(iter([request(words)]))
        else:
            await channel.unary_unary("/test.Test/Do", *codec)(request(words))
    await server.stop(None)
    assert [thread != threading.get_ident() for thread in threads] == [beside]
