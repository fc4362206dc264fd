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

_LAYER = re.compile(
    r"((?:encoder|decoder)\.)?layers\.(\d{1,9})\.(attention|heads|cross_attention|cross_heads|mlp|neurons|residual)"
)


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
    side: str = ""
    """Of an encoder-decoder: "encoder", whose sites read the prompt, or "decoder", whose sites read the rest."""

    @property
    def reads_prompt(self) -> bool:
        """Whether it carries a row for tokens of the prompt."""
        return self.side != "decoder"

    @property
    def reads_generated(self) -> bool:
        """Whether it carries a row for tokens after the prompt."""
        return self.side != "encoder"


@dataclass(frozen=True, slots=True, eq=False)
class SiteMap:
    """The sites of one model: named ones in order of the forward pass, what is refused and why, and every module."""

    sites: dict[str, Site]
    refused: tuple[RefusedSite, ...]
    modules: tuple[ModuleInfo, ...]
    sides: dict[str, int]
    """The number of layers; of an encoder-decoder that of either side, by "encoder." and "decoder.", else by ""."""
    module_sites: dict[str, Site] = field(repr=False)
    """By "module:{path}.input" and ".output". One that has a name of its own is the named site."""
    module_refusals: dict[str, str] = field(repr=False)

    @property
    def layers(self) -> int:
        """Layers of all sides."""
        return sum(self.sides.values())

    def find(self, name: str, field: str) -> Site:
        """The site of that name; InvalidRequest naming `field` and the nearest name if there is none."""
        site = self.sites.get(name) or self.module_sites.get(name)
        if site is None:
            raise InvalidRequest(self._why_not(name), reason="UNKNOWN_SITE", field=field)
        return site

    def expand(self, pattern: str, field: str) -> tuple[Site, ...]:
        """The sites that "layers.*.residual" stands for, in order of the layers; of a plain name that one."""
        kind = re.fullmatch(r"(encoder\.|decoder\.|)layers\.\*\.(\w+)", pattern)
        if kind is None:
            return (self.find(pattern, field),)
        layers = max(self.sides.get(kind[1], 0), 1)
        return tuple(self.find(f"{kind[1]}layers.{layer}.{kind[2]}", field) for layer in range(layers))

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
        if layers := self._too_far(name):
            return f"there is no site {shown!r}: {layers}"
        names = self.module_sites if name.startswith("module:") else self.sites
        nearest = difflib.get_close_matches(name[:100], names, n=1, cutoff=0.0)
        return f"there is no site {shown!r}" + (f"; the nearest is {nearest[0]!r}" if nearest else "")

    def _too_far(self, name: str) -> str:
        layer = _LAYER.fullmatch(name)
        side = (layer[1] or "") if layer else ""
        count = self.sides.get(side, 0)
        if layer is None or int(layer[2]) < count or not count:
            return ""
        return f"the layers of {f'the {side[:-1]}' if side else 'this model'} are 0 to {count - 1}"

    def _refusal(self, name: str) -> str:
        layer = _LAYER.fullmatch(name)
        if self._too_far(name):
            return ""
        general = f"{layer[1] or ''}layers.*.{layer[3]}" if layer else name
        reasons = {refused.name: refused.reason for refused in self.refused} | self.module_refusals
        return reasons.get(name) or reasons.get(general, "")
