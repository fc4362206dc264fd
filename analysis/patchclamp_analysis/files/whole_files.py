"""Files that fit into memory and are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .durable_files import sync_directory

__all__ = ["write_together", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside the place, flushes and renames into it; what was there is replaced."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """`write_whole` of several: no name changes hands, in their order, before all are on the disk."""
    own = {path: path.with_name(f".{path.name}.{secrets.token_hex(8)}") for path in contents}
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.callback(own[path].unlink, missing_ok=True)
            with own[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            own[path].replace(path)
    for folder in {path.parent for path in contents}:
        sync_directory(folder)
