"""The rows of operations. Every change of one is conditional on who holds it, so that two servers never do.

The functions run inside a transaction: `database.run(partial(begin, …))`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from google.longrunning import operations_pb2
from google.protobuf import any_pb2, timestamp_pb2
from google.rpc import status_pb2
from patchclamp.v1 import common_pb2
from sqlalchemy import ColumnElement, Connection, RowMapping, case, func, select, update

from patchclamp_service.engine.errors import AlreadyExists, Exhausted, Unsupported
from patchclamp_service.store.database import insert_if_absent
from patchclamp_service.store.pages import on_page, page_token
from patchclamp_service.store.resources import missing
from patchclamp_service.store.tables import operation_reads, operations, resources

__all__ = [
    "Holder",
    "NewOperation",
    "Record",
    "State",
    "ask_to_cancel",
    "begin",
    "finish",
    "forget",
    "give_back",
    "holds",
    "insert",
    "made_by",
    "page",
    "publish",
    "put_back",
    "read",
    "sweep",
    "take",
]

_MOST_LIVE = 1000
_WAITING = common_pb2.OperationMetadata(stage="waiting").SerializeToString()


class State(Enum):
    """Where an operation is in its life."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Holder:
    """A server that holds operations, each for `lease` seconds from when it last said so. `alone`: there is no other,
    so that whatever another name holds was left by a server that is dead."""

    name: str
    lease: float
    now: ColumnElement[float]
    alone: bool


@dataclass(frozen=True, slots=True)
class NewOperation:
    """What an operation is started with."""

    method: str
    target: str
    request: bytes
    digest: str
    request_id: str
    reads: Sequence[str]


@dataclass(frozen=True, slots=True)
class Record:
    """One row, without the request, which may be large."""

    id: str
    method: str
    target: str
    request_digest: str
    state: State
    progress: bytes
    outcome: bytes
    owner: str
    cancelled: bool
    attempt: int
    crashes: int
    created: float
    updated: float

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state in (State.PENDING, State.RUNNING)

    def message(self) -> operations_pb2.Operation:
        """As callers see it."""
        metadata = common_pb2.OperationMetadata.FromString(self.progress)
        metadata.method, metadata.target, metadata.attempt = self.method, self.target, self.attempt
        metadata.create_time.CopyFrom(_timestamp(self.created))
        metadata.update_time.CopyFrom(_timestamp(self.updated))
        message = operations_pb2.Operation(name=f"operations/{self.id}", done=not self.live)
        message.metadata.Pack(metadata)
        if self.state is State.DONE:
            message.response.CopyFrom(any_pb2.Any.FromString(self.outcome))
        elif not self.live:
            message.error.CopyFrom(status_pb2.Status.FromString(self.outcome))
        return message


_COLUMNS = tuple(operations.c[name] for name in Record.__slots__)
_LIVE = [State.PENDING.value, State.RUNNING.value]


def insert(connection: Connection, new: NewOperation, holder: Holder) -> Record:
    """Keeps a new operation for its holder, or finds the one that the same request made.

    Raises:
        AlreadyExists: its target is there or is being made, or its request_id was given with another request.
        NotFound: something that it reads is not there.
        Exhausted: too many operations have not ended.
    """
    if earlier := made_by(connection, new.method, new.request_id, new.digest):
        return earlier
    _check_reads(connection, new.reads)
    _check_room(connection)
    identifier = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(5)}"  # in the order of time
    values = {
        "id": identifier,
        "method": new.method,
        "target": new.target,
        "request": new.request,
        "request_id": new.request_id,
        "request_digest": new.digest,
        "progress": _WAITING,
        "outcome": b"",
        "owner": holder.name,
        "lease_until": holder.now + holder.lease,
        "cancelled": False,
        "attempt": 0,
        "crashes": 0,
        "created": holder.now,
        "updated": holder.now,
        **_in(State.PENDING),
    }
    if not insert_if_absent(connection, operations, values):
        if earlier := made_by(connection, new.method, new.request_id, new.digest):
            return earlier
        raise AlreadyExists(f"{new.target!r} is being made by another operation")
    # After the insertion: an operation that made the target has either ended, and this sees it, or stood in the way.
    if connection.execute(select(resources.c.name).where(resources.c.name == new.target)).first():
        raise AlreadyExists(f"{new.target!r} exists already")
    if new.reads:
        rows = [{"operation": identifier, "name": name} for name in dict.fromkeys(new.reads)]
        connection.execute(operation_reads.insert(), rows)
    return read(connection, identifier)


