"""A real gRPC server whose replies a test writes down beforehand."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import patchclamp.v1
from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

__all__ = ["HOLD", "RECEIVED", "Failure", "Script", "services", "serving"]

# The reply goes on until the caller gives up.
HOLD = object()
# What follows comes after all that the caller streams; otherwise a failure comes before most of it.
RECEIVED = object()


@dataclass(frozen=True)
class Failure:
    """Ends the call with a status; `details` are the messages of google.rpc.error_details."""

    code: grpc.StatusCode
    message: str = ""
    details: tuple[Message, ...] = ()
    raw_details: bytes | None = None

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The trailing metadata that carries the details."""
        if self.raw_details is not None:
            return (("grpc-status-details-bin", self.raw_details),)
        if not self.details:
            return ()
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        return (("grpc-status-details-bin", status.SerializeToString()),)


Reply: TypeAlias = "Message | Failure | object"


@dataclass
class Script:
    """What the server answers, call by call, and what it was asked."""

    replies: dict[str, list[tuple[Reply, ...]]] = field(default_factory=lambda: defaultdict(list))
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    target: str = ""

    def reply(self, method: str, *items: Reply) -> None:
        """Adds the reply to one more call of `method`."""
        self.replies[method].append(items)

    async def answer(
        self, method: str, request: Message | list[Message], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Message]:
        """Plays the next reply."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        for item in self.replies[method].pop(0):
            if item is HOLD:
                await self._hold()
            elif isinstance(item, Failure):
                await context.abort(item.code, item.message, item.trailers())
            elif isinstance(item, Message):
                yield item

    def refuses(self, method: str) -> bool:
        """Whether the next reply is nothing but a failure."""
        return isinstance(self.replies[method][0][0], Failure)

    async def _hold(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


def services() -> Iterator[ServiceDescriptor]:
    """Every service of patchclamp.v1, and google.longrunning.Operations."""
    for module in pkgutil.iter_modules(patchclamp.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"patchclamp.v1.{module.name}").DESCRIPTOR
            yield from file.services_by_name.values()
    yield operations_pb2.DESCRIPTOR.services_by_name["Operations"]


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Script]:
    """Runs the script on a free port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([_handlers(service, script) for service in services()])
    script.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield script
    finally:
        await server.stop(grace=None)


def _handlers(service: ServiceDescriptor, script: Script) -> grpc.GenericRpcHandler[Any, Any]:
    methods: Iterable[MethodDescriptor] = service.methods
    return grpc.method_handlers_generic_handler(
        service.full_name, {method.name: _handler(method, script) for method in methods}
    )


def _handler(method: MethodDescriptor, script: Script) -> grpc.RpcMethodHandler[Any, Any]:
    async def stream(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        async for message in script.answer(method.name, request, context):
            yield message

    async def unary(request: Message | list[Message], context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        async for message in script.answer(method.name, request, context):
            return message
        raise AssertionError(f"no reply is written down for {method.name}")

    async def collected(requests: AsyncIterator[Message], context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        """Takes the first message, and the rest unless it is refused there and then."""
        received = [await anext(aiter(requests))]
        if not script.refuses(method.name):
            received += [request async for request in requests]
        return await unary(received, context)

    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(
            collected,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return make(
        stream if method.server_streaming else unary,
        request_deserializer=GetMessageClass(method.input_type).FromString,
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )
