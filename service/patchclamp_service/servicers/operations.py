"""google.longrunning.Operations: how far long-running work is, and how to stop it."""

from __future__ import annotations

from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2

from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.jobs.jobs import Jobs

__all__ = ["OperationsServicer"]

_COLLECTION = "operations"


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # the stubs are untyped
    """Answers from the records of the operations."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.ListOperationsResponse:
        """A page of operations, the newest first."""
        if request.name not in ("", _COLLECTION):
            text = f"name: {request.name!r} holds no operations; leave it empty, or say {_COLLECTION!r}"
            raise InvalidRequest(text, reason="INVALID_NAME", field="name")
        found, following = await self._jobs.list(request.filter, request.page_size, request.page_token)
        return operations_pb2.ListOperationsResponse(operations=found, next_page_token=following)

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """One operation as it is now."""
        return await self._jobs.get(request.name)

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """One operation once it has ended, or after the timeout; at once when the server stops."""
        given = request.timeout
        seconds = given.seconds + given.nanos / 1e9 if request.HasField("timeout") else None
        return await self._jobs.wait(request.name, seconds)

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Has an operation stopped; it ends with CANCELLED soon after."""
        await self._jobs.cancel(request.name)
        return empty_pb2.Empty()

    async def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Forgets an operation that has ended."""
        await self._jobs.delete(request.name)
        return empty_pb2.Empty()
