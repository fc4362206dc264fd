"""The element types that activations are stored in. numpy has no bfloat16: its bits are kept as uint16."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ELEMENT_TYPES", "NOT_A_NUMBER", "finite", "widened"]

ELEMENT_TYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "bfloat16": np.dtype("<u2")}
)
NOT_A_NUMBER: Mapping[str, float | int] = MappingProxyType({"float32": np.nan, "float16": np.nan, "bfloat16": 0x7FC0})
_BFLOAT16_EXPONENT = np.uint16(0x7F80)


def widened(values: NDArray[Any], element_type: str) -> NDArray[np.float32]:
    """As float32, which holds every value of the others; float32 itself is not copied."""
    if element_type == "bfloat16":
        wide = values.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return values.astype(np.float32, copy=False)


def finite(values: NDArray[Any], element_type: str) -> NDArray[np.bool_]:
    """Of the same shape: neither NaN nor infinite."""
    good: NDArray[np.bool_]
    if element_type == "bfloat16":
        good = np.not_equal(values & _BFLOAT16_EXPONENT, _BFLOAT16_EXPONENT)
    else:
        good = np.isfinite(values)
    return good
