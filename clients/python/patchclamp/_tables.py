"""Tables that an analysis is made of, as the server sends them: whole, or their first rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from patchclamp._exceptions import IncompleteTable, ProtocolError
from patchclamp._tensors import Array
from patchclamp.v1 import analysis_pb2

if TYPE_CHECKING:
    import pandas

__all__ = ["Table"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table:
    """A table, or its first rows.

    >>> table = analysis.table("words")  # doctest: +SKIP
    >>> table.columns["score"].max(), len(table), table.row_count  # doctest: +SKIP

    Attributes:
        name: "words".
        columns: From the name of a column to the values of the rows that are here, of shape [rows]: float64 (NaN where
            there is none), int64, or strings (object).
        row_count: Number of all its rows, here and on the server.
    """

    name: str
    columns: dict[str, Array]
    row_count: int

    def __len__(self) -> int:
        """Number of rows that are here."""
        return min(map(len, self.columns.values()), default=0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.described()}: {', '.join(self.columns) or 'no columns here'}>"

    def described(self) -> str:
        """Its name, and how much of it is here: "words (100 of 2,310 rows)"."""
        here = "" if self.complete else f"{len(self):,} of "
        return f"{self.name} ({here}{self.row_count:,} row{'' if self.row_count == 1 else 's'})"

    @property
    def complete(self) -> bool:
        """Whether all rows are here; those of `analyses.list()` have none."""
        return bool(self.columns) and len(self) == self.row_count

    def to_pandas(self, *, partial: bool = False) -> pandas.DataFrame:
        """A data frame with the table's columns; needs pandas.

        Args:
            partial: Take what is here where that is not all.

        Raises:
            IncompleteTable: Rows are missing, and `partial` is not given.
        """
        import pandas

        if not (self.complete or partial):
            raise IncompleteTable(
                f"{self.described()}: the others are on the server; client.analysis.analyses.get(…, rows=…) gives "
                "more, .export(…) all, and to_pandas(partial=True) takes these alone"
            )
        return pandas.DataFrame(self.columns)

    @classmethod
    def from_proto(cls, message: analysis_pb2.Table) -> Table:
        """From the wire's form.

        Raises:
            ProtocolError: Its columns are not of one length, have one name, or are of a kind that this version does not
                know.
        """
        columns = {column.name: _values(message.name, column) for column in message.columns}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(columns) < len(message.columns) or len(set(lengths.values())) > 1:
            raise ProtocolError(f"the table {message.name!r} has columns of one name, or of several lengths: {lengths}")
        if max(lengths.values(), default=0) > message.row_count:
            raise ProtocolError(f"the table {message.name!r} has {lengths} rows of {message.row_count}")
        return cls(message.name, columns, message.row_count)


def _values(table: str, column: analysis_pb2.Column) -> Array:
    kind = column.WhichOneof("values")
    if kind == "numbers":
        return np.array(column.numbers.values, np.float64)
    if kind == "integers":
        return np.array(column.integers.values, np.int64)
    if kind == "strings":
        return _objects(column.strings.values)
    raise ProtocolError(
        f"column {column.name!r} of the table {table!r} is of a kind that this patchclamp does not know"
    )


def _objects(values: Sequence[str]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array
