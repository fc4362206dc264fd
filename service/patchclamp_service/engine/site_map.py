"""Looking up sites of one model by name."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field

from torch import nn

from .errors import InvalidRequest
from .probe import End
from .requests import ModuleInfo, RefusedSite, SiteInfo

__all__ = ["Site", "SiteMap"]

_LAYER = re.compile(r"layers\.(\d{1,9})\.(attention|heads|mlp|neurons|residual)")


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A place in one model: an end of a module in its `call`-th call (from 0) within a forward pass.

    `order` grows along the forward pass: an edit at one site may depend on the value at another of lower order.
    """

    name: str
    path: str
    module: nn.Module
    end: End
    call: int
    width: int
    order: int


@dataclass(frozen=True, slots=True, eq=False)
class SiteMap:
    """The sites of one model: named ones in order of the forward pass, what is refused and why, and every module."""

    sites: dict[str, Site]
    refused: tuple[RefusedSite, ...]
    modules: tuple[ModuleInfo, ...]
    layers: int
    module_sites: dict[str, Site] = field(repr=False)
    """By "module:{path}.input" and ".output". One that has a name of its own is the named site."""
    module_refusals: dict[str, str] = field(repr=False)

    def find(self, name: str, field: str) -> Site:
        """The site of that name; InvalidRequest naming `field` and the nearest name if there is none."""
        site = self.sites.get(name) or self.module_sites.get(name)
        if site is None:
            raise InvalidRequest(self._why_not(name), reason="UNKNOWN_SITE", field=field)
        return site

    def expand(self, pattern: str, field: str) -> tuple[Site, ...]:
        """The sites that "layers.*.residual" stands for, in order of the layers; of a plain name that one."""
        kind = re.fullmatch(r"layers\.\*\.(\w+)", pattern)
        if kind is None:
            return (self.find(pattern, field),)
        return tuple(self.find(f"layers.{layer}.{kind[1]}", field) for layer in range(max(self.layers, 1)))

    def infos(self) -> tuple[SiteInfo, ...]:
        """The named sites as GetModel shows them; shared modules with the number of the call."""
        return tuple(
            SiteInfo(site.name, site.width, f"{site.path}.{site.end}" + (f" call {site.call}" if site.call else ""))
            for site in self.sites.values()
        )

    def _why_not(self, name: str) -> str:
        shown = name if len(name) <= 100 else f"{name[:100]}…"
        if reason := self._refusal(name):
            return f"this model does not offer the site {shown!r}: {reason}"
        layer = _LAYER.fullmatch(name)
        if layer and int(layer[1]) >= self.layers > 0:
            return f"there is no site {shown!r}: the layers of this model are 0 to {self.layers - 1}"
        names = self.module_sites if name.startswith("module:") else self.sites
        nearest = difflib.get_close_matches(name[:100], names, n=1, cutoff=0.0)
        return f"there is no site {shown!r}" + (f"; the nearest is {nearest[0]!r}" if nearest else "")

    def _refusal(self, name: str) -> str:
        layer = _LAYER.fullmatch(name)
        if layer and int(layer[1]) >= self.layers > 0:
            return ""
        general = f"layers.*.{layer[2]}" if layer else name
        reasons = {refused.name: refused.reason for refused in self.refused} | self.module_refusals
        return reasons.get(name) or reasons.get(general, "")
