"""What kills, other writers and full disks do to a set that is being written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter

from tests.analysis.stored_sets import Example, example

ROOT = Path(__file__).parents[3]


def opened(path: Path, source: Example, cuts: Sequence[int] = ()) -> ActivationSetWriter:
    return ActivationSetWriter.open(path, source.description, source.blocks(cuts))


def test_killed_at_any_call_it_goes_on(tmp_path):
    command = [sys.executable, "-m", "tests.analysis.sets.killed_writer", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


# HDF5 crashes where it meets a full disk, so all sizes are tried that it could be full at.
@pytest.mark.parametrize("free", [0, *range(4, 1700, 106)])
def test_a_full_disk_is_found_at_the_start(small_disk, free):
    source, path = example(rows=9000, widths={"embeddings": 50}), small_disk / "set.h5"
    with (small_disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (2048 - free) << 10)
    with pytest.raises(OSError, match="No space left") as error:
        opened(path, source, cuts=(3000, 6000))
    assert error.value.errno == errno.ENOSPC
    assert [each.name for each in small_disk.iterdir()] == ["ballast"]


def test_a_disk_that_fills_later_does_no_harm(small_disk):
    source, path = example(rows=1000, widths={"embeddings": 50}), small_disk / "set.h5"
    with opened(path, source) as writer:
        with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        writer.write(*source.part(slice(0, 1000)))
        writer.finish()
    with ActivationSet.open(path) as stored:
        np.testing.assert_array_equal(stored.read("embeddings"), source.stored("embeddings"))
