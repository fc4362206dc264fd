"""Faster matrix products on the CPU, without touching the model's modules.

PyTorch's float32 linear goes through MKL, which packs the weight anew in every call: at the few rows of a decoding
batch that costs as much as the product. oneDNN does not; it is up to 2 times as fast from a few rows to 512
(`make bench ARGS=linear`). Each `nn.Linear` keeps its place, its weight and its hooks; only how it computes changes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["accelerate"]

# The weight is laid out for so many rows; other numbers of rows do nearly as well with it.
_USUAL_ROWS = 64


def accelerate(module: nn.Module) -> int:
    """Lets every float32 linear layer on the CPU compute with oneDNN; returns how many. The weights are copied: the
    originals, mapped from their file, are not read again and cost no memory that is needed elsewhere."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear and _suits(layer)]
    with torch.inference_mode():
        for layer in layers:
            layer.forward = _product(layer)  # type: ignore[method-assign, assignment]
    return len(layers)


def _suits(layer: nn.Linear) -> bool:
    done = "forward" in vars(layer)
    return not done and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32


def _product(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    # What PyTorch's own compiler calls: unlike the public way, it copies neither what comes in nor what goes out.
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().contiguous(), _USUAL_ROWS)
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(input: Tensor) -> Tensor:
        rows = input.reshape(-1, input.shape[-1])
        # One row is a matrix-vector product, at which PyTorch's own is the faster; none is no product.
        if len(rows) <= 1:
            return linear(input, layer.weight, layer.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return product.view(*input.shape[:-1], layer.out_features)

    return forward
