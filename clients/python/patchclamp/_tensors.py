"""Arrays to and from the wire: raw little-endian bytes, row-major."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from patchclamp._exceptions import ProtocolError
from patchclamp.v1 import activations_pb2, common_pb2

__all__ = ["Array", "DTypeName", "captured_arrays", "dtype_name", "dtype_value", "from_array", "to_array", "widened"]

Array: TypeAlias = npt.NDArray[np.generic]
DTypeName: TypeAlias = Literal["float32", "float16", "bfloat16"]

# bfloat16 is what numpy lacks; its bytes are read as integers and widened.
WIRE_TYPES: dict[common_pb2.DType.ValueType, np.dtype[np.generic]] = {
    common_pb2.FLOAT32: np.dtype("<f4"),
    common_pb2.FLOAT16: np.dtype("<f2"),
    common_pb2.BFLOAT16: np.dtype("<u2"),
    common_pb2.INT64: np.dtype("<i8"),
    common_pb2.INT32: np.dtype("<i4"),
    common_pb2.BOOL: np.dtype("?"),
}


def to_array(tensor: common_pb2.Tensor) -> Array:
    """The tensor as an array of its shape; BFLOAT16 is widened, without loss, to float32.

    The array is read-only where it shares the tensor's bytes.

    Raises:
        ProtocolError: The element type is unknown, or the bytes are not product(shape) × element size.
    """
    shape = tuple(tensor.shape)
    wire_type = WIRE_TYPES.get(tensor.dtype)
    if wire_type is None:
        raise ProtocolError(f"a tensor of shape {list(shape)} has the unknown element type {tensor.dtype}")
    expected = math.prod(shape) * wire_type.itemsize
    if min(shape, default=0) < 0 or len(tensor.data) != expected:
        name = common_pb2.DType.Name(tensor.dtype)
        raise ProtocolError(
            f"a {name} tensor of shape {list(shape)} takes {expected} bytes, but {len(tensor.data)} came"
        )
    values = np.frombuffer(tensor.data, wire_type).reshape(shape)
    if tensor.dtype == common_pb2.BFLOAT16:
        return widened(values)
    return values


def widened(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """bfloat16, which numpy lacks and so comes as integers, as float32; nothing is lost."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_array(array: npt.ArrayLike) -> common_pb2.Tensor:
    """The array as a FLOAT32 tensor of the same shape."""
    values = np.ascontiguousarray(array, "<f4")
    return common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=np.shape(array), data=values.tobytes())


def dtype_value(name: DTypeName) -> common_pb2.DType.ValueType:
    """The wire's value for an element type that activations can be asked in.

    Raises:
        ValueError: There is no such type.
    """
    if name not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"dtype is {name!r}; it can be 'float32', 'float16' or 'bfloat16'")
    return common_pb2.DType.Value(name.upper())


def dtype_name(value: common_pb2.DType.ValueType) -> DTypeName:
    """The name of an element type that activations come in.

    Raises:
        ProtocolError: It is another.
    """
    names: dict[int, DTypeName] = {
        common_pb2.FLOAT32: "float32",
        common_pb2.FLOAT16: "float16",
        common_pb2.BFLOAT16: "bfloat16",
    }
    if value not in names:
        raise ProtocolError(f"activations are said to be of the element type {value}")
    return names[value]


def captured_arrays(captured: Iterable[activations_pb2.CapturedSite]) -> dict[str, Array]:
    """From site name to values of shape [tokens, width], in the order they came."""
    return {site.site: to_array(site.values) for site in captured}
