"""One linear layer alone: oneDNN, as the engine computes it, against PyTorch's own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from patchclamp_service.engine.linear import accelerate
from torch import Tensor, nn

from tests.bench.harness import console

__all__ = ["run"]

# As many layers as it takes for their weights not to fit into the caches, as in a model.
LAYERS = 60


def _seconds(layers: nn.ModuleList, values: Tensor) -> Callable[[int], float]:
    def once(number: int) -> float:
        began = time.perf_counter()
        layers[number % LAYERS](values)
        return time.perf_counter() - began

    return once


@torch.inference_mode()
def run(count: int = 200) -> None:
    """Prints the median ratio for growing numbers of rows, calls taking turns."""
    console.print("[bold]A linear layer of 576 × 1536 in float32[/] (times as fast as PyTorch's own)")
    plain, fast = (nn.ModuleList(nn.Linear(576, 1536, bias=False) for _ in range(LAYERS)) for _ in range(2))
    accelerate(fast)
    for rows in (1, 4, 16, 64, 144, 512):
        ways = [_seconds(layers, torch.randn(1, rows, 576)) for layers in (plain, fast)]
        pairs = [(ways[0](number), ways[1](number)) for number in range(count)][LAYERS:]
        console.print(f"  {rows:4} rows   {statistics.median(a / b for a, b in pairs):5.2f}×")
