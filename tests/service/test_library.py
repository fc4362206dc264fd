"""What the server keeps, as a whole."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from patchclamp_service.library import Library
from patchclamp_service.settings import load_settings
from patchclamp_service.store.resources import Resource

OPERATION = "f" * 22


@pytest.mark.parametrize(
    ("collection", "folder", "suffix"),
    [
        ("activationSets", "activation-sets", ".h5"),
        ("rankings", "rankings", ".npz"),
        ("probes", "probes", ".safetensors"),
        ("analyses", "analyses", ".json"),
    ],
)
async def test_what_a_crash_has_left_is_swept(tmp_path: Path, collection: str, folder: str, suffix: str) -> None:
    """A file without a row goes, whatever it is of; one with a row stays."""
    (tmp_path / folder).mkdir()
    kept, lost = (tmp_path / folder / f"{name}@{OPERATION}{suffix}" for name in ("kept", "lost"))
    for file in (kept, lost, lost.with_name(f"{lost.name}.partial")):
        file.touch()
    settings = load_settings({"models": ["a"], "listen": "127.0.0.1:0", "data_dir": tmp_path})
    with closing(Library.open(settings)) as library:
        row = Resource(f"{collection}/kept", b"", datetime.now(UTC), request_id=f"operations/{OPERATION}")
        await library.resources.create(row)
        await library.sweep()
    assert list((tmp_path / folder).iterdir()) == [kept]
