"""Linear layers that compute with oneDNN give what PyTorch's own give."""

from __future__ import annotations

import pytest
import torch
from patchclamp_service.engine.linear import accelerate
from torch import nn

SHAPES = [(0, 24), (1, 24), (2, 24), (3, 24), (64, 24), (130, 24), (1, 1, 24), (2, 5, 24), (0, 7, 24), (24,)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_products_are_equal(shape: tuple[int, ...], bias: bool) -> None:
    layer = nn.Linear(24, 37, bias=bias)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = layer(values)
    assert accelerate(layer) == 1
    torch.testing.assert_close(layer(values), expected)


@torch.inference_mode()
def test_rows_that_do_not_lie_side_by_side() -> None:
    layer = nn.Linear(8, 4)
    values = torch.randn(5, 3, 16)[:, :, ::2].transpose(0, 1)
    expected = layer(values)
    accelerate(layer)
    torch.testing.assert_close(layer(values), expected)


def test_others_are_left_alone() -> None:
    assert accelerate(nn.ModuleList([nn.Linear(2, 2).double(), nn.LayerNorm(2)])) == 0
