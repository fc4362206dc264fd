"""How far something is, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Progress", "ProgressOption", "Report", "reporting"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload, a download or an operation is.

    Attributes:
        stage: What is being done: "uploading", "extracting".
        done: Units that are done.
        total: Units there are; 0: not known.
        unit: What is counted: "bytes", "sentences"; empty: nothing is.
        rate: Units a second, as the server measures it; 0: not known.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0


Report: TypeAlias = Callable[[Progress], None]

# What `progress=` takes: a bar on the terminal, none, or a function that is told.
ProgressOption: TypeAlias = bool | Report


@contextmanager
def reporting(option: ProgressOption) -> Iterator[Report]:
    """Tells the caller's function; or shows a bar on standard error, if that is a terminal; or nobody."""
    if callable(option):
        yield option
    elif option:
        from patchclamp._progress_bar import bar  # rich takes a tenth of a second to import

        with bar() as report:
            yield report
    else:
        yield _silent


def _silent(progress: Progress) -> None:
    """Nobody asked."""
