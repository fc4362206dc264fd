"""Tables that a method answers with, and the file that keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .errors import BadData
from .files.whole_files import write_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tables"]

T = TypeVar("T")

_FORMAT = "patchclamp tables 1"


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """What a method found: tables by name, with the hyper-parameters it was run with and what was odd about the data.

    A column holds numbers (a missing one is NaN) or strings.
    """

    method: str
    tables: Mapping[str, pd.DataFrame]
    label: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        of = f" of {self.label}" if self.label else ""
        shapes = ", ".join(f"{name} {len(table):,} × {table.shape[1]}" for name, table in self.tables.items())
        return f"<Tables {self.method}{of}: {shapes}>"

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def to_json(self) -> str:
        """Everything; a table is an object of columns, a missing number null."""
        content = {
            "format": _FORMAT,
            "method": self.method,
            "label": self.label,
            "parameters": dict(self.parameters),
            "notes": list(self.notes),
            "tables": {
                name: {str(column): _plain(table[column]) for column in table.columns}
                for name, table in self.tables.items()
            },
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    def save(self, path: Path | str) -> None:
        """Writes `to_json` into a file, which appears whole or not at all."""
        write_whole(Path(path), self.to_json().encode())

    @classmethod
    def load(cls, path: Path | str) -> Tables:
        """Reads what `save` wrote. BadData for anything else."""
        import pandas as pd

        try:
            content = json.loads(Path(path).read_bytes())
            if content["format"] != _FORMAT:
                raise ValueError("of another format")
            tables = {
                name: pd.DataFrame({column: _column(values) for column, values in columns.items()})
                for name, columns in content["tables"].items()
            }
            notes = [_of(str, note) for note in _of(list, content["notes"])]
            method, label, parameters = content["method"], content["label"], content["parameters"]
            return cls(_of(str, method), tables, _of(str, label), _of(dict, parameters), tuple(notes))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadData(f"these are no tables: {error}", where=str(path)) from error


def _plain(column: pd.Series) -> list[object]:
    if column.dtype.kind == "f":
        return [value if math.isfinite(value) else None for value in column.tolist()]
    return list(column.tolist())


def _of(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _column(values: object) -> object:
    """Numbers with gaps as floats; an empty column has no type."""
    values = _of(list, values)
    if len({isinstance(value, str) for value in values if value is not None}) > 1:
        raise TypeError("a column has numbers and strings")
    if not all(value is None or isinstance(value, str | int | float) for value in values):
        raise TypeError("a column has what is neither number nor string")
    if any(value is None for value in values) and not any(isinstance(value, str) for value in values):
        return np.array([math.nan if value is None else value for value in values], np.float64)
    return values
