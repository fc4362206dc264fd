"""Named results: what the server keeps until somebody deletes it. Their files lie in the data directory."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection, RowMapping, func, select

from patchclamp_service.engine.errors import AlreadyExists, InvalidRequest, NotFound, Unsupported
from patchclamp_service.store.database import Database, insert_if_absent
from patchclamp_service.store.pages import last_seen, on_page, page_token
from patchclamp_service.store.tables import operation_reads, operations, resources

__all__ = ["Resource", "Resources", "checked_name", "checked_request_id", "missing", "resource_id"]

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_COLLECTION = re.compile(r"[a-z][A-Za-z]{0,62}")


@dataclass(frozen=True, slots=True)
class Resource:
    """Something with a name. `body` is its message, serialised."""

    name: str
    body: bytes
    created: datetime
    request_id: str = ""
    request_digest: str = ""


class Resources:
    """The resources in the database. Every method raises NotReady when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, resource: Resource) -> Resource:
        """Keeps it. Asked again with the same request_id and digest: the one that is there.

        Raises:
            AlreadyExists: the name, or the request_id with another request, is taken.
            InvalidRequest: the request_id cannot be kept.
        """
        checked_request_id(resource.request_id)
        return await self._database.run(partial(_create, resource=resource))

    async def get(self, name: str, field: str = "name") -> Resource:
        """The resource of that name. Raises InvalidRequest or NotFound."""
        _check_name(name, field)
        statement = select(resources).where(resources.c.name == name)
        row = await self._database.run(lambda connection: connection.execute(statement).mappings().first())
        if row is None:
            raise missing(name, field)
        return _resource(row)

    async def list(self, collection: str, page_size: int, page_token: str) -> tuple[list[Resource], str]:
        """A page of a collection, ordered by name, and the token of the next one ("": there is none); fewer than asked
        for where they are large."""
        after = last_seen(collection, page_token)
        return await self._database.run(partial(_page, collection=collection, size=page_size, after=after))

    async def delete(self, name: str, field: str = "name") -> Resource:
        """Forgets it, and returns what it was; its files are the caller's to remove.

        Raises:
            InvalidRequest, NotFound: as `get`.
            Unsupported: an operation that has not ended reads it or makes it.
        """
        _check_name(name, field)
        return await self._database.run(partial(_delete, name=name, field=field), freeing=True)

    async def lost(self, collection: str, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those pairs of a name in a collection and an operation that never come to anything: the operation has ended,
        and what it made, if it did, is gone. Older ones than all that is on record may be another database's: they are
        not among them."""
        return await self._database.run(partial(_lost, collection=collection, pairs=pairs))

    async def by_request(self, collection: str, request_id: str) -> Resource | None:
        """What the request of that id made, if it did."""
        if not checked_request_id(request_id):
            return None
        return await self._database.run(partial(_by_request, collection=collection, request_id=request_id))


def resource_id(given: str, field: str) -> str:
    """The id that a caller chose, checked, or a fresh one if he left it to us."""
    if not given:
        return secrets.token_hex(8)
    if not _ID.fullmatch(given):
        raise InvalidRequest(
            f"{field}: {given!r} is no id; it takes up to 63 of a-z, 0-9, '.', '_' and '-', and begins with a letter "
            "or a digit",
            reason="INVALID_ID",
            field=field,
        )
    return given


def checked_name(name: str, collection: str, field: str) -> str:
    """`name`, if it is one of `collection`: "corpora/ud-ewt-dev". Raises InvalidRequest."""
    start, _, identifier = name.partition("/")
    if start != collection or not _ID.fullmatch(identifier):
        raise _no_name(name, collection, field)
    return name


def checked_request_id(request_id: str) -> str:
    """`request_id`, unless a database cannot hold it. Raises InvalidRequest."""
    if "\0" in request_id:
        raise InvalidRequest("request_id: holds a NUL character", field="request_id")
    return request_id


def missing(name: str, field: str) -> NotFound:
    """The error for a name of what is not there."""
    return NotFound(f"there is no {name!r}", field=field)


def _check_name(name: str, field: str) -> None:
    collection = name.partition("/")[0]
    if not _COLLECTION.fullmatch(collection):
        raise _no_name(name, "corpora", field)
    checked_name(name, collection, field)


def _no_name(name: str, collection: str, field: str) -> InvalidRequest:
    text = f"{field}: {name!r} is no resource name; it should look like '{collection}/some-id'"
    return InvalidRequest(text, reason="INVALID_NAME", field=field)


def _create(connection: Connection, resource: Resource) -> Resource:
    collection = resource.name.partition("/")[0]
    values = {
        "name": resource.name,
        "collection": collection,
        "body": resource.body,
        "created": resource.created.timestamp(),
        "request_id": resource.request_id,
        "request_digest": resource.request_digest,
    }
    if insert_if_absent(connection, resources, values):
        return resource
    earlier = _by_request(connection, collection, resource.request_id) if resource.request_id else None
    if earlier is None:
        raise AlreadyExists(f"{resource.name!r} exists already")
    if earlier.request_digest != resource.request_digest:
        text = f"request_id: {resource.request_id!r} was given with another request, which made {earlier.name!r}"
        raise AlreadyExists(text, reason="REQUEST_ID_REUSED", field="request_id")
    return earlier


def _by_request(connection: Connection, collection: str, request_id: str) -> Resource | None:
    statement = select(resources).where(resources.c.collection == collection, resources.c.request_id == request_id)
    row = connection.execute(statement).mappings().first()
    return None if row is None else _resource(row)


def _page(connection: Connection, collection: str, size: int, after: str) -> tuple[list[Resource], str]:
    sizes = select(resources.c.name, func.length(resources.c.body)).order_by(resources.c.name)
    names, more = on_page(connection, sizes.where(resources.c.collection == collection, resources.c.name > after), size)
    found = select(resources).where(resources.c.name.in_(names)).order_by(resources.c.name)
    rows = connection.execute(found).mappings().all()
    return [_resource(row) for row in rows], page_token(collection, names[-1]) if more else ""


def _delete(connection: Connection, name: str, field: str) -> Resource:
    # The row's lock makes whoever starts an operation that reads it wait, and find it gone.
    row = connection.execute(select(resources).where(resources.c.name == name).with_for_update()).mappings().first()
    if row is None:
        raise missing(name, field)
    readers = select(operation_reads.c.operation).where(operation_reads.c.name == name)
    uses = operations.c.id.in_(readers) | (operations.c.target == name)
    user = connection.execute(select(operations.c.id).where(operations.c.live, uses).limit(1)).scalar()
    if user is not None:
        text = f"{name!r} is in use by operations/{user}; cancel that, or wait for its end"
        raise Unsupported(text, reason="RESOURCE_IN_USE", field=field)
    connection.execute(resources.delete().where(resources.c.name == name))
    return _resource(row)


def _lost(connection: Connection, collection: str, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    first = connection.execute(select(func.min(operations.c.id))).scalar()
    created = connection.execute(select(func.min(resources.c.created))).scalar()
    # Ids of operations begin with their time.
    known = [] if first is None else [first]
    known += [] if created is None else [f"{int(created * 1000):012x}"]
    # What lives before what is made: whatever ends in between has made it by then.
    live = set(connection.execute(select(operations.c.id).where(operations.c.live)).scalars())
    listed = select(resources.c.name, resources.c.request_id).where(resources.c.collection == collection)
    made = {(name, operation) for name, operation in connection.execute(listed)}
    ended = {pair for pair in pairs if pair[1].partition("/")[2] not in live}
    return {pair for pair in ended - made if known and pair[1].partition("/")[2] >= min(known)}


def _resource(row: RowMapping) -> Resource:
    created = datetime.fromtimestamp(row["created"], UTC)
    return Resource(row["name"], row["body"], created, row["request_id"], row["request_digest"])
