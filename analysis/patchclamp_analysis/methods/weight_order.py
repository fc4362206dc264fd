"""Neurons by the weights of a linear probe: cumulative mass, and selections by it.

The mass of a set of neurons for a class is their part of Σ|W_c|. The heaviest neurons that reach a mass p, swept from
p = 0 to 1, are the order of Dalvi et al. 2019; over classes, a neuron enters with the first class that selects it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sweep", "above_part_of_largest", "entering_mass", "heaviest", "lightest", "sweep", "sweep_by_number"]


def entering_mass(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """[C, D] the mass at which each neuron enters: what the heavier ones have already. A class without any weight, and
    neurons of weight 0, have 1. Among equal weights the lower place is first.
    """
    sizes = np.abs(weights.astype(np.float32))
    # Size and place in one number: sorted several times as fast as by argsort, and equal ones by place.
    packed = (~sizes.view(np.uint32)).astype(np.uint64) << np.uint64(32) | np.arange(sizes.shape[1], dtype=np.uint64)
    packed.sort(axis=1)
    order = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    falling = np.take_along_axis(sizes, order, axis=1).astype(np.float64)
    total = falling.sum(axis=1, keepdims=True)
    before = (np.cumsum(falling, axis=1) - falling) / np.where(total > 0, total, 1.0)
    before = np.where(falling > 0, np.minimum(before, 1.0), 1.0)
    mass = np.empty_like(before)
    np.put_along_axis(mass, order, before, axis=1)
    return mass


def heaviest(weights: NDArray[np.floating], mass: float) -> list[NDArray[np.int64]]:
    """For each class the fewest neurons, heaviest first, that have at least a mass. NeuroX's, with its rounding and
    its order of equal weights: at least one neuron, even for mass 0.
    """
    return _prefixes(np.abs(weights), _falling(weights), mass)


def lightest(weights: NDArray[np.floating], mass: float) -> list[NDArray[np.int64]]:
    """For each class neurons from the lightest on until they have a mass. NeuroX's, as `heaviest`."""
    return _prefixes(np.abs(weights), np.argsort(np.abs(weights), axis=1, kind="stable"), mass)


def above_part_of_largest(weights: NDArray[np.floating], divisor: float) -> list[NDArray[np.int64]]:
    """For each class the neurons, by place, whose weight is larger than the largest one / `divisor`."""
    sizes = np.abs(weights)
    return [np.flatnonzero(row > row.max() / divisor) for row in sizes]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """`step` [D]: with which step of the sweep each neuron enters; the number of steps where it never does.
    `cutoffs`: how many neurons there are after each step.
    """

    step: NDArray[np.int64]
    cutoffs: NDArray[np.int64]

    @property
    def order(self) -> NDArray[np.int64]:
        """Neurons in the order in which they enter; within a step by place."""
        return np.argsort(self.step, kind="stable")[: self.cutoffs[-1]]


def sweep(weights: NDArray[np.floating], steps: int = 100) -> Sweep:
    """NeuroX's sweep of the mass over 0, 1/steps, …, 1; all classes and steps at once."""
    sizes, order = np.abs(weights), _falling(weights)
    sums = np.cumsum(np.take_along_axis(sizes, order, axis=1), axis=1)
    entered = np.full(sizes.shape[1], steps + 1)
    for row, total, neurons in zip(sums, sizes.sum(axis=1), order, strict=True):
        counts = np.minimum(np.searchsorted(row, [total * (step / steps) for step in range(steps + 1)]) + 1, len(row))
        step = np.searchsorted(counts, np.arange(len(row)), side="right")
        entered[neurons] = np.minimum(entered[neurons], step)
    return Sweep(entered, np.cumsum(np.bincount(entered, minlength=steps + 2)[:-1]))


def sweep_by_number(weights: NDArray[np.floating], granularity: int = 50, steps: int = 100) -> Sweep:
    """NeuroX's granular sweep: the same in steps of at least some number of neurons."""
    fine = sweep(weights, steps)
    wanted = np.arange(0, weights.shape[1] + 1, granularity)
    ends = np.unique(np.searchsorted(fine.cutoffs, wanted[wanted <= fine.cutoffs[-1]]))
    ends = ends[np.unique(fine.cutoffs[ends], return_index=True)[1]]
    return Sweep(np.searchsorted(ends, fine.step), fine.cutoffs[ends])


def _falling(weights: NDArray[np.floating]) -> NDArray[np.int64]:
    # Of equal weights the higher place is first: NeuroX reverses an ascending sort.
    return np.argsort(np.abs(weights), axis=1, kind="stable")[:, ::-1]


def _prefixes(sizes: NDArray[np.floating], order: NDArray[np.int64], mass: float) -> list[NDArray[np.int64]]:
    sums = np.cumsum(np.take_along_axis(sizes, order, axis=1), axis=1)
    ends = [int(np.searchsorted(row, total * mass)) + 1 for row, total in zip(sums, sizes.sum(axis=1), strict=True)]
    return [neurons[:end] for neurons, end in zip(order, ends, strict=True)]
