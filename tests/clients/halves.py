"""One way to drive both halves of the SDK, so that each test is written once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import patchclamp

__all__ = ["Half"]


class Half:
    """`Client` or `AsyncClient`; the synchronous one runs in a thread beside the server's event loop."""

    def __init__(self, client_class: type[patchclamp.Client | patchclamp.AsyncClient]) -> None:
        self.client_class = client_class

    @asynccontextmanager
    async def client(self, target: str, **options: Any) -> AsyncIterator[Any]:
        """A client that is closed at the end."""
        client = self.client_class(target, **options)
        try:
            yield client
        finally:
            await self.wait(client.close)

    async def wait(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What a method returns."""
        if inspect.iscoroutinefunction(function):
            return await function(*arguments, **options)
        return await asyncio.to_thread(function, *arguments, **options)

    async def items(self, stream: Any) -> list[Any]:
        """All that a stream gives."""
        if hasattr(stream, "__aiter__"):
            return [item async for item in stream]
        return await asyncio.to_thread(list, stream)

    async def next(self, stream: Any) -> Any:
        """The next thing that a stream gives."""
        if hasattr(stream, "__anext__"):
            return await stream.__anext__()
        return await asyncio.to_thread(next, stream)

    async def leave(self, stream: Any) -> None:
        """Enters the stream's context and leaves it."""
        suffix = "a" if hasattr(stream, "__aenter__") else ""
        await self.wait(getattr(stream, f"__{suffix}enter__"))
        await self.wait(getattr(stream, f"__{suffix}exit__"), None, None, None)
