"""Steps that are taken to their end."""

from __future__ import annotations

import asyncio

import pytest
from patchclamp_service.store.uninterrupted import uninterrupted


async def test_cancelled_again_and_again() -> None:
    go, taken = asyncio.Event(), []

    async def steps() -> str:
        await go.wait()
        taken.append("first")
        await asyncio.sleep(0)
        taken.append("second")
        return "done"

    task = asyncio.create_task(uninterrupted(steps()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    go.set()
    assert (await task, taken) == ("done", ["first", "second"])


async def test_what_the_steps_raise() -> None:
    async def steps() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await uninterrupted(steps())


async def test_steps_that_are_themselves_cancelled() -> None:
    async def steps() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await uninterrupted(steps())
