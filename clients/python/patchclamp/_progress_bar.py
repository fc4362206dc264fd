"""A bar on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from patchclamp._progress import Progress, Report

__all__ = ["bar"]


@contextmanager
def bar() -> Iterator[Report]:
    """A bar that follows what it is told, from stage to stage, and is gone at the end. Silent without a terminal."""
    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None, count="")
        stage = ""

        def report(progress: Progress) -> None:
            nonlocal stage, task
            if progress.stage != stage:
                # The time that is left is of this stage alone.
                shown.remove_task(task)
                task = shown.add_task("", total=None, count="")
                stage = progress.stage
            shown.update(
                task,
                description=progress.stage,
                completed=progress.done,
                total=progress.total or None,
                count=_count(progress),
            )

        yield report


def _count(progress: Progress) -> str:
    if not progress.unit:
        return ""
    if progress.unit == "bytes":
        done, total = decimal(progress.done), decimal(progress.total)
        return f"{done} of {total}" if progress.total else done
    done = f"{progress.done:,}/{progress.total:,}" if progress.total else f"{progress.done:,}"
    rate = f", {progress.rate:,.0f}/s" if progress.rate else ""
    return f"{done} {progress.unit}{rate}"
