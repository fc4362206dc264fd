"""Tensors on the wire ↔ numpy arrays: row-major, little-endian, raw."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from patchclamp.v1 import activations_pb2, common_pb2

from patchclamp_service.engine.errors import InvalidRequest

__all__ = ["captured_sites", "dtype_name", "dtype_value", "float_vector", "tensor"]

Array = npt.NDArray[np.generic]

_WIRE = {
    np.dtype(np.float32): common_pb2.FLOAT32,
    np.dtype(np.float16): common_pb2.FLOAT16,
    np.dtype(np.uint16): common_pb2.BFLOAT16,  # numpy has no bfloat16: the engine hands over its bits
}
_NAMES = {
    common_pb2.DTYPE_UNSPECIFIED: "float32",
    common_pb2.FLOAT32: "float32",
    common_pb2.FLOAT16: "float16",
    common_pb2.BFLOAT16: "bfloat16",
}


def tensor(array: Array) -> common_pb2.Tensor:
    """The message for float32, float16 or the bits of bfloat16 as uint16."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return common_pb2.Tensor(dtype=_WIRE[little.dtype], shape=array.shape, data=little.tobytes())


def captured_sites(captured: Mapping[str, Array]) -> list[activations_pb2.CapturedSite]:
    """One entry a site, in the order of the mapping."""
    return [activations_pb2.CapturedSite(site=site, values=tensor(values)) for site, values in captured.items()]


def dtype_name(dtype: common_pb2.DType.ValueType, field: str) -> str:
    """ "float32", "float16" or "bfloat16"; not given: "float32"."""
    if dtype not in _NAMES:
        name = common_pb2.DType.Name(dtype)
        raise InvalidRequest(
            f"{field}: activations come as FLOAT32, FLOAT16 or BFLOAT16, not {name}",
            reason="INVALID_DTYPE",
            field=field,
        )
    return _NAMES[dtype]


def dtype_value(name: str) -> common_pb2.DType.ValueType:
    """The same the other way about."""
    return next(dtype for dtype, each in _NAMES.items() if each == name and dtype)


def float_vector(message: common_pb2.Tensor, field: str) -> npt.NDArray[np.float32]:
    """A finite FLOAT32 tensor of one dimension, checked against its own shape."""
    if message.dtype != common_pb2.FLOAT32:
        name = common_pb2.DType.Name(message.dtype)
        raise InvalidRequest(
            f"{field}.dtype is {name}, should be FLOAT32", reason="INVALID_DTYPE", field=f"{field}.dtype"
        )
    if len(message.shape) != 1:
        raise InvalidRequest(
            f"{field}.shape has {len(message.shape)} dimensions, should have 1",
            reason="INVALID_SHAPE",
            field=f"{field}.shape",
        )
    expected = 4 * math.prod(message.shape)
    if len(message.data) != expected:
        raise InvalidRequest(
            f"{field}.data has {len(message.data)} bytes; {message.shape[0]} FLOAT32 take {expected}",
            reason="INVALID_LENGTH",
            field=f"{field}.data",
        )
    values = np.frombuffer(message.data, dtype="<f4").astype(np.float32)
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidRequest(
            f"{field}: element {at} is {values[at]}, should be finite", reason="NOT_FINITE", field=field
        )
    return values
