"""Reading and editing the rows of a pass while the model runs it.

A `Program` says what is to be done at which site. `Instruments.applied(program, rows)` makes sure that just the sites
it names carry a hook, and that each hook sees the tensor the pass promised: a mismatch raises, it is never guessed
which row belongs to whom. Hooks stay while consecutive passes need them, and are gone when none does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import EngineFailure
from .interventions import Operation, Rows, condition_values
from .requests import Condition
from .site_map import Site

__all__ = ["Instruments", "Program", "SiteProgram"]

HookPoint = tuple[nn.Module, str]
Arguments = tuple[object, ...]
Options = dict[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class SiteProgram:
    """What happens at one site: edits, in order, then the neurons whose values gate later sites."""

    site: Site
    operations: Sequence[Operation] = ()
    gates: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Program:
    """What happens in one pass. Captures name the rows they want of each site; None: all."""

    sites: Mapping[str, SiteProgram] = field(default_factory=dict)
    captures: Mapping[str, Rows | None] = field(default_factory=dict)
    capture_sites: Mapping[str, Site] = field(default_factory=dict)

    def all_sites(self) -> dict[str, Site]:
        """Every site at which something happens."""
        return {name: entry.site for name, entry in self.sites.items()} | dict(self.capture_sites)


class Instruments:
    """The hooks of one model."""

    def __init__(self) -> None:
        self._handles: dict[HookPoint, RemovableHandle] = {}
        self._at: dict[HookPoint, dict[int, list[Site]]] = {}
        self._calls: dict[HookPoint, int] = {}
        self._program = Program()
        self._rows = 0
        self._installed_for: Mapping[str, Site] | None = None
        self._known: dict[tuple[str, int], Tensor] = {}
        self.captured: dict[str, Tensor] = {}

    @contextmanager
    def applied(self, program: Program, rows: int) -> Iterator[dict[str, Tensor]]:
        """Within it, forward passes over `rows` tokens are edited and read. Yields what was captured, by site, each
        [rows wanted, width]. After an error no hook is left."""
        self._program, self._rows = program, rows
        self._known, self.captured = {}, {}
        self._calls = dict.fromkeys(self._calls, 0)
        try:
            self._install(program.all_sites())
            yield self.captured
            self._check_all_met()
        except BaseException:
            self.clear()
            raise
        finally:
            self._program, self._known = Program(), {}

    def clear(self) -> None:
        """Takes every hook off the model."""
        for handle in self._handles.values():
            handle.remove()
        self._handles, self._at, self._calls, self._installed_for = {}, {}, {}, None

    def _install(self, sites: Mapping[str, Site]) -> None:
        if sites.keys() == (self._installed_for or {}).keys():
            return
        points: dict[HookPoint, dict[int, list[Site]]] = defaultdict(dict)
        for site in sites.values():
            points[site.module, site.end].setdefault(site.call, []).append(site)
        for point in self._handles.keys() - points.keys():
            self._handles.pop(point).remove()
        for point in points.keys() - self._handles.keys():
            self._handles[point] = self._hook(point)
        self._at, self._calls, self._installed_for = points, dict.fromkeys(points, 0), sites

    def _hook(self, point: HookPoint) -> RemovableHandle:
        module, end = point
        if end == "output":
            return module.register_forward_hook(self._on_output(point))
        return module.register_forward_pre_hook(self._on_input(point), with_kwargs=True)

    def _on_output(self, point: HookPoint) -> Callable[[nn.Module, Arguments, object], object]:
        def hook(module: nn.Module, arguments: Arguments, output: object) -> object:
            sites = self._sites(point)
            if not sites:
                return None
            values = output[0] if isinstance(output, tuple) else output
            edited = self._visit_all(sites, values)
            if edited is values:
                return None
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return hook

    def _on_input(
        self, point: HookPoint
    ) -> Callable[[nn.Module, Arguments, Options], tuple[Arguments, Options] | None]:
        def hook(module: nn.Module, arguments: Arguments, options: Options) -> tuple[Arguments, Options] | None:
            sites = self._sites(point)
            if not sites:
                return None
            if arguments:
                edited = self._visit_all(sites, arguments[0])
                return None if edited is arguments[0] else ((edited, *arguments[1:]), options)
            name = next(name for name, value in options.items() if isinstance(value, Tensor))
            edited = self._visit_all(sites, options[name])
            return None if edited is options[name] else (arguments, options | {name: edited})

        return hook

    def _sites(self, point: HookPoint) -> list[Site]:
        call = self._calls[point]
        self._calls[point] = call + 1
        return self._at[point].get(call, [])

    def _visit_all(self, sites: list[Site], values: object) -> object:
        for site in sites:
            values = self._visit(site, values)
        return values

    def _visit(self, site: Site, values: object) -> Tensor:
        """Edits, reads gates and captures at a site; returns the tensor the model goes on with."""
        if not isinstance(values, Tensor):
            raise EngineFailure(f"{site.name} carries a {type(values).__name__}, not a tensor")
        if values.shape[-1] != site.width or values.numel() != self._rows * site.width:
            raise EngineFailure(
                f"{site.name} carries {tuple(values.shape)} where the pass has {self._rows} rows of {site.width}"
            )
        entry = self._program.sites.get(site.name)
        if entry and entry.operations:
            # A module of the model's own may hand on the tensor it got, which others still read.
            if site.name.startswith("module:") or not values.is_contiguous():
                values = values.clone(memory_format=torch.contiguous_format)
            flat = values.view(-1, site.width)
            for operation in entry.operations:
                operation(flat, lambda gate, rows: self._gate(site, flat, gate, rows))
        self._read(site, values.reshape(-1, site.width), entry)
        return values

    def _read(self, site: Site, flat: Tensor, entry: SiteProgram | None) -> None:
        for neuron in entry.gates if entry else ():
            self._known[site.name, neuron] = flat[:, neuron].clone()
        if site.name in self._program.captures:
            rows = self._program.captures[site.name]
            # Always a copy: the model may go on to write into this tensor.
            self.captured[site.name] = flat.clone() if rows is None else flat[rows].clone()

    def _gate(self, site: Site, flat: Tensor, gate: Condition, rows: Rows) -> Tensor:
        if gate.site == site.name:
            return flat[rows, gate.index].clone()
        return condition_values(self._known, gate, rows)

    def _check_all_met(self) -> None:
        for point, sites in self._at.items():
            if sites and self._calls[point] <= max(sites):
                missed = ", ".join(site.name for same in sites.values() for site in same)
                raise EngineFailure(f"the forward pass did not come by {missed}")
