"""Sites: from names that do not depend on the architecture to module ends of one model.

What is known of the families is the table `FAMILIES`, and nothing else. Whatever the table says is tried out on the
model when it is loaded: a site that does not carry what its name promises is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .model import LoadedModel
from .probe import End, Observation
from .requests import ModuleInfo, RefusedSite
from .site_equations import broken_projection, broken_sum
from .site_map import Site, SiteMap

__all__ = ["FAMILIES", "Family", "Site", "SiteMap", "build_site_map", "family_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family keeps its sites. `blocks` is the list (or lists, with `*`) of blocks, relative to the base model;
    the rest are modules of a block."""

    blocks: str
    attention: str
    """Its output is what attention adds to the residual stream."""
    heads: str
    """The output projection: its input are the heads."""
    mlp: str
    """Its output is what the feed-forward network adds to the residual stream."""
    neurons: str
    """The down projection: its input are the neurons."""
    branch_norms: bool = False
    """Whether `attention` and `mlp` are norms behind the projections."""
    sum_norms: tuple[str, ...] = ()
    """Norms of the residual stream after attention and after the feed-forward network, in post-norm architectures."""
    where: tuple[str, object] | None = None
    """Holds only for configurations with this attribute of this value."""


_LLAMA = Family("layers", "self_attn.o_proj", "self_attn.o_proj", "mlp", "mlp.down_proj")
_GEMMA = Family(
    "layers",
    "post_attention_layernorm",
    "self_attn.o_proj",
    "post_feedforward_layernorm",
    "mlp.down_proj",
    branch_norms=True,
)
_OPT = Family("decoder.layers", "self_attn.out_proj", "self_attn.out_proj", "fc2", "fc2")
_OPT_POST_NORM = Family(
    "decoder.layers",
    "self_attn.out_proj",
    "self_attn.out_proj",
    "fc2",
    "fc2",
    sum_norms=("self_attn_layer_norm", "final_layer_norm"),
    where=("do_layer_norm_before", False),
)
_BERT = Family(
    "encoder.layer",
    "attention.output.dense",
    "attention.output.dense",
    "output.dense",
    "output.dense",
    sum_norms=("attention.output.LayerNorm", "output.LayerNorm"),
)

FAMILIES: Mapping[str, tuple[Family, ...]] = {
    "llama": (_LLAMA,),
    "mistral": (_LLAMA,),
    "qwen2": (_LLAMA,),
    "qwen3": (_LLAMA,),
    "gemma2": (_GEMMA,),
    "gemma3_text": (_GEMMA,),
    "phi": (Family("layers", "self_attn.dense", "self_attn.dense", "mlp", "mlp.fc2"),),
    "gpt2": (Family("h", "attn.c_proj", "attn.c_proj", "mlp", "mlp.c_proj"),),
    "gpt_neox": (Family("layers", "attention.dense", "attention.dense", "mlp", "mlp.dense_4h_to_h"),),
    "gptj": (Family("h", "attn.out_proj", "attn.out_proj", "mlp", "mlp.fc_out"),),
    "opt": (_OPT_POST_NORM, _OPT),
    "bloom": (Family("h", "self_attention.dense", "self_attention.dense", "mlp.dense_4h_to_h", "mlp.dense_4h_to_h"),),
    "falcon": (Family("h", "self_attention.dense", "self_attention.dense", "mlp", "mlp.dense_4h_to_h"),),
    "bert": (_BERT,),
    "roberta": (_BERT,),
    "electra": (_BERT,),
    "distilbert": (
        Family(
            "transformer.layer",
            "attention.out_lin",
            "attention.out_lin",
            "ffn",
            "ffn.lin2",
            sum_norms=("sa_layer_norm", "output_layer_norm"),
        ),
    ),
    "albert": (
        Family(
            "encoder.albert_layer_groups.*.albert_layers",
            "attention.dense",
            "attention.dense",
            "ffn_output",
            "ffn_output",
            sum_norms=("attention.LayerNorm", "full_layer_layer_norm"),
        ),
    ),
}
"""By `model_type` of the configuration; the first whose `where` holds."""

_ENDS: Mapping[str, End] = {"attention": "output", "heads": "input", "mlp": "output", "neurons": "input"}
_KINDS = tuple(_ENDS)
_BOTH: tuple[End, End] = ("input", "output")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def family_of(module: PreTrainedModel) -> Family | None:
    """What the table knows of the model's architecture."""
    for family in FAMILIES.get(module.config.model_type, ()):
        if family.where is None or getattr(module.config, family.where[0], None) == family.where[1]:
            return family
    return None


def build_site_map(model: LoadedModel) -> SiteMap:
    """Finds the sites of a model and tries them: two short forward passes, and the equations that the names promise.

    It runs the model's own attention, so call it before that is replaced. No hook is left on the model.
    """
    return _Builder(model.module).build()


class _Block(NamedTuple):
    """A layer: one call of one block, which is called `calls` times in all."""

    path: str
    call: int
    calls: int


