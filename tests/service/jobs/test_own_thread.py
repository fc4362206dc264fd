"""A thread of one's own lets go of what it does before its task ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from patchclamp_analysis.errors import Cancelled
from patchclamp_service.jobs.own_thread import OwnThread


async def test_who_waits_is_cancelled_at_once_and_nothing_is_logged() -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    begun, ended = threading.Event(), []
    async with OwnThread("test") as thread:

        def work() -> None:
            begun.set()
            try:
                thread.wait(3600.0)
            except Cancelled:
                ended.append("cancelled")
                raise

        task = asyncio.create_task(thread.run(work))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["cancelled"]
        assert await thread.run(lambda: "goes on") == "goes on"
    del task
    gc.collect()
    await asyncio.sleep(0)
    assert unseen == []
