"""Analyses as the server describes them: what methods and evaluations found, as tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from google.protobuf import json_format

from patchclamp._exceptions import ProtocolError
from patchclamp._resources import time_of
from patchclamp._tables import Table
from patchclamp.v1 import analysis_pb2

__all__ = ["Analysis"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Analysis:
    """What a method that answers with tables found, or how good rankings are.

    Attributes:
        name: "analyses/upos-layers".
        create_time: When it was complete, in UTC.
        method: The method, as `client.analysis.methods` lists it; "evaluation" for what `evaluate` made.
        parameters: All its hyper-parameters.
        label: The layer of labels; empty: none.
        activation_sets: Names of the activation sets that were read, the one that was looked at first; none: a text.
        activation_set_sha256s: Checksums of their files, in the same order.
        rankings: Names of the rankings that were judged, or whose neurons were looked at.
        tables: The tables by name, with their first rows; `client.analysis.analyses.get` gives more of them, and
            `export` all.
        row_count: Number of rows of activations that it is based on.
        model: Name of the model.
        model_digest: Digest of the model, as in `Model.digest`.
        notes: What was odd about the data.
    """

    name: str
    create_time: datetime
    method: str
    parameters: dict[str, object]
    label: str
    activation_sets: tuple[str, ...]
    activation_set_sha256s: tuple[str, ...]
    rankings: tuple[str, ...]
    tables: dict[str, Table]
    row_count: int
    model: str
    model_digest: str
    notes: tuple[str, ...]

    def table(self, name: str) -> Table:
        """One of the tables.

        Raises:
            ValueError: There is none of that name; says which there are.
        """
        if name not in self.tables:
            raise ValueError(f"{self.name} has no table {name!r}; it has {', '.join(self.tables) or 'none'}")
        return self.tables[name]

    def __repr__(self) -> str:
        source = ", ".join(self.activation_sets) or "a text"
        tables = ", ".join(table.described() for table in self.tables.values())
        return f"<{type(self).__name__} {self.name}: {self.method} of {source}: {tables or 'no tables'}>"

    @classmethod
    def from_proto(cls, message: analysis_pb2.Analysis) -> Analysis:
        """From the wire's form.

        Raises:
            ProtocolError: Two tables have one name, or a table is not one.
        """
        tables = {table.name: Table.from_proto(table) for table in message.tables}
        if len(tables) < len(message.tables):
            raise ProtocolError(f"{message.name} has two tables of one name: {', '.join(tables)}")
        return cls(
            name=message.name,
            create_time=time_of(message.create_time),
            method=message.method,
            parameters=json_format.MessageToDict(message.parameters),
            label=message.label,
            activation_sets=tuple(message.activation_sets),
            activation_set_sha256s=tuple(message.activation_set_sha256s),
            rankings=tuple(message.rankings),
            tables=tables,
            row_count=message.row_count,
            model=message.model,
            model_digest=message.model_digest,
            notes=tuple(message.notes),
        )
