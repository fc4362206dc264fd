"""Tables, and the file that keeps them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.tables import Tables

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COLUMNS = st.one_of(
    st.just(st.floats(width=64)),
    st.just(st.integers(-(2**53), 2**53)),
    st.just(TEXT),
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 6))
    names = draw(st.lists(TEXT, max_size=4, unique=True))
    columns = {name: draw(st.lists(draw(COLUMNS), min_size=rows, max_size=rows)) for name in names}
    return pd.DataFrame(columns)


@st.composite
def answers(draw: st.DrawFn) -> Tables:
    return Tables(
        draw(TEXT),
        draw(st.dictionaries(TEXT, frames(), max_size=3)),
        draw(TEXT),
        draw(st.dictionaries(TEXT, st.one_of(st.booleans(), st.integers(-9, 9), TEXT), max_size=3)),
        tuple(draw(st.lists(TEXT, max_size=3))),
    )


def small(**changes: object) -> Tables:
    table = pd.DataFrame({"site": ["a", "b"], "index": [0, 3], "score": [0.5, math.nan]})
    return Tables("top_words", {"words": table}, **({"label": "upos", "parameters": {"top": 3}} | changes))  # type: ignore[arg-type]


@settings(deadline=None)
@given(answers())
def test_what_is_saved_is_loaded(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("tables") / "tables.json"
    made.save(path)
    loaded = Tables.load(path)
    assert (loaded.method, loaded.label, loaded.notes) == (made.method, made.label, made.notes)
    assert loaded.parameters == made.parameters
    assert list(loaded) == list(made)
    for name in made:
        assert list(loaded[name].columns) == list(made[name].columns)
        assert len(loaded[name]) == (len(made[name]) if len(made[name].columns) else 0)
        for column in made[name].columns:
            wanted = made[name][column]
            if wanted.dtype.kind == "f":
                # What is infinite is no number either.
                numbers = wanted.where(np.isfinite(wanted)).to_numpy()
                assert np.array_equal(loaded[name][column].to_numpy(np.float64), numbers, equal_nan=True)
            else:
                assert loaded[name][column].tolist() == wanted.tolist()


def test_shows_itself_in_a_line():
    assert repr(small()) == "<Tables top_words of upos: words 2 × 3>"


def test_the_file_is_json_and_appears_alone(tmp_path):
    small(notes=("classes with no row: adverb",)).save(tmp_path / "tables.json")
    content = json.loads((tmp_path / "tables.json").read_text())
    assert content["tables"] == {"words": {"site": ["a", "b"], "index": [0, 3], "score": [0.5, None]}}
    assert content["notes"] == ["classes with no row: adverb"]
    assert [file.name for file in tmp_path.iterdir()] == ["tables.json"]


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path):
    small().save(tmp_path / "tables.json")
    with pytest.raises(TypeError):
        small(parameters={"top": object()}).save(tmp_path / "tables.json")
    assert Tables.load(tmp_path / "tables.json").parameters == {"top": 3}


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"{", b"[]", b"3", b"null", b"{}", b'{"format": "patchclamp tables 2"}'],
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "tables.json").write_bytes(content)
    with pytest.raises(BadData, match=r"tables\.json: these are no tables"):
        Tables.load(tmp_path / "tables.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tables", []),
        ("tables", {"words": [1, 2]}),
        ("tables", {"words": {"site": ["a"], "index": [1, 2]}}),
        ("tables", {"words": {"site": "ab"}}),
        ("tables", {"words": {"site": [["a"]]}}),
        ("tables", {"words": {"site": [1, "a"]}}),
        ("method", 3),
        ("label", None),
        ("parameters", []),
        ("notes", "ab"),
        ("notes", [1]),
    ],
)
def test_damaged_files_are_refused(tmp_path, field, value):
    content = json.loads(small().to_json())
    (tmp_path / "tables.json").write_text(json.dumps(content | {field: value}))
    with pytest.raises(BadData, match="these are no tables"):
        Tables.load(tmp_path / "tables.json")


@pytest.mark.parametrize("missing", ["format", "method", "label", "parameters", "notes", "tables"])
def test_files_that_lack_something_are_refused(tmp_path, missing):
    content = json.loads(small().to_json())
    del content[missing]
    (tmp_path / "tables.json").write_text(json.dumps(content))
    with pytest.raises(BadData, match="these are no tables"):
        Tables.load(tmp_path / "tables.json")


def test_a_cut_file_is_refused(tmp_path):
    content = small().to_json()
    for end in range(0, len(content), 7):
        Path(tmp_path / "tables.json").write_text(content[:end])
        with pytest.raises(BadData, match="these are no tables"):
            Tables.load(tmp_path / "tables.json")


def test_a_missing_file_is_not_bad_data(tmp_path):
    with pytest.raises(FileNotFoundError):
        Tables.load(tmp_path / "none.json")
