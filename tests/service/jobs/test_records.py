"""Who holds an operation: any order of steps by any number of servers, and many steps at once."""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from patchclamp_service.jobs import records
from patchclamp_service.jobs.records import Holder, NewOperation, Record, State
from patchclamp_service.store.database import Database
from patchclamp_service.store.pages import last_seen
from patchclamp_service.store.tables import operations
from sqlalchemy import select, update

from tests.service.conftest import OpenDatabase

HOLDERS = st.sampled_from(["one", "two", "three"])
MOSTLY_THE_RIGHT_ONE = st.sampled_from(["", "", "", "one", "two", "three"])


def new(target: str) -> NewOperation:
    return NewOperation("CreateThing", target, b"", "", "", ())


class Operations(RuleBasedStateMachine):
    """Three servers, whose leases run out when the rule says so, against a model of plain dicts."""

    started: Bundle[str] = Bundle("started")

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.database = Database.open(Path(self.directory.name))
        self.holders = {name: Holder(name, 1e6, self.database.now, alone=False) for name in ("one", "two", "three")}
        self.owner: dict[str, str] = {}
        self.running: dict[str, bool] = {}
        self.expired: set[str] = set()
        self.cancelled: set[str] = set()
        self.attempts: dict[str, int] = {}
        self.crashes: dict[str, int] = {}
        self.ended: dict[str, State] = {}

    def teardown(self) -> None:
        self.database.close()
        self.directory.cleanup()

    def do(self, step: Any, *arguments: object, holder: str) -> Any:
        return self.database._transact(lambda connection: step(connection, *arguments, self.holders[holder]))

    def mine(self, operation: str, holder: str) -> bool:
        return operation not in self.ended and self.owner[operation] == holder

    @rule(target=started, holder=HOLDERS)
    def insert(self, holder: str) -> str:
        record: Record = self.do(records.insert, new(f"things/{len(self.owner)}"), holder=holder)
        self.owner[record.id], self.running[record.id] = holder, False
        self.attempts[record.id] = self.crashes[record.id] = 0
        return record.id

    @rule(operation=started)
    def expire(self, operation: str) -> None:
        row = update(operations).where(operations.c.id == operation).values(lease_until=0)
        self.database._transact(lambda connection: connection.execute(row))
        self.expired.add(operation)

    @rule(operation=started)
    def cancel(self, operation: str) -> None:
        self.database._transact(partial(records.ask_to_cancel, identifier=operation, field="name"))
        self.cancelled.add(operation)

    @rule(holder=HOLDERS)
    def take(self, holder: str) -> None:
        for operation in self.expired - set(self.ended):
            if self.owner[operation] != holder:
                self.crashes[operation] += self.running[operation]
                self.owner[operation], self.running[operation] = holder, False
        held = {operation for operation in self.owner if self.mine(operation, holder)}
        self.expired -= held
        found = self.do(records.take, holder=holder)
        assert [record.id for record in found] == sorted(held)
        assert {record.id for record in found if record.cancelled} == held & self.cancelled

    @rule(operation=started, holder=MOSTLY_THE_RIGHT_ONE)
    def begin(self, operation: str, holder: str) -> None:
        holder = holder or self.owner[operation] or "one"
        begun = self.do(records.begin, operation, holder=holder)
        assert (begun is not None) == (self.mine(operation, holder) and operation not in self.cancelled)
        if begun:
            self.running[operation] = True
            self.attempts[operation] += 1

    @rule(
        operation=started,
        holder=MOSTLY_THE_RIGHT_ONE,
        state=st.sampled_from([State.DONE, State.FAILED, State.CANCELLED]),
    )
    def finish(self, operation: str, holder: str, state: State) -> None:
        holder = holder or self.owner[operation] or "one"
        mine = self.mine(operation, holder)
        assert self.do(records.finish, operation, state, b"", b"", holder=holder) == mine
        if mine:
            self.ended[operation] = state

    @rule(operation=started, holder=MOSTLY_THE_RIGHT_ONE, counted=st.booleans())
    def put_back(self, operation: str, holder: str, counted: bool) -> None:
        holder = holder or self.owner[operation] or "one"
        if self.mine(operation, holder):
            self.crashes[operation] += counted
            self.running[operation] = False
        tried = self.do(partial(records.put_back, counted=counted), operation, holder=holder)
        assert tried == (self.crashes[operation] if self.mine(operation, holder) else 0)

    @rule(holder=HOLDERS)
    def give_back(self, holder: str) -> None:
        self.do(records.give_back, [], holder=holder)
        for operation in self.owner:
            if self.mine(operation, holder):
                self.owner[operation], self.running[operation] = "", False
                self.expired.add(operation)

    @invariant()
    def every_row_is_as_the_model_says(self) -> None:
        rows = self.database._transact(lambda connection: connection.execute(select(operations)).mappings().all())
        assert {row["id"] for row in rows} == set(self.owner)
        for row in rows:
            operation = row["id"]
            running = State.RUNNING if self.running[operation] else State.PENDING
            assert State(row["state"]) is self.ended.get(operation, running)
            assert row["live"] == (operation not in self.ended)
            assert row["owner"] == ("" if operation in self.ended else self.owner[operation])
            assert (row["attempt"], row["crashes"]) == (self.attempts[operation], self.crashes[operation])


