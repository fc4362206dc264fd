"""Sequences side by side, filled up on the right. What is filled is computed for nothing, so lengths are kept alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .programs import Demand
from .scheduler import Segment

__all__ = ["Entries", "batches", "padded", "place_rows"]

Entries = Sequence[tuple[Segment, Demand]]

# A batch may be so many times the tokens that are in it. Below, another forward pass costs more than the filling.
_MOST_FILLED = 1.5
_SMALL = 64


def batches(segments: Entries) -> Iterator[list[tuple[Segment, Demand]]]:
    """Segments of similar length together, shortest first."""
    batch: list[tuple[Segment, Demand]] = []
    tokens = 0
    for entry in sorted(segments, key=lambda entry: entry[0].count):
        count = entry[0].count
        filled = count * (len(batch) + 1)
        if batch and filled > max(_SMALL, _MOST_FILLED * (tokens + count)):
            yield batch
            batch, tokens = [], 0
        batch.append(entry)
        tokens += count
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], device: torch.device, fill: int) -> tuple[Tensor, Tensor]:
    """Ids and mask [rows, longest], filled up on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, mask


def place_rows(segments: Entries, longest: int) -> None:
    """Says where in the batch the first token of each segment is."""
    for number, (segment, _) in enumerate(segments):
        segment.row = number * longest
