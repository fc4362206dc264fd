"""Beam search for the formula of concepts that holds where a neuron fires."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.bits import Bits, overlaps, sizes

__all__ = ["Formula", "FormulaSearch"]

_OPERATORS = ("OR", "AND", "AND NOT")
_OPERATIONS: tuple[Callable[[Bits, Bits], Bits], ...] = (np.bitwise_or, np.bitwise_and, lambda one, other: one & ~other)
# Of the best candidates so many for each place in the beam are looked at before all are sorted.
_AHEAD = 8


@dataclass(frozen=True, slots=True, order=True)
class Formula:
    """A concept, and others joined to it one after the other: its number, then an operator's and a concept's in turn.
    (5, 0, 7, 2, 1) is (5 OR 7) AND NOT 1.
    """

    parts: tuple[int, ...]

    def __len__(self) -> int:
        return (len(self.parts) + 1) // 2

    def joined(self, operator: int, concept: int) -> Formula:
        """One concept longer."""
        return Formula((*self.parts, operator, concept))

    def text(self, names: Sequence[str]) -> str:
        """As people write it: "(det OR noun) AND NOT verb"."""
        found = names[self.parts[0]]
        for at in range(1, len(self.parts), 2):
            left = found if at == 1 else f"({found})"
            found = f"{left} {_OPERATORS[self.parts[at]]} {names[self.parts[at + 1]]}"
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Beam:
    """Formulas of one length in order, the rows where they hold [n, W], how many these are [n], and their IoU [n]."""

    formulas: tuple[Formula, ...]
    rows: Bits
    counts: NDArray[np.int64]
    iou: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FormulaSearch:
    """Formulas of up to `length` of K concepts [K, W], which have `counts` [K] rows; the best `beam` of each length are
    made longer.

    Of formulas that hold for the same rows one is kept: the shortest, of these the first in order. One that holds
    nowhere that a neuron fires cannot lead to a better one and is dropped; its concepts can still be joined to others.
    """

    concepts: Bits
    counts: NDArray[np.int64]
    length: int
    beam: int
    penalty: float

    def best(self, fires: Bits, top: int) -> list[tuple[Formula, float, int]]:
        """At most `top` formulas for a neuron that fires at some rows [W], with IoU and the number of rows where they
        hold: by penalty^(length − 1)·IoU, then by length, then in order. O(length·beam·K·W).
        """
        known: set[bytes] = set()
        beams = [self._single(fires, known)]
        while len(beams) < self.length and beams[-1].formulas:
            beams.append(self._longer(beams[-1], fires, known))
        ranked = sorted(
            (-self.score(formula, iou), len(formula), formula, iou, count)
            for beam in beams
            for formula, iou, count in zip(beam.formulas, beam.iou.tolist(), beam.counts.tolist(), strict=True)
        )
        return [(formula, iou, count) for _, _, formula, iou, count in ranked[:top]]

    def score(self, formula: Formula, iou: float) -> float:
        """penalty^(length − 1)·IoU."""
        return float(self.penalty ** (len(formula) - 1) * iou)

    def _single(self, fires: Bits, known: set[bytes]) -> _Beam:
        shared = overlaps(fires[None], self.concepts)[0]
        iou = shared / (self.counts + sizes(fires) - shared)
        return self._chosen(iou, self.counts, known, lambda place: (Formula((place,)), self.concepts[place]))

    def _longer(self, beam: _Beam, fires: Bits, known: set[bytes]) -> _Beam:
        """The best formulas that are one concept longer: [n, operators, K], in order."""
        within = beam.rows & fires
        both, shared = np.split(overlaps(np.concatenate((beam.rows, within)), self.concepts), 2)
        counts = _joined(both, beam.counts, self.counts)
        hits = _joined(shared, sizes(within), overlaps(fires[None], self.concepts)[0])
        iou = hits / np.maximum(counts + sizes(fires) - hits, 1)
        # As many rows as without the concept are the same rows, whatever the operator.
        iou[counts == beam.counts[:, None, None]] = 0.0

        def formula(place: int) -> tuple[Formula, Bits]:
            which, operator, concept = (int(at) for at in np.unravel_index(place, iou.shape))
            rows = _OPERATIONS[operator](beam.rows[which], self.concepts[concept])
            return beam.formulas[which].joined(operator, concept), rows

        return self._chosen(iou.ravel(), counts.ravel(), known, formula)

    def _chosen(
        self,
        iou: NDArray[np.float64],
        counts: NDArray[np.int64],
        known: set[bytes],
        formula: Callable[[int], tuple[Formula, Bits]],
    ) -> _Beam:
        """The best that hold for other rows than those that are known, of equal ones the first; back in order."""
        chosen: dict[Formula, tuple[int, Bits]] = {}
        for place in _descending(iou, _AHEAD * self.beam):
            if len(chosen) == self.beam or not iou[place]:
                break
            made, rows = formula(place)
            if (content := rows.tobytes()) not in known:
                known.add(content)
                chosen[made] = place, rows
        formulas = tuple(sorted(chosen))
        places = [chosen[made][0] for made in formulas]
        rows = np.array([chosen[made][1] for made in formulas], np.uint64).reshape(-1, self.concepts.shape[1])
        return _Beam(formulas, rows, counts[places], iou[places])


def _joined(both: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n, operators, K] sizes of unions, intersections and differences, by those of intersections [n, K] and of what
    is joined.
    """
    return np.stack((left[:, None] + right - both, both, left[:, None] - both), axis=1)


def _descending(values: NDArray[np.float64], first: int) -> Iterator[int]:
    """Places of the largest values first, equal ones in order. Sorts all only when more than the first are wanted."""
    done = 0
    if len(values) > 2 * first:
        least = np.partition(values, -first)[-first]
        places = np.flatnonzero(values >= least)
        yield from places[np.argsort(-values[places], kind="stable")].tolist()
        done = len(places)
    if done < len(values):
        yield from np.argsort(-values, kind="stable")[done:].tolist()
