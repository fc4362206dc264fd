"""Sites: from names that do not depend on the architecture to module ends of one model.

What is known of the families is the table `FAMILIES`, and nothing else. Whatever the table says is tried out on the
model when it is loaded: a site that does not carry what its name promises is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .families import FAMILIES, Family, families_of
from .model import LoadedModel
from .probe import End, Observation, decoder_path
from .requests import Head, ModuleInfo, RefusedSite
from .site_equations import broken_projection, broken_sum
from .site_map import Site, SiteMap

__all__ = ["FAMILIES", "Family", "Site", "SiteMap", "build_site_map"]

_ENDS: Mapping[str, End] = {
    "attention": "output",
    "heads": "input",
    "cross_attention": "output",
    "cross_heads": "input",
    "mlp": "output",
    "neurons": "input",
}
_BOTH: tuple[End, End] = ("input", "output")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def build_site_map(model: LoadedModel) -> SiteMap:
    """Finds the sites of a model and tries them: two short forward passes, and the equations that the names promise.

    It runs the model's own attention, so call it before that is replaced. No hook is left on the model.
    """
    return _Builder(model).build()


def _places(family: Family) -> dict[str, str]:
    """The modules of a block that carry its sites, by kind, in the order of the forward pass."""
    cross = {"cross_attention": family.cross_attention, "cross_heads": family.cross_attention}
    return {
        "attention": family.attention,
        "heads": family.heads,
        **(cross if family.cross_attention else {}),
        "mlp": family.mlp,
        "neurons": family.neurons,
    }


class _Block(NamedTuple):
    """A layer: one call of one block, which is called `calls` times in all."""

    path: str
    call: int
    calls: int


class _Side(NamedTuple):
    """The layers of a model, or of one side of an encoder-decoder; `prefix` is what the names of its sites begin
    with: "encoder.", "decoder." or nothing."""

    prefix: str
    family: Family | None
    layers: list[_Block]


class _Builder:
    """What is known of a model while its map is drawn. `reasons` holds those of all sites that are not offered."""

    def __init__(self, model: LoadedModel) -> None:
        module = model.module
        self.module = module
        self.modules = {path: child for path, child in module.named_modules() if path}
        # Of a causal model, logits are computed where the next token is wanted; a masked one predicts at any token.
        language = model.head is Head.LANGUAGE
        self.head = module.get_output_embeddings() if language else None  # type: ignore[no-untyped-call]
        families: dict[str, Family | None] = dict(families_of(module.config)) or {"": None}
        lists = {side: self._block_lists(family) for side, family in families.items()}
        blocks = {
            side: [f"{path}.{name}" for path in paths for name, _ in self.modules[path].named_children()]
            for side, paths in lists.items()
        }
        inner = {
            f"{block}.{path}"
            for side, family in families.items()
            if family
            for block in blocks[side]
            for path in _places(family).values()
        }
        self.seen = Observation(module, keep={*inner, *(block for paths in blocks.values() for block in paths)})
        self.sides = [
            _Side(side and f"{side}.", family, self._in_order(blocks[side])) for side, family in families.items()
        ]
        self.reasons: dict[str, str] = {}
        self.decoder = decoder_path(module)

    def build(self) -> SiteMap:
        """The finished map."""
        named = sorted((site for side in self.sides for site in self._named_sites(side)), key=lambda site: site.order)
        names = {(site.path, site.end, site.call): site for site in named}
        module_sites = {site.name: site for site in self._module_sites()}
        return SiteMap(
            sites={site.name: site for site in named},
            refused=_gathered(self.reasons, {side.prefix: len(side.layers) for side in self.sides}),
            modules=tuple(_module_info(path, child, module_sites) for path, child in self.modules.items()),
            sides={side.prefix: len(side.layers) for side in self.sides},
            module_sites={k: names.get((site.path, site.end, site.call), site) for k, site in module_sites.items()},
            module_refusals={name: why for name, why in self.reasons.items() if name.startswith("module:")},
        )

    def _block_lists(self, family: Family | None) -> list[str]:
        """Paths of the lists of blocks: what the table says, or the longest list of equals that lies in no other."""
        lists = [path for path, child in self.modules.items() if isinstance(child, nn.ModuleList) and len(child)]
        if family:
            base = "" if self.module.base_model is self.module else f"{self.module.base_model_prefix}."
            pattern = re.escape(base + family.blocks).replace(r"\*", r"\d+")
            return [path for path in lists if re.fullmatch(pattern, path)]
        equal = [path for path in lists if len({type(block) for block in self.modules[path].children()}) == 1]
        outer = [path for path in equal if not path.startswith(tuple(f"{other}." for other in equal))]
        return sorted(outer, key=lambda path: -len(list(self.modules[path].children())))[:1]

    def _in_order(self, blocks: Iterable[str]) -> list[_Block]:
        """Blocks in order of execution; shared ones come once for each call."""
        ends = {path: self.seen.firings(path, "output") for path in blocks}
        calls = {fired.order: _Block(p, call, len(ends[p])) for p in blocks for call, fired in enumerate(ends[p])}
        return [calls[order] for order in sorted(calls)]

    def _named_sites(self, side: _Side) -> list[Site]:
        if not side.layers:
            self._refuse("no layers were found", f"{side.prefix}embeddings", f"{side.prefix}layers.*.residual")
        if not side.layers or side.family is None:
            kinds = ("attention", "heads", "mlp", "neurons")
            self._refuse(_why_unknown(self.module), *(f"{side.prefix}layers.*.{kind}" for kind in kinds))
        sites: list[Site] = []
        for index, block in enumerate(side.layers):
            sites += self._stream_sites(side, index, block)
            sites += self._family_sites(side, side.family, index, block) if side.family else []
        return [site for site in sites if site.name not in self.reasons]

    def _stream_sites(self, side: _Side, index: int, block: _Block) -> list[Site]:
        """What a block leaves, and what enters the first; each must be what the next block gets."""
        residual = self._site(f"{side.prefix}layers.{index}.residual", block.path, "output", block)
        if index == 0:
            embeddings = self._site(f"{side.prefix}embeddings", block.path, "input", block)
            return [site for site in (embeddings, residual) if site]
        before = side.layers[index - 1]
        left = self.seen.value(before.path, "output", before.call)
        if not torch.equal(left, self.seen.value(block.path, "input", block.call)):
            self._refuse(f"layer {index} gets something else", f"{side.prefix}layers.{index - 1}.residual")
        return [residual] if residual else []

    def _family_sites(self, side: _Side, family: Family, index: int, block: _Block) -> list[Site]:
        """The sites within a block, after the equations that they promise were tried."""
        places = _places(family)
        names = [f"{side.prefix}layers.{index}.{kind}" for kind in places]
        found = [
            self._site(name, f"{block.path}.{path}", _ENDS[kind], block)
            for name, (kind, path) in zip(names, places.items(), strict=True)
        ]
        sites = [site for site in found if site]
        if absent := [name for name in names if name in self.reasons]:
            self._refuse(f"it cannot be tried without {absent[0]}: {self.reasons[absent[0]]}", *names)
        elif why := self._broken(
            family,
            block,
            {kind: self.seen.value(site.path, site.end, site.call) for kind, site in zip(places, sites, strict=True)},
        ):
            self._refuse(why, *names)
        return sites

    def _broken(self, family: Family, block: _Block, values: Mapping[str, Tensor]) -> str:
        """Which equation of a layer does not hold, and by how much."""
        module, places = self.modules[block.path], _places(family)
        for source, result in (("heads", "attention"), ("cross_heads", "cross_attention"), ("neurons", "mlp")):
            if source not in values:
                continue
            norm = module.get_submodule(places[result]) if family.branch_norms else None
            projection = module.get_submodule(places[source])
            if why := broken_projection(projection, norm, values[source], values[result]):
                return f"{source} → projection = {result} does not hold: {why}"
        before, after = (self.seen.value(block.path, end, block.call) for end in _BOTH)
        norms = [module.get_submodule(path) for path in family.sum_norms]
        added = [kind for kind in ("attention", "cross_attention", "mlp") if kind in values]
        if why := broken_sum(before, [values[kind] for kind in added], after, norms):
            return f"residual before + {' + '.join(added)} = residual after does not hold: {why}"
        return ""

    def _module_sites(self) -> list[Site]:
        """Every end of every module that is called once and carries one row a token."""
        sites = []
        for path, child in self.modules.items():
            for end in _BOTH:
                if child is self.head:
                    self._refuse("only the tokens whose successor is wanted get here", f"module:{path}.{end}")
                elif site := self._site(f"module:{path}.{end}", path, end, _Block(path, 0, 1)):
                    sites.append(site)
        return sites

    def _site(self, name: str, path: str, end: End, block: _Block) -> Site | None:
        """The site at one end of a module, or None with the reason noted."""
        firings = self.seen.firings(path, end)
        if path not in self.modules:
            self._refuse(f"there is no module {path}", name)
        elif not firings:
            self._refuse("no forward pass calls it", name)
        elif len(firings) != block.calls:
            self._refuse(f"a forward pass calls it {len(firings)} times, not {block.calls}", name)
        elif not firings[block.call].width:
            self._refuse(firings[block.call].why, name)
        else:
            fired = firings[block.call]
            return Site(name, path, self.modules[path], end, block.call, fired.width, fired.order, self._side(path))
        return None

    def _side(self, path: str) -> str:
        if not self.decoder:
            return ""
        return "decoder" if f"{path}.".startswith(self.decoder) else "encoder"

    def _refuse(self, why: str, *names: str) -> None:
        for name in names:
            self.reasons.setdefault(name, why)


def _why_unknown(module: PreTrainedModel) -> str:
    family = module.config.model_type
    if any(getattr(module.config, name, None) for name in _EXPERTS):
        return f"{family} routes each token through some of its experts; only what enters and leaves a layer has a name"
    return f"the family {family} is not described yet; its modules can be named, as module:PATH.input or .output"


def _module_info(path: str, module: nn.Module, sites: Mapping[str, Site]) -> ModuleInfo:
    found = [sites.get(f"module:{path}.{end}") for end in _BOTH]
    widths = [site.width if site else 0 for site in found]
    return ModuleInfo(path, type(module).__name__, *widths)


def _gathered(reasons: Mapping[str, str], layers: Mapping[str, int]) -> tuple[RefusedSite, ...]:
    """One entry where a site is refused in every layer, with the reason of the first."""
    gathered: dict[str, list[RefusedSite]] = {}
    for name, why in reasons.items():
        if not name.startswith("module:"):
            gathered.setdefault(re.sub(r"\blayers\.\d+\.", "layers.*.", name), []).append(RefusedSite(name, why))
    return tuple(
        refused
        for general, each in gathered.items()
        for refused in (
            [RefusedSite(general, each[0].reason)] if len(each) == layers[_prefix(general, layers)] else each
        )
    )


def _prefix(name: str, layers: Mapping[str, int]) -> str:
    return next(prefix for prefix in layers if name.startswith(prefix))