class _Builder:
    """What is known of a model while its map is drawn. `reasons` holds those of all sites that are not offered."""

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module
        self.family = family_of(module)
        self.modules = {path: child for path, child in module.named_modules() if path}
        blocks = [f"{path}.{name}" for path in self._block_lists() for name, _ in self.modules[path].named_children()]
        inner = [getattr(self.family, kind) for kind in _KINDS] if self.family else []
        self.seen = Observation(module, keep={*blocks, *(f"{block}.{path}" for block in blocks for path in inner)})
        self.layers = self._in_order(blocks)
        self.reasons: dict[str, str] = {}

    def build(self) -> SiteMap:
        """The finished map."""
        named = sorted(self._named_sites(), key=lambda site: site.order)
        names = {(site.path, site.end, site.call): site for site in named}
        module_sites = {site.name: site for site in self._module_sites()}
        return SiteMap(
            sites={site.name: site for site in named},
            refused=_gathered(self.reasons, len(self.layers)),
            modules=tuple(_module_info(path, child, module_sites) for path, child in self.modules.items()),
            layers=len(self.layers),
            module_sites={k: names.get((site.path, site.end, site.call), site) for k, site in module_sites.items()},
            module_refusals={name: why for name, why in self.reasons.items() if name.startswith("module:")},
        )

    def _block_lists(self) -> list[str]:
        """Paths of the lists of blocks: what the table says, or the longest list of equals that lies in no other."""
        lists = [path for path, child in self.modules.items() if isinstance(child, nn.ModuleList) and len(child)]
        if self.family:
            base = "" if self.module.base_model is self.module else f"{self.module.base_model_prefix}."
            pattern = re.escape(base + self.family.blocks).replace(r"\*", r"\d+")
            return [path for path in lists if re.fullmatch(pattern, path)]
        equal = [path for path in lists if len({type(block) for block in self.modules[path].children()}) == 1]
        outer = [path for path in equal if not path.startswith(tuple(f"{other}." for other in equal))]
        return sorted(outer, key=lambda path: -len(list(self.modules[path].children())))[:1]

    def _in_order(self, blocks: Iterable[str]) -> list[_Block]:
        """Blocks in order of execution; shared ones come once for each call."""
        ends = {path: self.seen.firings(path, "output") for path in blocks}
        calls = {fired.order: _Block(p, call, len(ends[p])) for p in blocks for call, fired in enumerate(ends[p])}
        return [calls[order] for order in sorted(calls)]

    def _named_sites(self) -> list[Site]:
        if not self.layers:
            self._refuse("no layers were found", "embeddings", "layers.*.residual")
        if not self.layers or self.family is None:
            self._refuse(_why_unknown(self.module), *(f"layers.*.{kind}" for kind in _KINDS))
        sites: list[Site] = []
        for index, block in enumerate(self.layers):
            sites += self._stream_sites(index, block)
            sites += self._family_sites(self.family, index, block) if self.family else []
        return [site for site in sites if site.name not in self.reasons]

    def _stream_sites(self, index: int, block: _Block) -> list[Site]:
        """What a block leaves, and what enters the first; each must be what the next block gets."""
        residual = self._site(f"layers.{index}.residual", block.path, "output", block)
        if index == 0:
            embeddings = self._site("embeddings", block.path, "input", block)
            return [site for site in (embeddings, residual) if site]
        before = self.layers[index - 1]
        left = self.seen.value(before.path, "output", before.call)
        if not torch.equal(left, self.seen.value(block.path, "input", block.call)):
            self._refuse(f"layer {index} gets something else", f"layers.{index - 1}.residual")
        return [residual] if residual else []

    def _family_sites(self, family: Family, index: int, block: _Block) -> list[Site]:
        """The sites within a block, after the equations that they promise were tried."""
        names = [f"layers.{index}.{kind}" for kind in _KINDS]
        paths = [f"{block.path}.{getattr(family, kind)}" for kind in _KINDS]
        found = [self._site(*place, block) for place in zip(names, paths, _ENDS.values(), strict=True)]
        sites = [site for site in found if site]
        if absent := [name for name in names if name in self.reasons]:
            self._refuse(f"it cannot be tried without {absent[0]}: {self.reasons[absent[0]]}", *names)
        elif why := self._broken(family, block, [self.seen.value(site.path, site.end, site.call) for site in sites]):
            self._refuse(why, *names)
        return sites

    def _broken(self, family: Family, block: _Block, carried: Iterable[Tensor]) -> str:
        """Which equation of a layer does not hold, and by how much."""
        module, values = self.modules[block.path], dict(zip(_KINDS, carried, strict=True))
        for source, result in (("heads", "attention"), ("neurons", "mlp")):
            norm = module.get_submodule(getattr(family, result)) if family.branch_norms else None
            projection = module.get_submodule(getattr(family, source))
            if why := broken_projection(projection, norm, values[source], values[result]):
                return f"{source} → projection = {result} does not hold: {why}"
        before, after = (self.seen.value(block.path, end, block.call) for end in _BOTH)
        norms = [module.get_submodule(path) for path in family.sum_norms]
        if why := broken_sum(before, values["attention"], values["mlp"], after, norms):
            return f"residual before + attention + mlp = residual after does not hold: {why}"
        return ""

    def _module_sites(self) -> list[Site]:
        """Every end of every module that is called once and carries one row a token."""
        head = self.module.get_output_embeddings()  # type: ignore[no-untyped-call]
        sites = []
        for path, child in self.modules.items():
            for end in _BOTH:
                if child is head:
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
            return Site(name, path, self.modules[path], end, block.call, fired.width, fired.order)
        return None

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


def _gathered(reasons: Mapping[str, str], layers: int) -> tuple[RefusedSite, ...]:
    """One entry where a site is refused in every layer, with the reason of the first."""
    gathered: dict[str, list[RefusedSite]] = {}
    for name, why in reasons.items():
        if not name.startswith("module:"):
            gathered.setdefault(re.sub(r"^layers\.\d+\.", "layers.*.", name), []).append(RefusedSite(name, why))
    return tuple(
        refused
        for general, each in gathered.items()
        for refused in ([RefusedSite(general, each[0].reason)] if len(each) == layers else each)
    )
