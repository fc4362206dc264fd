"""Small JSON files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BadData
from .durable_files import sync_directory

__all__ = ["read_json", "write_json"]


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file. Raises BadData when there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BadData("is not there", where=str(path)) from None
    except ValueError as error:
        raise BadData(f"is not valid JSON: {error}", where=str(path)) from error
    if not isinstance(content, dict):
        raise BadData("is not a JSON object", where=str(path))
    return content


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes beside the place, flushes, renames into it and flushes the directory; what was there is replaced."""
    own = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with own.open("x", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)
    sync_directory(path.parent)
