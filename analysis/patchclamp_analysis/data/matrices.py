"""Room for a whole matrix, in memory or on disk."""

from __future__ import annotations

import os
import tempfile

import numpy as np
from numpy.typing import NDArray

__all__ = ["empty_matrix"]


def empty_matrix(shape: tuple[int, int], memory_bytes: int) -> NDArray[np.float32]:
    """In memory if that many bytes hold it, else in a temporary file that is mapped and vanishes with the array."""
    size = 4 * shape[0] * shape[1]
    if size <= memory_bytes:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="patchclamp-") as file:
        # A full disk is found here, not by a signal when a page is written.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.float32, "r+", shape=shape)
