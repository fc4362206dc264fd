"""Files that fit into memory and are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .durable_files import sync_directory

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Writes beside the place, flushes and renames into it; what was there is replaced."""
    own = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with own.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)
    sync_directory(path.parent)
