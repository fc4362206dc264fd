"""Long-running work on the server."""
# ruff: noqa: ASYNC109 (the timeout is of the waiting; the work goes on)

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from patchclamp._async.connection import AsyncConnection
from patchclamp._exceptions import Cancelled, DeadlineExceeded, StatusError, Unavailable
from patchclamp._operations import OperationMetadata, OperationResult, error_of, metadata_of, result_of
from patchclamp._progress import ProgressOption, reporting
from patchclamp._resources import Named, name_of
from patchclamp._status import status_errors
from patchclamp._waiting import async_sleep

__all__ = ["AsyncOperation", "AsyncOperations"]

ResultT = TypeVar("ResultT")

# How long the server is asked to wait at once: without anybody who looks, and for a bar that moves.
LONG_SLICE, SHORT_SLICE = 30.0, 1.0
# A server that is started again loads its models first, and then goes on with the work.
PATIENCE = 300.0
PAUSE = 1.0
FILTERS = {None: "", True: "done=true", False: "done=false"}


class AsyncOperation(Generic[ResultT]):
    """Work that goes on on the server, whether or not anyone waits for it; also through a restart.

    `result` waits for what it makes. Later, or elsewhere, `client.operations.get(name)` gives it again.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        message: operations_pb2.Operation,
        read: Callable[[AnyMessage], ResultT],
        progress: ProgressOption = False,
    ) -> None:
        self._connection = connection
        self._message = message
        self._read = read
        self._progress = progress
        self._seen = time.monotonic()

    @property
    def name(self) -> str:
        """ "operations/…"."""
        return str(self._message.name)

    @property
    def done(self) -> bool:
        """Whether it had ended, well or not, when the server was last asked: by `wait`, `result` or `refresh`."""
        return bool(self._message.done)

    @property
    def metadata(self) -> OperationMetadata:
        """How far it was when the server was last asked."""
        return metadata_of(self._message)

    @property
    def error(self) -> StatusError | None:
        """Why it failed, or `Cancelled`; None where it did not, or not yet."""
        return error_of(self._message)

    @property
    def state(self) -> str:
        """The same in a few words: "extracting 120 of 2,001 sentences", "done", "cancelled", "failed: …"."""
        if self.done:
            if isinstance(self.error, Cancelled):
                return "cancelled"
            return "done" if self.error is None else f"failed: {self.error}"
        metadata = self.metadata
        count = f" {metadata.done:,} of {metadata.total:,} {metadata.unit}" if metadata.total else ""
        return f"{metadata.stage or 'running'}{count}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.state}>"

    async def refresh(self, *, timeout: float | None = None) -> None:
        """Asks the server how far it is.

        Args:
            timeout: Seconds for the call; None: the client's.
        """
        request = operations_pb2.GetOperationRequest(name=self.name)
        with status_errors():
            self._message = await self._stub.GetOperation(request, **self._connection.options(timeout))

    async def wait(self, timeout: float = math.inf) -> bool:
        """Waits for the end; whether it has come. A server that is started again meanwhile is waited for.

        Args:
            timeout: Seconds to wait; by default as long as it takes. 0: only asks.
        """
        until = time.monotonic() + timeout
        longest = SHORT_SLICE if self._progress else LONG_SLICE
        with reporting(self._progress) as report:
            while not self.done:
                report(self.metadata)
                left = until - time.monotonic()
                if left <= 0:
                    await self.refresh()
                    break
                await self._wait(min(left, longest))
            report(self.metadata)
        return self.done

    async def result(self, timeout: float = math.inf) -> ResultT:
        """What it makes, once it is there.

        Args:
            timeout: Seconds to wait; by default as long as it takes.

        Raises:
            DeadlineExceeded: It is not done in time; it goes on.
            StatusError: It failed, or was cancelled; as a call would have raised it.
        """
        if not await self.wait(timeout):
            raise DeadlineExceeded(f"{self.name} is not done after {timeout:g} s, but {self.state}; it goes on")
        if (error := self.error) is not None:
            raise error
        return self._read(self._message.response)

    async def cancel(self, *, timeout: float | None = None) -> None:
        """Asks the server to stop it; then `result` raises `Cancelled`. Does nothing once it is done.

        Args:
            timeout: Seconds for the call; None: the client's.
        """
        await AsyncOperations(self._connection).cancel(self.name, timeout=timeout)

    async def delete(self, *, timeout: float | None = None) -> None:
        """Forgets it on the server; what it made stays.

        Args:
            timeout: Seconds for the call; None: the client's.
        """
        await AsyncOperations(self._connection).delete(self.name, timeout=timeout)

    async def _wait(self, seconds: float) -> None:
        """Lets the server wait so long at most."""
        request = operations_pb2.WaitOperationRequest(name=self.name)
        request.timeout.FromMilliseconds(round(seconds * 1000))
        asked = time.monotonic()
        try:
            with status_errors():
                options = self._connection.options(seconds + self._connection.timeout)
                self._message = await self._stub.WaitOperation(request, **options)
        except Unavailable:
            if asked - self._seen > PATIENCE:
                raise
        else:
            self._seen = time.monotonic()
        if not self.done and time.monotonic() - asked < seconds / 2:
            await async_sleep(min(seconds / 2, PAUSE))

    @cached_property
    def _stub(self) -> operations_pb2_grpc.OperationsStub:
        return operations_pb2_grpc.OperationsStub(self._connection.channel)


class AsyncOperations:
    """Long-running work on the server: `client.operations`. Operations are called by their names ("operations/…")."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(
        self, name: str, *, progress: ProgressOption = False, timeout: float | None = None
    ) -> AsyncOperation[OperationResult]:
        """One operation, to wait for or to look at.

        Args:
            name: "operations/…".
            progress: As in `client.activation_sets.create`.
            timeout: Seconds for the call; None: the client's.
        """
        request = operations_pb2.GetOperationRequest(name=name)
        with status_errors():
            message = await self._stub.GetOperation(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_of, progress)

    async def list(
        self, *, done: bool | None = None, timeout: float | None = None
    ) -> tuple[AsyncOperation[OperationResult], ...]:
        """The operations that the server remembers, the newest first.

        Args:
            done: Only those that have ended (True), or have not (False).
            timeout: Seconds for each page of them; None: the client's.
        """
        found: list[operations_pb2.Operation] = []
        request = operations_pb2.ListOperationsRequest(name="operations", filter=FILTERS[done])
        while True:
            with status_errors():
                response = await self._stub.ListOperations(request, **self._connection.options(timeout))
            found += response.operations
            if not response.next_page_token:
                return tuple(AsyncOperation(self._connection, message, result_of) for message in found)
            request.page_token = response.next_page_token

    async def wait(
        self, name: str | Named, *, timeout: float = math.inf, progress: ProgressOption = False
    ) -> AsyncOperation[OperationResult]:
        """Waits for the end of an operation; what comes back says by `done` whether it has come.

        Args:
            name: "operations/…".
            timeout: Seconds to wait; by default as long as it takes.
            progress: As in `client.activation_sets.create`.
        """
        operation = await self.get(name_of(name), progress=progress)
        await operation.wait(timeout)
        return operation

    async def cancel(self, name: str | Named, *, timeout: float | None = None) -> None:
        """Asks the server to stop an operation. Does nothing once it is done.

        Args:
            name: "operations/…".
            timeout: Seconds for the call; None: the client's.
        """
        request = operations_pb2.CancelOperationRequest(name=name_of(name))
        with status_errors():
            await self._stub.CancelOperation(request, **self._connection.options(timeout))

    async def delete(self, name: str | Named, *, timeout: float | None = None) -> None:
        """Forgets an operation on the server; what it made stays.

        Args:
            name: "operations/…".
            timeout: Seconds for the call; None: the client's.
        """
        request = operations_pb2.DeleteOperationRequest(name=name_of(name))
        with status_errors():
            await self._stub.DeleteOperation(request, **self._connection.options(timeout))

    @cached_property
    def _stub(self) -> operations_pb2_grpc.OperationsStub:
        return operations_pb2_grpc.OperationsStub(self._connection.channel)
