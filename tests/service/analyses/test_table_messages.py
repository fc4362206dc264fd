"""Tables as messages: types of columns, and what fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from patchclamp.v1 import analysis_pb2
from patchclamp_analysis.tables import Tables
from patchclamp_service.analyses.table_messages import described, first_rows, write_csv
from patchclamp_service.engine.errors import DigestMismatch, NotFound

MOST = 2 << 20


def values(column: analysis_pb2.Column) -> Any:
    return list(getattr(column, column.WhichOneof("values") or "").values)


@pytest.mark.parametrize(
    ("given", "kind", "wanted"),
    [
        (["a", "ü", ""], "strings", ["a", "ü", ""]),
        (["a", None], "strings", ["a", ""]),
        ([1, 2**40, -3], "integers", [1, 2**40, -3]),
        ([True, False], "integers", [1, 0]),
        ([0.5, 2.0], "numbers", [0.5, 2.0]),
        ([2**63 + 1], "numbers", [float(2**63)]),
        ([], "numbers", []),
    ],
)
def test_columns(given: list[Any], kind: str, wanted: list[Any]) -> None:
    (table,) = first_rows(Tables("m", {"t": pd.DataFrame({"c": given})}), 10)
    (column,) = table.columns
    assert (column.name, column.WhichOneof("values"), values(column)) == ("c", kind, wanted)


def test_a_missing_number_is_nan(tmp_path: Path) -> None:
    Tables("m", {"t": pd.DataFrame({"c": [1, None]})}).save(tmp_path / "t")
    (number, missing) = values(described(print, tmp_path / "t", 5).tables[0].columns[0])
    assert number == 1
    assert missing != missing


@pytest.mark.parametrize(("rows", "shown"), [(1, [1, 1]), (2, [2, 2]), (7, [3, 5])])
def test_the_first_rows(rows: int, shown: list[int]) -> None:
    tables = {"short": pd.DataFrame({"c": range(3)}), "long": pd.DataFrame({"c": range(5)})}
    found = first_rows(Tables("m", tables), rows)
    assert [table.row_count for table in found] == [3, 5]
    assert [values(table.columns[0]) for table in found] == [list(range(count)) for count in shown]


def test_all_tables_shrink_alike_until_they_fit() -> None:
    tables = {"wide": pd.DataFrame({"c": ["x" * 30_000] * 200}), "narrow": pd.DataFrame({"c": range(500)})}
    wide, narrow = first_rows(Tables("m", tables), 100_000)
    assert (wide.row_count, narrow.row_count) == (200, 500)
    assert len(values(wide.columns[0])) == len(values(narrow.columns[0])) > 40
    assert MOST * 3 // 4 < wide.ByteSize() + narrow.ByteSize() <= MOST


def test_a_row_that_never_fits() -> None:
    (table,) = first_rows(Tables("m", {"t": pd.DataFrame({"c": ["x" * 2 * MOST]})}), 1)
    assert (table.row_count, values(table.columns[0])) == (1, [])


def test_what_the_record_keeps(tmp_path: Path) -> None:
    parameters = {"counts": (0.5, 10.0), "name": "x", "flag": True}
    Tables("m", {"t": pd.DataFrame({"c": [1]})}, "upos", parameters, ("odd",)).save(tmp_path / "t")
    found = described(print, tmp_path / "t", 0)
    assert (found.method, found.label, list(found.notes)) == ("m", "upos", ["odd"])
    assert dict(found.parameters.items()) == {"counts": [0.5, 10.0], "name": "x", "flag": True}
    assert list(found.tables) == [analysis_pb2.Table(name="t", row_count=1)]


def test_files_that_are_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        described(print, tmp_path / "t", 1)
    (tmp_path / "t").write_text('{"format": "patchclamp tab')
    with pytest.raises(DigestMismatch, match="not whole"):
        write_csv(print, tmp_path / "t", "t", tmp_path / "csv")
