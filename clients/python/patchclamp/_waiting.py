"""What waits, for either half: pauses, and work that would hold up an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["async_in_thread", "async_sleep", "in_thread", "sleep"]

Parameters = ParamSpec("Parameters")
ResultT = TypeVar("ResultT")


async def async_in_thread(
    function: Callable[Parameters, ResultT], *arguments: Parameters.args, **options: Parameters.kwargs
) -> ResultT:
    """Runs work on files beside the event loop."""
    return await asyncio.to_thread(function, *arguments, **options)


def in_thread(
    function: Callable[Parameters, ResultT], *arguments: Parameters.args, **options: Parameters.kwargs
) -> ResultT:
    """Runs it here: there is no event loop to hold up."""
    return function(*arguments, **options)


async def async_sleep(seconds: float) -> None:
    """Pauses."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Pauses."""
    time.sleep(seconds)
