"""What the libraries below PyTorch read from the environment when it is imported."""

from __future__ import annotations

import os

__all__ = ["prepare_environment"]

_SETTINGS = {
    # Idle threads must not spin.
    "OMP_WAIT_POLICY": "PASSIVE",
    # oneDNN keeps a program for every number of rows, PyTorch once more. By default 1024 each: lengthy work would
    # fill some hundred MiB with programs that are hardly used again, and it takes 0.3 ms to make one.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}


def prepare_environment() -> None:
    """To be called before PyTorch is imported. What the environment says already stays."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