def made_by(connection: Connection, method: str, request_id: str, digest: str) -> Record | None:
    """The operation that the request_id has started. Raises AlreadyExists if another request did."""
    if not request_id:
        return None
    same = (operations.c.method == method) & (operations.c.request_id == request_id)
    row = connection.execute(select(*_COLUMNS).where(same)).mappings().first()
    if row is not None and row["request_digest"] != digest:
        raise AlreadyExists(
            f"request_id: {request_id!r} was given with another request, which started operations/{row['id']}",
            reason="REQUEST_ID_REUSED",
            field="request_id",
        )
    return None if row is None else _record(row)


def _check_reads(connection: Connection, names: Sequence[str]) -> None:
    """Holds a lock on what is read, so that nobody deletes it before the operation can be seen."""
    asked = select(resources.c.name).where(resources.c.name.in_(names)).order_by(resources.c.name)
    found = set(connection.execute(asked.with_for_update(read=True)).scalars()) if names else set()
    for name in names:
        if name not in found:
            raise missing(name, "")


def _check_room(connection: Connection) -> None:
    count = connection.execute(select(func.count()).where(operations.c.live)).scalar_one()
    if count >= _MOST_LIVE:
        raise Exhausted(
            f"{count} operations have not ended; this server keeps at most {_MOST_LIVE}",
            reason="TOO_MANY_OPERATIONS",
            retry_after=10.0,
            quota="operations",
        )


def read(connection: Connection, identifier: str, field: str = "name") -> Record:
    """One operation. Raises NotFound."""
    row = connection.execute(select(*_COLUMNS).where(operations.c.id == identifier)).mappings().first()
    if row is None:
        raise missing(f"operations/{identifier}", field)
    return _record(row)


def page(connection: Connection, scope: str, done: bool | None, size: int, after: str) -> tuple[list[Record], str]:
    """A page of operations, the newest first, and the token of the next one; fewer than asked for where their outcomes
    are large. `done` chooses those that ended or not."""
    sizes = select(operations.c.id, func.length(operations.c.outcome)).order_by(operations.c.id.desc())
    if after:
        sizes = sizes.where(operations.c.id < after)
    if done is not None:
        sizes = sizes.where(operations.c.live != done)
    identifiers, more = on_page(connection, sizes, size)
    found = select(*_COLUMNS).where(operations.c.id.in_(identifiers)).order_by(operations.c.id.desc())
    rows = connection.execute(found).mappings().all()
    return [_record(row) for row in rows], page_token(scope, identifiers[-1]) if more else ""


def take(connection: Connection, holder: Holder) -> list[Record]:
    """Takes over what others hold no longer, renews what the holder has, and returns all of that, the oldest first."""
    stale = operations.c.live & (operations.c.owner != holder.name)
    if not holder.alone:
        stale &= operations.c.lease_until < holder.now
    # What another server is about to take is passed by instead of waited for: no two can wait for each other.
    chosen = select(operations.c.id).where(stale).with_for_update(skip_locked=True)
    crashed = case((operations.c.state == State.RUNNING.value, 1), else_=0)
    taken = update(operations).where(operations.c.id.in_(chosen), stale)
    connection.execute(
        taken.values(owner=holder.name, crashes=operations.c.crashes + crashed, progress=_WAITING, **_in(State.PENDING))
    )
    renewed = update(operations).where(_held_by(holder)).values(lease_until=holder.now + holder.lease)
    rows = connection.execute(renewed.returning(*_COLUMNS)).mappings()
    return sorted((_record(row) for row in rows), key=lambda record: record.id)


