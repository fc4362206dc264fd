"""The tables of the database. Times are seconds since 1970; names compare by their bytes on every database."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects import postgresql

__all__ = ["SCHEMA_VERSION", "metadata", "operation_reads", "operations", "resources", "schema_version"]

SCHEMA_VERSION = 1

_NAME = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

resources = Table(
    "resources",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("collection", _NAME, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
)
"""What the server keeps; the files of it lie in the data directory."""

operations = Table(
    "operations",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("method", Text, nullable=False),
    Column("target", _NAME, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("request_digest", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("live", Boolean, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    Column("outcome", LargeBinary, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
)
"""Long-running work. `live`: PENDING or RUNNING. `owner`: the server that has it, until `lease_until`. `outcome`: a
google.protobuf.Any when DONE, a google.rpc.Status when FAILED or CANCELLED."""

operation_reads = Table(
    "operation_reads",
    metadata,
    Column("operation", _NAME, ForeignKey(operations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("name", _NAME, primary_key=True),
)
"""The resources that an operation reads."""


def _unique(name: str, *columns: Column[str], among: object) -> None:
    Index(name, *columns, unique=True, sqlite_where=among, postgresql_where=among)


_unique("resources_by_request", resources.c.collection, resources.c.request_id, among=resources.c.request_id != "")
_unique("operations_by_request", operations.c.method, operations.c.request_id, among=operations.c.request_id != "")
_unique("operations_by_target", operations.c.target, among=operations.c.live & (operations.c.target != ""))
Index("resources_by_collection", resources.c.collection, resources.c.name)
Index("operations_by_owner", operations.c.live, operations.c.owner)
Index("operation_reads_by_name", operation_reads.c.name)
