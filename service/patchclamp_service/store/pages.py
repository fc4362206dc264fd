"""Pages of lists: what fits on one, and the token of the next one. The token says which name came last, so that a
list may change between two pages and none is seen twice."""

from __future__ import annotations

import base64
import binascii
from itertools import accumulate
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, Select

from patchclamp_service.engine.errors import InvalidRequest

__all__ = ["last_seen", "on_page", "page_token"]

_PAGE, _MOST = 100, 1000
# Pages stay below what gRPC's clients take by default, which is 4 MiB.
_PAGE_BYTES = 2 << 20


def on_page(connection: Connection, sizes: Select[Any], size: int) -> tuple[list[str], bool]:
    """The names on a page, and whether more follow. `sizes` selects names and the bytes of each, in the list's order:
    a page ends before the name that is too much, but has one at least. `size`: how many names at most; 0: 100."""
    most = min(size or _PAGE, _MOST)
    rows = connection.execute(sizes.limit(most + 1)).all()
    totals = accumulate(length for _, length in rows[:most])
    fitting = max(1, sum(total <= _PAGE_BYTES for total in totals))
    return [name for name, _ in rows[:fitting]], len(rows) > fitting


def page_token(scope: str, last: str) -> str:
    """The token of the page after `last`. `scope` says which list it belongs to, with its filter."""
    text = f"{scope}\n{last}".encode()
    return base64.urlsafe_b64encode(crc32(text).to_bytes(4, "big") + text).decode().rstrip("=")


def last_seen(scope: str, token: str, field: str = "page_token") -> str:
    """The name that came last before the page of `token`; "" for the first page. Raises InvalidRequest."""
    if not token:
        return ""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        given, last = data[4:].decode().split("\n", 1)
    except (binascii.Error, ValueError):
        given, last, data = "", "", b""
    if given != scope or "\0" in last or crc32(data[4:]).to_bytes(4, "big") != data[:4]:
        raise InvalidRequest(
            f"{field}: not a token that this server gave out for this list", reason="INVALID_PAGE_TOKEN", field=field
        )
    return last
