"""What can go wrong offline, as exceptions that say where.

AnalysisError
├── BadData      what was given is wrong as it stands
├── Busy         somebody else is at it
└── Cancelled    the caller wanted no more of it
"""

from __future__ import annotations

__all__ = ["AnalysisError", "BadData", "Busy", "Cancelled"]


class AnalysisError(Exception):
    """Base of this library's own errors. `where` is the place in the data: "dev.upos, line 3, column 7"."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


class BadData(AnalysisError, ValueError):
    """What was given is wrong as it stands."""


class Busy(AnalysisError):
    """Somebody else is at it."""


class Cancelled(AnalysisError):
    """The caller wanted no more of it."""