TestOperations = Operations.TestCase
TestOperations.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


async def test_8_servers_take_over_at_once(open_shared: OpenDatabase) -> None:
    """Each of the operations goes to exactly one of them, round after round."""
    databases = [open_shared(), open_shared()]
    dead = Holder("dead", 0.0, databases[0].now, alone=False)
    for i in range(30):
        await databases[0].run(partial(records.insert, new=new(f"things/{i}"), holder=dead))
    for turn in range(5):
        holders = [Holder(f"{turn}.{i}", 0.0, databases[0].now, alone=False) for i in range(8)]
        steps = (databases[i % 2].run(partial(records.take, holder=holder)) for i, holder in enumerate(holders))
        await asyncio.gather(*steps)
        begun = [
            databases[i % 2].run(partial(records.begin, identifier=record.id, holder=holder))
            for record in (await databases[0].run(lambda c: records.page(c, "", None, 100, "")))[0]
            for i, holder in enumerate(holders)
        ]
        assert sum(record is not None for record in await asyncio.gather(*begun)) == 30


async def test_what_was_cancelled_does_not_begin(database: Database) -> None:
    holder = Holder("one", 10.0, database.now, alone=False)
    made = await database.run(partial(records.insert, new=new("things/a"), holder=holder))
    await database.run(partial(records.ask_to_cancel, identifier=made.id, field="name"))
    assert await database.run(partial(records.begin, identifier=made.id, holder=holder)) is None
    (held,) = await database.run(partial(records.take, holder=holder))
    assert (held.cancelled, held.attempt, held.state) == (True, 0, State.PENDING)


async def test_one_end_of_8(open_shared: OpenDatabase) -> None:
    database = open_shared()
    holder = Holder("one", 10.0, database.now, alone=False)
    made = await database.run(partial(records.insert, new=new("things/a"), holder=holder))
    end = partial(records.finish, identifier=made.id, outcome=b"", progress=b"", holder=holder)
    ends = (database.run(partial(end, state=State.DONE)) for _ in range(8))
    assert sum(await asyncio.gather(*ends)) == 1


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ([0, 0, 0, 0, 0], [3, 2]),
        ([900, 900, 900, 900], [2, 2]),
        ([1, 1, 3000], [1, 2]),
        ([1, 3000, 1], [1, 1, 1]),
        ([1000, 1048], [2]),
        ([3000], [1]),
        ([], [0]),
    ],
    ids=str,
)
async def test_a_page_is_bounded_in_bytes(database: Database, sizes: list[int], wanted: list[int]) -> None:
    """By 2 MiB of outcomes, given in KiB from the oldest on, and three rows; the next one goes on where it stopped."""
    holder = Holder("one", 10.0, database.now, alone=False)
    made = []
    for number, size in enumerate(sizes):
        made.append((await database.run(partial(records.insert, new=new(f"things/{number}"), holder=holder))).id)
        end = partial(records.finish, state=State.DONE, outcome=bytes(size << 10), progress=b"", holder=holder)
        assert await database.run(partial(end, identifier=made[-1]))
    pages, token = [], ""
    while True:
        after = last_seen("operations", token)
        found, token = await database.run(partial(records.page, scope="operations", done=True, size=3, after=after))
        pages.append([record.id for record in found])
        if not token:
            break
    assert [len(page) for page in pages] == wanted
    assert [each for page in pages for each in page] == made[::-1]


def test_ids_are_in_the_order_of_time(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:
        holder = Holder("one", 10.0, database.now, alone=True)
        made = [database._transact(partial(records.insert, new=new(f"things/{i}"), holder=holder)) for i in range(3)]
    assert [record.created for record in made] == sorted(record.created for record in made)
