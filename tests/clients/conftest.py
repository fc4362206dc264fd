from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from patchclamp import AsyncClient, Client

from tests.clients.halves import Half
from tests.clients.scripted import Script, serving
from tests.clients.shell import Shell


@pytest_asyncio.fixture
async def script() -> AsyncIterator[Script]:
    async with serving(Script()) as script:
        yield script


@pytest.fixture(params=[AsyncClient, Client], ids=["async", "sync"])
def half(request: pytest.FixtureRequest) -> Half:
    return Half(request.param)


@pytest.fixture
def shell(script: Script, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(script.target, capsys)
