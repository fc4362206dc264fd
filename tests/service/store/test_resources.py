"""Resources: names, pages, idempotency and what may be deleted; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_service.engine.errors import AlreadyExists, InvalidRequest, NotFound
from patchclamp_service.store.database import Database
from patchclamp_service.store.pages import last_seen, page_token
from patchclamp_service.store.resources import Resource, Resources, checked_name, resource_id

WHEN = datetime(2026, 11, 21, 12, 30, 0, 123457, tzinfo=UTC)


def resource(name: str, body: bytes = b"\0\xff", request_id: str = "", digest: str = "") -> Resource:
    return Resource(name, body, WHEN, request_id, digest)


@pytest.fixture
def kept(database: Database) -> Resources:
    return Resources(database)


async def test_what_is_kept_comes_back(kept: Resources) -> None:
    given = resource("corpora/a", request_id="mine", digest="d")
    assert await kept.create(given) == given
    assert await kept.get("corpora/a") == given
    assert await kept.by_request("corpora", "mine") == given
    assert await kept.by_request("activationSets", "mine") is None
    assert await kept.delete("corpora/a") == given
    with pytest.raises(NotFound):
        await kept.get("corpora/a")
    with pytest.raises(NotFound):
        await kept.delete("corpora/a")


async def test_a_name_is_taken_once(kept: Resources) -> None:
    await kept.create(resource("corpora/a", b"first"))
    with pytest.raises(AlreadyExists, match="'corpora/a' exists already"):
        await kept.create(resource("corpora/a", b"second"))
    assert (await kept.get("corpora/a")).body == b"first"
    await kept.create(resource("activationSets/a"))


@pytest.mark.parametrize("name", ["corpora/a", "corpora/b"])
async def test_the_same_request_again_is_the_same_resource(kept: Resources, name: str) -> None:
    first = await kept.create(resource("corpora/a", request_id="mine", digest="d"))
    assert await kept.create(resource(name, b"again", request_id="mine", digest="d")) == first
    with pytest.raises(AlreadyExists) as caught:
        await kept.create(resource(name, request_id="mine", digest="another"))
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert (await kept.list("corpora", 0, ""))[0] == [first]


async def test_no_request_id_is_no_protection(kept: Resources) -> None:
    await kept.create(resource("corpora/a"))
    await kept.create(resource("corpora/b"))
    assert await kept.by_request("corpora", "") is None


async def test_of_8_at_once_one_wins(kept: Resources) -> None:
    made = (kept.create(resource("corpora/a", bytes([i]))) for i in range(8))
    outcomes = await asyncio.gather(*made, return_exceptions=True)
    (won,) = (each for each in outcomes if isinstance(each, Resource))
    assert sum(isinstance(each, AlreadyExists) for each in outcomes) == 7
    assert await kept.get("corpora/a") == won


async def test_8_equal_requests_at_once_make_one(kept: Resources) -> None:
    made = (kept.create(resource(f"corpora/{i}", request_id="mine", digest="d")) for i in range(8))
    assert len({each.name for each in await asyncio.gather(*made)}) == 1


async def pages(kept: Resources, size: int, between: Callable[[], Awaitable[None]] | None = None) -> list[str]:
    names, token = [], ""
    while True:
        found, token = await kept.list("corpora", size, token)
        names += [each.name for each in found]
        if not token:
            return names
        assert len(found) == size
        if between:
            await between()


async def test_pages(kept: Resources) -> None:
    names = sorted(f"corpora/{i}" for i in range(7))
    for name in reversed(names):
        await kept.create(resource(name))
    await kept.create(resource("activationSets/x"))
    for size in (1, 2, 3, 6, 7, 8):
        assert await pages(kept, size) == names
    assert [each.name for each in (await kept.list("corpora", 0, ""))[0]] == names


async def test_pages_while_others_write(kept: Resources) -> None:
    """What was there all the time is seen exactly once."""
    for letter in "bdfh":
        await kept.create(resource(f"corpora/{letter}"))
    changes = iter([("a", "b"), ("c", "d"), ("e", "f")])

    async def change() -> None:
        added, deleted = next(changes)
        await kept.create(resource(f"corpora/{added}"))
        await kept.delete(f"corpora/{deleted}")

    assert await pages(kept, 1, change) == [f"corpora/{letter}" for letter in "bdfh"]


@pytest.mark.parametrize(
    ("sizes", "wanted"), [([900] * 5, [2, 2, 1]), ([3000, 3000], [1, 1]), ([1, 1, 1, 1], [3, 1])], ids=str
)
async def test_pages_of_large_ones(kept: Resources, sizes: list[int], wanted: list[int]) -> None:
    """At most 2 MiB (sizes in KiB), at least one."""
    for number, size in enumerate(sizes):
        await kept.create(resource(f"corpora/{number}", bytes(size << 10)))
    listed, token = [], ""
    while True:
        found, token = await kept.list("corpora", 3, token)
        listed.append([each.name for each in found])
        if not token:
            break
    assert [len(page) for page in listed] == wanted
    assert [name for page in listed for name in page] == [f"corpora/{number}" for number in range(len(sizes))]


async def test_a_token_of_another_list(kept: Resources) -> None:
    for letter in "ab":
        await kept.create(resource(f"corpora/{letter}"))
    _, token = await kept.list("corpora", 1, "")
    for bad in ("x", "corpora/a", token[:-1], token + "A", token.swapcase(), "é", "=", "\0"):
        with pytest.raises(InvalidRequest) as caught:
            await kept.list("corpora", 1, bad)
        assert (caught.value.reason, caught.value.field) == ("INVALID_PAGE_TOKEN", "page_token")
    with pytest.raises(InvalidRequest):
        await kept.list("activationSets", 1, token)


@given(st.text(max_size=30), st.text(max_size=30))
def test_tokens(last: str, other: str) -> None:
    assert last_seen("list", page_token("list", last.replace("\0", ""))) == last.replace("\0", "")
    with pytest.raises(InvalidRequest):
        last_seen("list", page_token("list", "\0"))
    if other:
        with pytest.raises(InvalidRequest):
            last_seen("list", other)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}", fullmatch=True), unique=True), st.integers(1, 9))
def test_every_page_size_gives_the_same_list(ids: list[str], size: int) -> None:
    async def listed() -> list[str]:
        with TemporaryDirectory() as directory, closing(Database.open(Path(directory))) as database:
            kept = Resources(database)
            for each in ids:
                await kept.create(resource(f"corpora/{each}"))
            return await pages(kept, size)

    assert asyncio.run(listed()) == sorted(f"corpora/{each}" for each in ids)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/x", "corpora", "corpora/", "corpora/..", "corpora/../x", "corpora/ ", "corpora/x ", "corpora/x\n"),
        *(
            "corpora/X",
            "corpora/é",
            "corpora/-x",
            "corpora/x/y",
            "corpora//x",
            "activationSets/x",
            f"corpora/{'x' * 64}",
        ),
    ],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_name(name, "corpora", "corpus")
    assert (caught.value.reason, caught.value.field) == ("INVALID_NAME", "corpus")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "corpora/..", "", "CORPORA/x", "c/é"])
async def test_bad_names_are_not_looked_up(kept: Resources, name: str) -> None:
    for ask in (kept.get, kept.delete):
        with pytest.raises(InvalidRequest) as caught:
            await ask(name, "corpus")
        assert (caught.value.reason, caught.value.field) == ("INVALID_NAME", "corpus")


@pytest.mark.parametrize("given", ["a", "0", "ud-ewt.dev_2", "x" * 63])
def test_ids(given: str) -> None:
    assert resource_id(given, "corpus_id") == given
    assert checked_name(f"corpora/{given}", "corpora", "name") == f"corpora/{given}"


@pytest.mark.parametrize("given", [".", "..", "-a", "A", "a b", "a/b", "é", "a\n", "x" * 64])
def test_bad_ids(given: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resource_id(given, "corpus_id")
    assert caught.value.field == "corpus_id"


def test_a_fresh_id_is_an_id() -> None:
    first, second = resource_id("", "corpus_id"), resource_id("", "corpus_id")
    assert first != second
    assert resource_id(first, "corpus_id") == first


async def test_a_request_id_that_no_database_can_hold(kept: Resources) -> None:
    with pytest.raises(InvalidRequest):
        await kept.create(resource("corpora/a", request_id="\0"))
