"""From the segments of a pass to what the hooks do in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .hooks import Program, SiteProgram
from .interventions import Task, as_rows, build_operations
from .plan import Counts, Plan, Variant
from .scheduler import Segment
from .site_map import Site, SiteMap

__all__ = ["Captured", "Demand", "ProgramBuilder"]


@dataclass(slots=True, eq=False)
class Demand:
    """What a work wants of the passes it takes part in."""

    plan: Plan
    counts: Counts
    prompt_sites: tuple[Site, ...] = ()
    """Captured at the tokens of the prompt."""
    choosing_sites: tuple[Site, ...] = ()
    """Captured at the tokens whose logits choose the next one."""
    target_sites: tuple[Site, ...] = ()
    """Captured at the tokens after the prompt."""


@dataclass(slots=True, eq=False)
class Captured:
    """Captured tensors of a pass, and where in them the rows of each segment are."""

    tensors: dict[str, Tensor]
    places: Mapping[tuple[int, str], tuple[int, int]]

    def has(self, segment: Segment, site: str) -> bool:
        """Whether rows of a segment were captured at a site."""
        return (id(segment), site) in self.places

    def of(self, segment: Segment, site: str) -> Tensor:
        """Rows of a segment at a site, [captured tokens, width]."""
        start, count = self.places[id(segment), site]
        return self.tensors[site][start : start + count]


Use = tuple[Variant, tuple[int, ...], Counts]


@dataclass(slots=True)
class _Wanted:
    rows: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    places: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)

    def add(self, segment: Segment, site: Site, rows: Sequence[int]) -> None:
        taken = self.rows[site.name]
        self.places[id(segment), site.name] = (len(taken), len(rows))
        self.sites[site.name] = site
        taken += rows


class ProgramBuilder:
    """Builds the program of each pass; keeps the last one, since most passes decode the same rows once more."""

    def __init__(self, sites: SiteMap, device: torch.device) -> None:
        self._sites = sites
        self._device = device
        self._last_uses: list[Use] = []
        self._last: dict[str, SiteProgram] = {}

    def build(
        self, segments: Sequence[tuple[Segment, Demand]], total_rows: int
    ) -> tuple[Program, Mapping[tuple[int, str], tuple[int, int]]]:
        """The program for segments whose rows are set, and where their captured rows will be."""
        uses = [use for segment, demand in segments if demand.plan for use in _uses(segment, demand)]
        if uses != self._last_uses:
            self._last, self._last_uses = self._site_programs(uses, [demand.plan for _, demand in segments]), uses
        wanted = _Wanted()
        for segment, demand in segments:
            _want(wanted, segment, demand)
        captures = {
            site: None if len(rows) == total_rows else as_rows(rows, self._device)
            for site, rows in wanted.rows.items()
            if rows
        }
        return Program(self._last, captures, wanted.sites), wanted.places

    def forget(self) -> None:
        """Drops the last program, and with it what it holds of requests that have ended."""
        self._last, self._last_uses = {}, []

    @property
    def positions_edited(self) -> int:
        """Token positions that the last program edits, gates aside."""
        return sum(len(rows) for _, rows, _ in self._last_uses)

    def count(self) -> None:
        """Books the last program as run."""
        for variant, rows, counts in self._last_uses:
            counts.use(variant, len(rows))

    def _site_programs(self, uses: Sequence[Use], plans: Sequence[Plan]) -> dict[str, SiteProgram]:
        tasks: dict[str, list[list[Task]]] = {}
        for variant, rows, counts in uses:
            for site, stages in variant.stages.items():
                depths = tasks.setdefault(site, [])
                for depth, stage in enumerate(stages):
                    if depth == len(depths):
                        depths.append([])
                    depths[depth].append((stage, rows, counts))
        gates = self._gates(plans, tasks.keys())
        programs = {}
        for name in tasks.keys() | gates.keys():
            place = self._sites.find(name, "interventions")
            operations = build_operations(tasks.get(name, []), place.width, self._device)
            programs[name] = SiteProgram(place, operations, tuple(sorted(gates.get(name, ()))))
        return programs

    def _gates(self, plans: Sequence[Plan], edited: Container[str]) -> dict[str, set[int]]:
        gates: dict[str, set[int]] = defaultdict(set)
        for plan in {id(plan): plan for plan in plans}.values():
            for edit in plan.interventions:
                if edit.condition and edit.condition.site != edit.site and edit.site in edited:
                    gates[edit.condition.site].add(edit.condition.index)
        return gates


def _uses(segment: Segment, demand: Demand) -> list[Use]:
    prompt = segment.sequence.base + segment.sequence.prompt_length
    found = demand.plan.at(segment.ids, segment.position, prompt)
    return [
        (
            variant,
            tuple(range(segment.row, segment.row + segment.count))
            if where is None
            else tuple(segment.row + int(k) for k in where),
            demand.counts,
        )
        for variant, where in found
    ]


def _want(wanted: _Wanted, segment: Segment, demand: Demand) -> None:
    in_prompt = segment.start < segment.sequence.prompt_length
    everywhere = demand.prompt_sites if in_prompt else demand.target_sites
    last = demand.choosing_sites if segment.ends else ()
    rows = range(segment.row, segment.row + segment.count)
    for site in everywhere:
        wanted.add(segment, site, rows)
    for site in last:
        if site not in everywhere:
            wanted.add(segment, site, rows[-1:])