def begin(connection: Connection, identifier: str, holder: Holder) -> tuple[int, bytes] | None:
    """The number of this attempt, and the request; None if the operation is no longer the holder's, or cancelled."""
    mine = _held_by(holder, identifier) & ~operations.c.cancelled
    begun = update(operations).where(mine).values(attempt=operations.c.attempt + 1, **_in(State.RUNNING))
    row = connection.execute(begun.returning(operations.c.attempt, operations.c.request)).first()
    return None if row is None else (row.attempt, row.request)


def holds(connection: Connection, identifier: str, holder: Holder) -> bool:
    """Whether the operation is the holder's and has not ended."""
    return connection.execute(select(operations.c.id).where(_held_by(holder, identifier))).first() is not None


def publish(connection: Connection, progress: Mapping[str, bytes], holder: Holder) -> None:
    """Writes how far operations are."""
    for identifier, metadata in progress.items():
        values = {"progress": metadata, "updated": holder.now}
        connection.execute(update(operations).where(_held_by(holder, identifier)).values(values))


def finish(
    connection: Connection, identifier: str, state: State, outcome: bytes, progress: bytes, holder: Holder
) -> bool:
    """Ends an operation; whether it was still the holder's to end."""
    values = {"outcome": outcome, "updated": holder.now, "owner": "", **_in(state)}
    if progress:
        values["progress"] = progress
    ended = update(operations).where(_held_by(holder, identifier)).values(values)
    return connection.execute(ended).rowcount == 1


def put_back(connection: Connection, identifier: str, holder: Holder, *, counted: bool) -> int:
    """Lets the holder try again later; how many attempts came to nothing, with this one if it is `counted`."""
    values = {"crashes": operations.c.crashes + int(counted), "progress": _WAITING, **_in(State.PENDING)}
    again = update(operations).where(_held_by(holder, identifier)).values(values)
    return connection.execute(again.returning(operations.c.crashes)).scalar() or 0


def give_back(connection: Connection, kept: Collection[str], holder: Holder) -> None:
    """Leaves all but `kept` to whoever comes next."""
    values = {"owner": "", "lease_until": 0.0, "progress": _WAITING, **_in(State.PENDING)}
    connection.execute(update(operations).where(_held_by(holder), operations.c.id.not_in(kept)).values(values))


def ask_to_cancel(connection: Connection, identifier: str, field: str) -> None:
    """Leaves word for the holder; nothing happens to one that has ended. Raises NotFound."""
    asked = update(operations).where(operations.c.id == identifier).values(cancelled=True)
    if connection.execute(asked).rowcount == 0:
        raise missing(f"operations/{identifier}", field)


def forget(connection: Connection, identifier: str, field: str) -> None:
    """Removes one that has ended. Raises NotFound or Unsupported."""
    ended = operations.delete().where(operations.c.id == identifier, ~operations.c.live)
    if connection.execute(ended).rowcount == 0:
        read(connection, identifier, field)
        text = f"operations/{identifier} has not ended; cancel it first"
        raise Unsupported(text, reason="OPERATION_NOT_DONE", field=field)


def sweep(connection: Connection, seconds: float, now: ColumnElement[float]) -> int:
    """Removes what ended longer ago than that; how many."""
    old = operations.delete().where(~operations.c.live, operations.c.updated < now - seconds)
    return connection.execute(old).rowcount


def _held_by(holder: Holder, identifier: str | None = None) -> ColumnElement[bool]:
    held = operations.c.live & (operations.c.owner == holder.name)
    return held if identifier is None else held & (operations.c.id == identifier)


def _in(state: State) -> dict[str, object]:
    return {"state": state.value, "live": state.value in _LIVE}


def _record(row: RowMapping) -> Record:
    return Record(**{**row, "state": State(row["state"])})


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1e6))
    return timestamp
