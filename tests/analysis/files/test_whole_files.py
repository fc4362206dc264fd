"""Files that are there whole or not at all: what stands when one of several cannot be written."""

from __future__ import annotations

import pytest
from patchclamp_analysis.files.whole_files import write_together, write_whole


def test_what_was_there_is_replaced(tmp_path):
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_several_files_or_none(tmp_path):
    write_whole(tmp_path / "a", b"old")
    with pytest.raises(OSError, match="nowhere"):
        write_together({tmp_path / "a": b"new", tmp_path / "b": b"new", tmp_path / "nowhere" / "c": b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_folders_may_differ(tmp_path):
    (tmp_path / "other").mkdir()
    write_together({tmp_path / "a": b"one", tmp_path / "other" / "a": b"two"})
    assert (tmp_path / "a").read_bytes() + (tmp_path / "other" / "a").read_bytes() == b"onetwo"
