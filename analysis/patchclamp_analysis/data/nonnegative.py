"""Activations with what is below 0 set to 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .rows import Data
from .sources import Arrays

__all__ = ["nonnegative"]


class _Nonnegative(Arrays):
    """Reads max(x, 0)."""

    def read(self, site: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """[n, d]: some rows of some neurons of a site. −inf stays, to be refused."""
        values = super().read(site, rows, columns)
        return np.where((values < 0) & np.isfinite(values), np.float32(0.0), values)


def nonnegative(data: Data) -> Data:
    """The same with max(x, 0), on the fly."""
    source = data.source
    return replace(data, source=_Nonnegative(source.sites, source.arrays, source.bfloat16))
