"""Arrays from the wire."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from patchclamp import ProtocolError
from patchclamp._tensors import from_array, to_array
from patchclamp.v1 import common_pb2

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def tensor(dtype: common_pb2.DType.ValueType, array: np.ndarray) -> common_pb2.Tensor:
    return common_pb2.Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())


@pytest.mark.parametrize(
    ("dtype", "numpy_dtype"),
    [
        (common_pb2.FLOAT32, "<f4"),
        (common_pb2.FLOAT16, "<f2"),
        (common_pb2.INT64, "<i8"),
        (common_pb2.INT32, "<i4"),
        (common_pb2.BOOL, "?"),
    ],
)
def test_each_type_arrives_as_it_is(dtype: common_pb2.DType.ValueType, numpy_dtype: str) -> None:
    array = np.array([[0, 1, 2], [3, 0, 1]]).astype(numpy_dtype)
    read = to_array(tensor(dtype, array))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@given(arrays.arrays(np.dtype("<u2"), SHAPES, elements=st.integers(0, 0xFFFF)))
def test_bfloat16_is_the_upper_half_of_float32(halves: np.ndarray) -> None:
    read = to_array(tensor(common_pb2.BFLOAT16, halves))
    assert (read.dtype.name, read.shape) == ("float32", halves.shape)
    np.testing.assert_array_equal(read.view(np.uint32) >> 16, halves)
    assert not np.any(read.view(np.uint32) & 0xFFFF)


@pytest.mark.parametrize(("half", "value"), [(0x3F80, 1.0), (0xC000, -2.0), (0x7F80, np.inf), (0x3FC0, 1.5), (0, 0.0)])
def test_bfloat16_values(half: int, value: float) -> None:
    assert to_array(tensor(common_pb2.BFLOAT16, np.array([half], "<u2")))[0] == value


@given(arrays.arrays(np.dtype("<f4"), SHAPES, elements=st.floats(width=32, allow_nan=False)))
def test_float32_survives_the_way_there_and_back(array: np.ndarray) -> None:
    read = to_array(from_array(array))
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[2, 3], data=bytes(20)), r"\[2, 3\] takes 24 bytes, but 20"),
        (common_pb2.Tensor(dtype=common_pb2.BFLOAT16, shape=[2], data=bytes(5)), "takes 4 bytes, but 5"),
        (common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[], data=b""), "takes 4 bytes, but 0"),
        (common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[-1, -1], data=bytes(4)), r"\[-1, -1\]"),
        (common_pb2.Tensor(shape=[1], data=bytes(4)), "unknown element type 0"),
    ],
)
def test_a_tensor_that_does_not_add_up_is_refused(message: common_pb2.Tensor, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        to_array(message)
