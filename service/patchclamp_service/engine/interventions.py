"""Edits as pure tensor operations on the rows of one site.

A pass builds, per site, the operations that serve all of its rows at once. Rows whose neurons differ share one
gather, one fused edit and one scatter over flat indices; rows with the same stage (a prompt, or callers of one named
set) are edited as a block; where most of a site is touched, whole rows are cheaper than indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .errors import EngineFailure
from .plan import WHOLE_FROM, Counts, Stage
from .requests import Condition, Floats

__all__ = ["GateValues", "Operation", "Rows", "build_operations"]

DENSE_FROM = WHOLE_FROM

Rows = slice | Tensor
"""Rows of a pass: a run of them, or their flat indices."""


class GateValues(Protocol):
    """Gives the value of a condition's neuron at some rows, as it is after the edits of its site."""

    def __call__(self, gate: Condition, rows: Rows) -> Tensor:
        """One value per row."""


class Operation(Protocol):
    """One or more edits of the rows of a site."""

    def __call__(self, values: Tensor, gates: GateValues) -> None:
        """Edits `values` [rows of the pass, width] in place."""


@dataclass(frozen=True, slots=True, eq=False)
class _Numbers:
    """The folded edit as tensors of one shape; `constant` None: no neuron's result is constant."""

    scale: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor
    constant: Tensor | None
    all_constant: bool

    @classmethod
    def of(cls, stages: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float32]]], device: torch.device) -> _Numbers:
        scale, offset, low, high = (torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in stages)
        constant = (low == high) | (scale == 0)
        return cls(scale, offset, low, high, constant if bool(constant.any()) else None, bool(constant.all()))

    def edited(self, values: Tensor) -> Tensor:
        """clip(s·x + b, lo, hi) in float32, returned in the type of the values."""
        if self.all_constant:
            return self.low.to(values.dtype).expand_as(values)
        edited = torch.addcmul(self.offset, values.float(), self.scale)
        edited = torch.clamp(edited, self.low, self.high)
        if self.constant is not None:
            edited = torch.where(self.constant, self.low, edited)
        return edited.to(values.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Flat:
    """Rows that all differ: neurons by their flat index, row × width + neuron."""

    index: Tensor
    numbers: _Numbers

    def __call__(self, values: Tensor, gates: GateValues) -> None:
        flat = values.view(-1)
        if self.numbers.all_constant:
            flat.index_copy_(0, self.index, self.numbers.low.to(values.dtype))
        else:
            flat.index_copy_(0, self.index, self.numbers.edited(flat.index_select(0, self.index)))


@dataclass(frozen=True, slots=True, eq=False)
class _Whole:
    """Whole rows, each with numbers of its own [rows, width] or all with the same [width]."""

    rows: Rows
    numbers: _Numbers

    def __call__(self, values: Tensor, gates: GateValues) -> None:
        values[self.rows] = self.numbers.edited(values[self.rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """The same neurons of several rows, each with the same numbers [neurons]."""

    rows: Rows
    neurons: Tensor
    numbers: _Numbers

    def __call__(self, values: Tensor, gates: GateValues) -> None:
        if isinstance(self.rows, slice):
            block = values[self.rows]
            block.index_copy_(1, self.neurons, self.numbers.edited(block.index_select(1, self.neurons)))
        else:
            at = (self.rows[:, None], self.neurons)
            values[at] = self.numbers.edited(values[at])


@dataclass(frozen=True, slots=True, eq=False)
class _Projection:
    """x − (x·d)d for a direction d of unit length, in float32."""

    rows: Rows
    direction: Tensor

    def __call__(self, values: Tensor, gates: GateValues) -> None:
        rows = values[self.rows].float()
        values[self.rows] = (rows - (rows @ self.direction)[:, None] * self.direction).to(values.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Gated:
    """Another operation, undone at the rows where the condition does not hold."""

    rows: Rows
    gate: Condition
    inner: Operation
    edits: tuple[int, ...]
    counts: Sequence[tuple[Counts, int]]
    """Who counts the firings, and how many of the rows, in order, are theirs."""

    def __call__(self, values: Tensor, gates: GateValues) -> None:
        value = gates(self.gate, self.rows).float()
        fires = torch.ones_like(value, dtype=torch.bool)
        if self.gate.above is not None:
            fires &= value > self.gate.above
        if self.gate.below is not None:
            fires &= value < self.gate.below
        before = values[self.rows].clone()
        self.inner(values, gates)
        values[self.rows] = torch.where(fires[:, None], values[self.rows], before)
        start = 0
        for counts, rows in self.counts:
            counts.fire(self.edits, int(fires[start : start + rows].sum()))
            start += rows


Task = tuple[Stage, Sequence[int], Counts]
"""A stage, the rows it is for, and who counts what it does."""


def build_operations(depths: Sequence[Sequence[Task]], width: int, device: torch.device) -> list[Operation]:
    """Operations of one site, in order. `depths[k]` holds the k-th stage of every row that has so many."""
    operations: list[Operation] = []
    for tasks in depths:
        groups: dict[Stage, list[Task]] = {}
        for task in tasks:
            groups.setdefault(task[0], []).append(task)
        single: list[tuple[Stage, int]] = []
        for stage, shared in groups.items():
            rows = [row for _, own, _ in shared for row in own]
            if stage.gate is None and stage.direction is None and len(rows) == 1:
                single.append((stage, rows[0]))
                continue
            operations.append(
                _block_operation(stage, rows, [(counts, len(own)) for _, own, counts in shared], width, device)
            )
        operations += _single_operations(single, width, device)
    return operations


def _block_operation(
    stage: Stage, numbers: list[int], counts: Sequence[tuple[Counts, int]], width: int, device: torch.device
) -> Operation:
    rows = as_rows(numbers, device)
    operation: Operation
    if stage.direction is not None:
        direction = stage.direction.astype(np.float64)
        unit = torch.from_numpy((direction / np.linalg.norm(direction)).astype(np.float32)).to(device)
        operation = _Projection(rows, unit)
    elif _is_dense([stage], width):
        operation = _Whole(rows, _dense([stage], width, device))
    else:
        parts = _Numbers.of((stage.scale, stage.offset, stage.low, stage.high), device)
        operation = _Block(rows, torch.from_numpy(stage.indices).to(device), parts)
    return operation if stage.gate is None else _Gated(rows, stage.gate, operation, stage.edits, counts)


def _is_dense(stages: Sequence[Stage], width: int) -> bool:
    """Whether whole rows are cheaper; what is only written never is, unless it is all of a row."""
    part = sum(len(stage.indices) for stage in stages) / (width * len(stages))
    return part == 1 or (part >= DENSE_FROM and not all(stage.constant.all() for stage in stages))


def _single_operations(single: list[tuple[Stage, int]], width: int, device: torch.device) -> list[Operation]:
    if not single:
        return []
    if _is_dense([stage for stage, _ in single], width):
        rows, stages = as_rows([row for _, row in single], device), [stage for stage, _ in single]
        return [_Whole(rows, _dense(stages, width, device))]
    index = np.concatenate([stage.indices + row * width for stage, row in single])
    parts = [np.concatenate([getattr(stage, part) for stage, _ in single]) for part in _PARTS]
    return [_Flat(torch.from_numpy(index).to(device), _Numbers.of(parts, device))]


_PARTS = ("scale", "offset", "low", "high")
_NEUTRAL = {"scale": 1.0, "offset": 0.0, "low": -np.inf, "high": np.inf}


def _dense(stages: Sequence[Stage], width: int, device: torch.device) -> _Numbers:
    rows = [stage.whole or _spread(stage, width) for stage in stages]
    return _Numbers.of([np.stack(part) for part in zip(*rows, strict=True)], device)


def _spread(stage: Stage, width: int) -> tuple[Floats, ...]:
    """The numbers of a few neurons among the neutral ones of the others."""
    rows = []
    for part in _PARTS:
        row = np.full(width, _NEUTRAL[part], dtype=np.float32)
        row[stage.indices] = getattr(stage, part)
        rows.append(row)
    return tuple(rows)


def as_rows(numbers: Sequence[int], device: torch.device) -> Rows:
    """A run of rows as a slice, others as an index."""
    if not numbers:
        raise EngineFailure("an operation without rows")
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers) and all(row == first + k for k, row in enumerate(numbers)):
        return slice(first, last + 1)
    return torch.tensor(numbers, device=device)


def condition_values(known: Mapping[tuple[str, int], Tensor], gate: Condition, rows: Rows) -> Tensor:
    """Values of a condition's neuron that an earlier site has recorded."""
    if (gate.site, gate.index) not in known:
        raise EngineFailure(f"{gate.site}[{gate.index}] was not recorded before the site it gates")
    return known[gate.site, gate.index][rows]
