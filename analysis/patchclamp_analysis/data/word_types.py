"""Which word type each row is of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from .rows import Data

__all__ = ["word_types"]


def word_types(data: Data) -> tuple[list[str], NDArray[np.int64]]:
    """The types in sorted order, and the number of each row's [N]. BadData without words."""
    if data.words is None:
        raise BadData("the data has no words", where=data.label)
    types = sorted(set(data.words))
    numbers = {word: number for number, word in enumerate(types)}
    return types, np.fromiter((numbers[word] for word in data.words), np.int64, len(data))
