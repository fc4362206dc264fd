"""The activations of a text on their way to a worker process: values in a file, the rest beside them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Site

__all__ = ["TextRows"]


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
    """Rows of words or tokens, as `Rows` are those of a set. The file holds float32 [rows, neurons of all sites]."""

    path: Path
    sites: tuple[Site, ...]
    words: tuple[str, ...]
    sentences: NDArray[np.int64]
    masked: NDArray[np.bool_]
    memory_bytes: int

    @contextmanager
    def opened(self) -> Generator[Data]:
        """The rows. Raises BadData if all are masked."""
        shape = (len(self.words), sum(site.width for site in self.sites))
        yield Data.from_arrays(
            np.memmap(self.path, np.float32, "r", shape=shape),
            sites=self.sites,
            words=np.array(self.words, dtype=object),
            sentences=self.sentences,
            masked=self.masked,
            memory_bytes=self.memory_bytes,
        )
