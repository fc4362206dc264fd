"""Tables of an analysis as messages, and as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.tables import Tables

from patchclamp_service.analyses.messages import struct_of
from patchclamp_service.engine.errors import DigestMismatch, NotFound
from patchclamp_service.jobs.worker_process import Report
from patchclamp_service.store.staging import disk_space

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["described", "first_rows", "write_csv"]

# Of all tables of a message together: it stays below the 4 MiB that gRPC's clients take by default.
_MOST_BYTES = 2 << 20


def described(report: Report, path: Path, rows: int) -> analysis_pb2.Analysis:
    """What a file of tables says of itself, with their first rows; 0: with their names and numbers of rows.

    Raises:
        NotFound: there is no such file.
        DigestMismatch: it is not whole.
    """
    tables = _loaded(path)
    message = analysis_pb2.Analysis(
        method=tables.method, label=tables.label, parameters=struct_of(tables.parameters), notes=tables.notes
    )
    sizes = [analysis_pb2.Table(name=name, row_count=len(tables[name])) for name in tables]
    message.tables.extend(first_rows(tables, rows) if rows else sizes)
    return message


def first_rows(tables: Tables, rows: int) -> list[analysis_pb2.Table]:
    """At most so many rows of each table; fewer of all where they would not fit into a message."""
    rows = min(rows, max((len(tables[name]) for name in tables), default=0))
    while True:
        found = [_table(name, tables[name], rows) for name in tables]
        size = sum(table.ByteSize() for table in found)
        if size <= _MOST_BYTES or not rows:
            return found
        rows = min(rows - 1, rows * _MOST_BYTES // size)


def write_csv(report: Report, path: Path, table: str, into: Path) -> None:
    """Writes one table of a file of tables. Raises as `described`, or Exhausted when the disk is full."""
    frame = _loaded(path)[table]
    with disk_space():
        frame.to_csv(into, index=False)


def _loaded(path: Path) -> Tables:
    try:
        return Tables.load(path)
    except FileNotFoundError:
        raise NotFound("the analysis was removed just now", field="name") from None
    except BadData as error:
        raise DigestMismatch("the file of the analysis is not whole", reason="DATA_LOST", field="name") from error


def _table(name: str, table: pd.DataFrame, rows: int) -> analysis_pb2.Table:
    columns = [_column(str(column), table[column].iloc[:rows], table[column].dtype.kind) for column in table.columns]
    return analysis_pb2.Table(name=name, row_count=len(table), columns=columns)


def _column(name: str, values: pd.Series, kind: str) -> analysis_pb2.Column:
    if kind in "bi":
        return analysis_pb2.Column(name=name, integers=analysis_pb2.IntegerColumn(values=map(int, values)))
    if kind in "fu":
        return analysis_pb2.Column(name=name, numbers=analysis_pb2.NumberColumn(values=values.tolist()))
    # A string that is missing is empty.
    strings = ["" if value is None or value != value else str(value) for value in values.tolist()]
    return analysis_pb2.Column(name=name, strings=analysis_pb2.StringColumn(values=strings))
