"""A bar on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..extraction.extractors import Report

__all__ = ["bar"]


@contextmanager
def bar() -> Iterator[Report]:
    """A bar that follows what it is told, from stage to stage, and is gone at the end. Silent without a terminal."""
    console = Console(stderr=True)
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        tasks = {"": shown.add_task("", total=None)}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                # The time that is left is of one stage alone.
                shown.remove_task(tasks.popitem()[1])
                tasks[stage] = shown.add_task(stage, total=total)
            shown.update(tasks[stage], completed=done, total=total or None)

        yield report
