"""Tokens of pages: which name came last, so that a list may change between two pages and none is seen twice."""

from __future__ import annotations

import base64
import binascii
from zlib import crc32

from patchclamp_service.engine.errors import InvalidRequest

__all__ = ["last_seen", "page_token"]


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
