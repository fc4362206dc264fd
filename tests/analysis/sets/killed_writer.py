"""Writes a set and is killed at one system call after the other; what is left must never be taken for a set.

Run by test_activation_writer.py in a process of its own: `python -m tests.analysis.sets.killed_writer DIR`.
Prints how many calls it was killed at.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter

from tests.analysis.stored_sets import Example, example, slices

CALLS = ("pwrite", "fdatasync", "fsync", "posix_fallocate", "ftruncate", "rename", "open")


def killed_at(number: int) -> None:
    """From now on, the call of that number is the last; a write gets half of its bytes to the file."""
    left = [number]

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                if name == "pwrite":
                    descriptor, data, offset = arguments
                    real(descriptor, data[: len(data) // 2], offset)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    for name in CALLS:
        setattr(os, name, dying(name, getattr(os, name)))


def attempt(source: Example, path: Path) -> None:
    """Writes what is missing, in blocks of 7 rows, and makes every second one durable."""
    with ActivationSetWriter.open(path, source.description, source.blocks((20,))) as writer:
        for number, rows in enumerate(slices(source.rows, range(0, source.rows, 7))):
            if rows.stop <= writer.rows_done:
                continue
            writer.write(*source.part(slice(max(rows.start, writer.rows_done), rows.stop)))
            if number % 2:
                writer.commit()
        writer.finish()


def check(source: Example, path: Path, reference: Path) -> None:
    """The set, if it can be opened, is the reference."""
    partial = path.with_name(f"{path.name}.partial")
    if partial.exists():
        try:
            ActivationSet.open(partial)
        except BadData:
            pass
        else:
            # Between its last mark and its renaming, it is whole in all but name.
            assert partial.read_bytes() == reference.read_bytes()
    if not path.exists():
        attempt(source, path)
    with ActivationSet.open(path) as found, ActivationSet.open(reference) as expected:
        for site in expected.sites:
            np.testing.assert_array_equal(found.read(site), expected.read(site))
            for label in ("", "NOUN", "VERB"):
                one, other = found.statistics(site, label), expected.statistics(site, label)
                assert one.count == other.count
                np.testing.assert_array_equal(one.variance, other.variance)
        np.testing.assert_array_equal(found.masked, expected.masked)
    assert path.read_bytes() == reference.read_bytes()


def main(folder: Path) -> None:
    source = example(rows=40)
    reference = folder / "reference.h5"
    attempt(source, reference)
    number = 0
    while True:
        number += 1
        path = folder / f"{number}.h5"
        if (child := os.fork()) == 0:
            killed_at(number)
            attempt(source, path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        check(source, path, reference)
    print(number - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
