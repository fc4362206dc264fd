"""Steps that belong together: who asked for them may go away, and they are still taken."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["uninterrupted"]

T = TypeVar("T")


async def uninterrupted(steps: Coroutine[Any, Any, T]) -> T:
    """What the steps return, however often the caller is cancelled meanwhile: he has come too late."""
    task = asyncio.ensure_future(steps)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
