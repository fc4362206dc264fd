"""What workers read."""

from __future__ import annotations

from pathlib import Path

import pytest
from patchclamp_service.analyses.work import Rows
from patchclamp_service.engine.errors import NotFound


def test_rows_of_a_set_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="removed just now"), Rows(tmp_path / "no", "", (), 1 << 20).opened():
        pass
