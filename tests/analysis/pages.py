"""Reads reports as a browser would, and refuses what is not well-formed."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "img"}


class Page(HTMLParser):
    """A page that asks for nothing: the texts of its headings and cells, and what its pictures are called."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.pictures: list[str] = []
        self._open: list[str] = []

    @classmethod
    def of(cls, page: Path | str) -> Page:
        found = cls()
        found.feed(page.read_text() if isinstance(page, Path) else page)
        found.close()
        assert not found._open, f"not closed: {found._open}"
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in {"script", "link", "iframe", "object"}
        assert not [name for name in given if name.startswith("on") or name in {"href", "srcset"}]
        if tag == "img":
            head, _, data = str(given["src"]).partition(",")
            assert head == "data:image/png;base64"
            assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
            self.pictures.append(str(given["alt"]))
        if tag not in _VOID:
            self._open.append(tag)
        if tag in {"h1", "h2"}:
            self.headings.append("")
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"h1", "h2"}:
            self.headings[-1] += data
        if self._open and self._open[-1] in {"td", "th"}:
            self.cells[-1] += data
