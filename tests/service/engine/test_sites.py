"""Sites of every family, held against what transformers itself says and against edits of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from patchclamp_service.engine.errors import InvalidRequest
from patchclamp_service.engine.model import LoadedModel
from patchclamp_service.engine.sites import FAMILIES as TABLE
from patchclamp_service.engine.sites import Site, build_site_map
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tests.tiny import FAMILIES, MIXTURES, SEQ2SEQ, random_module, tiny_model

KINDS = ("attention", "heads", "mlp", "neurons", "residual")
POST_NORM = ("opt-post_norm", "bert", "roberta", "distilbert", "albert", "albert-groups", "electra")
ADDITIVE = [name for name in FAMILIES if name not in POST_NORM]
IDS = torch.arange(20, 31).view(1, -1)

everyone = pytest.mark.parametrize("name", FAMILIES)


@contextmanager
def visiting(site: Site, visit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The plainest hook there is: what the site carries goes through `visit`."""
    calls = iter(range(1000))

    def on_input(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any] | None:
        if next(calls) != site.call:
            return None
        return ((visit(arguments[0]), *arguments[1:]), options)

    def on_output(_: nn.Module, __: object, output: Any) -> Any:
        if next(calls) != site.call:
            return None
        return (visit(output[0]), *output[1:]) if isinstance(output, tuple) else visit(output)

    if site.end == "input":
        handle = site.module.register_forward_pre_hook(on_input, with_kwargs=True)
    else:
        handle = site.module.register_forward_hook(on_output)
    try:
        yield
    finally:
        handle.remove()


def run(module: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = module(input_ids=IDS)[0]
    return result


def carried(model: LoadedModel, *sites: Site) -> dict[str, Tensor]:
    """What the sites carry, [tokens, width]."""
    seen: dict[str, Tensor] = {}

    def reading(site: Site) -> Callable[[Tensor], Tensor]:
        def read(values: Tensor) -> Tensor:
            seen[site.name] = values.reshape(-1, site.width).clone()
            return values

        return read

    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(visiting(site, reading(site)))
        run(model.module)
    return seen


def hooks_on(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) + len(child._forward_pre_hooks) for child in module.modules())


@everyone
def test_every_family_offers_every_site(name: str) -> None:
    model = tiny_model(name)
    sites = build_site_map(model)
    expected = {"embeddings", *(f"layers.{i}.{kind}" for i in range(sites.layers) for kind in KINDS)}
    assert sites.refused == ()
    assert set(sites.sites) == expected
    assert sites.layers == {"albert-groups": 8}.get(name, 3)
    assert sites.sites["layers.1.neurons"].width == {"gpt2": 128, "bloom": 128}.get(name, 48)
    assert sites.sites["layers.1.residual"].width == 32
    assert hooks_on(model.module) == 0


@everyone
def test_orders_grow_along_the_pass(name: str) -> None:
    sites = build_site_map(tiny_model(name)).sites
    orders = [site.order for site in sites.values()]
    assert next(iter(sites)) == "embeddings"
    assert orders == sorted(set(orders))
    for layer in ("layers.0", "layers.2"):
        before = [sites[f"{layer}.{kind}"].order for kind in ("heads", "attention", "residual")]
        assert before == sorted(before)
        assert sites[f"{layer}.neurons"].order < sites[f"{layer}.mlp"].order < sites[f"{layer}.residual"].order


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "albert-groups"])
def test_the_stream_is_what_transformers_calls_hidden_states(name: str) -> None:
    model = tiny_model(name)
    sites = build_site_map(model)
    stream = [sites.find("embeddings", ""), *sites.expand("layers.*.residual", "")]
    seen = carried(model, *stream)
    with torch.no_grad():
        states = random_module(name)(input_ids=IDS, output_hidden_states=True).hidden_states
    for site, state in zip(stream[:-1], states, strict=False):  # the last comes normalised from some families
        torch.testing.assert_close(seen[site.name], state[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ADDITIVE)
def test_attention_and_mlp_are_what_a_block_adds(name: str) -> None:
    model = tiny_model(name)
    sites = build_site_map(model).sites
    seen = carried(model, *sites.values())
    total = seen["layers.0.residual"] + seen["layers.1.attention"] + seen["layers.1.mlp"]
    torch.testing.assert_close(seen["layers.1.residual"], total, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ADDITIVE)
def test_a_block_without_attention_and_mlp_passes_its_input_on(name: str) -> None:
    model = tiny_model(name)
    sites = build_site_map(model).sites
    before, after = sites["layers.0.residual"], sites["layers.1.residual"]
    with (
        visiting(sites["layers.1.attention"], torch.zeros_like),
        visiting(sites["layers.1.mlp"], torch.zeros_like),
    ):
        seen = carried(model, before, after)
    torch.testing.assert_close(seen[after.name], seen[before.name], rtol=0, atol=0)


def test_bert_adds_before_it_normalises() -> None:
    model = tiny_model("bert")
    seen = carried(model, *build_site_map(model).sites.values())
    block: Any = model.module.get_submodule("encoder.layer.1")
    with torch.no_grad():
        middle = block.attention.output.LayerNorm(seen["layers.0.residual"] + seen["layers.1.attention"])
        expected = block.output.LayerNorm(middle + seen["layers.1.mlp"])
        heads = seen["layers.1.heads"] @ block.attention.output.dense.weight.T + block.attention.output.dense.bias
    torch.testing.assert_close(seen["layers.1.residual"], expected)
    torch.testing.assert_close(seen["layers.1.attention"], heads)


def test_neurons_of_llama_are_gate_times_up() -> None:
    model = tiny_model("llama")
    sites = build_site_map(model)
    entering = sites.find("module:model.layers.1.mlp.input", "")
    seen = carried(model, entering, sites.find("layers.1.neurons", ""))
    mlp = model.module.model.layers[1].mlp
    with torch.no_grad():
        expected = torch.nn.functional.silu(mlp.gate_proj(seen[entering.name])) * mlp.up_proj(seen[entering.name])
    torch.testing.assert_close(seen["layers.1.neurons"], expected)


@pytest.mark.parametrize("kind", ["neurons", "heads"])
@everyone
def test_zeroing_a_neuron_is_zeroing_its_column(name: str, kind: str) -> None:
    model = tiny_model(name)
    chosen = [2, 17]

    def ablate(values: Tensor) -> Tensor:
        values = values.clone()
        values[..., chosen] = 0
        return values

    sites = build_site_map(model).expand(f"layers.*.{kind}", "")
    untouched = run(model.module)
    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(visiting(site, ablate))
        ablated = run(model.module)
    for site in sites:
        weight: Tensor = site.module.weight  # type: ignore[assignment]
        if isinstance(site.module, Conv1D):
            weight[chosen] = 0
        else:
            weight[:, chosen] = 0
    torch.testing.assert_close(ablated, run(model.module), rtol=0, atol=1e-5)
    assert (ablated - untouched).abs().max() > 1e-3


def test_shared_layers_are_addressed_by_the_order_of_execution() -> None:
    sites = build_site_map(tiny_model("albert"))
    shared = sites.expand("layers.*.neurons", "")
    assert [site.call for site in shared] == [0, 1, 2]
    assert len({site.path for site in shared}) == 1
    assert [info.module for info in sites.infos() if info.name.endswith("1.mlp")] == [
        "encoder.albert_layer_groups.0.albert_layers.0.ffn_output.output call 1"
    ]


def test_groups_of_shared_layers_follow_each_other() -> None:
    sites = build_site_map(tiny_model("albert-groups"))
    places = [
        (site.path.removeprefix("encoder.albert_layer_groups."), site.call)
        for site in sites.expand("layers.*.residual", "")
    ]
    blocks = ["0.albert_layers.0", "0.albert_layers.1"] * 2 + ["1.albert_layers.0", "1.albert_layers.1"] * 2
    assert places == list(zip(blocks, [0, 0, 1, 1] * 2, strict=True))


def test_a_module_called_more_than_once_has_no_name_of_its_own() -> None:
    sites = build_site_map(tiny_model("albert"))
    with pytest.raises(InvalidRequest, match="calls it 3 times"):
        sites.find("module:encoder.albert_layer_groups.0.albert_layers.0.ffn.output", "sites[0]")


@pytest.mark.parametrize(
    ("name", "reason"), [("mixtral", "experts"), ("qwen2_moe", "experts"), ("stablelm", "not described")]
)
def test_what_is_not_in_the_table_keeps_the_stream_and_its_modules(name: str, reason: str) -> None:
    model = tiny_model(name)
    sites = build_site_map(model)
    assert set(sites.sites) == {"embeddings", *(f"layers.{i}.residual" for i in range(3))}
    assert {refused.name for refused in sites.refused} == {f"layers.*.{kind}" for kind in KINDS[:4]}
    assert all(reason in refused.reason for refused in sites.refused)
    assert sites.find("module:model.layers.1.self_attn.o_proj.output", "").width == 32
    with pytest.raises(InvalidRequest, match=reason) as caught:
        sites.find("layers.2.neurons", "interventions[0].neurons.site")
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_SITE", "interventions[0].neurons.site")


def test_every_family_of_the_table_has_a_tiny_model() -> None:
    assert set(TABLE) == {config["model_type"] for config in (*FAMILIES.values(), *SEQ2SEQ.values())}
    assert not set(TABLE) & {config["model_type"] for config in MIXTURES.values()}


class Doubled(nn.Module):
    """A feed-forward network that is not what the table believes: it adds twice its down projection."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.down_proj, self.inner = mlp.down_proj, mlp

    def forward(self, values: Tensor) -> Tensor:
        return 2 * self.inner(values)  # type: ignore[no-any-return]


def test_a_site_that_breaks_its_promise_is_not_offered() -> None:
    model = tiny_model("llama")
    block = model.module.model.layers[1]
    block.mlp = Doubled(block.mlp)
    sites = build_site_map(model)
    assert "layers.0.mlp" in sites.sites
    assert "layers.1.residual" in sites.sites
    assert not {f"layers.1.{kind}" for kind in KINDS[:4]} & set(sites.sites)
    with pytest.raises(InvalidRequest, match=r"neurons → projection = mlp does not hold: off by 1\.0e\+00"):
        sites.expand("layers.*.mlp", "sites[0]")


def test_a_stream_that_is_not_a_sum_is_found_out() -> None:
    sites = build_site_map(tiny_model("bloom", apply_residual_connection_post_layernorm=True))
    assert {refused.name for refused in sites.refused} == {f"layers.*.{kind}" for kind in KINDS[:4]}
    assert "residual before + attention + mlp" in sites.refused[0].reason


def test_rounding_of_bfloat16_is_no_broken_promise() -> None:
    model = tiny_model("gemma2")
    model.module.to(torch.bfloat16)  # type: ignore[arg-type]
    assert build_site_map(model).refused == ()


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("layers.1.neuron", "the nearest is 'layers.1.neurons'"),
        ("layers.3.mlp", "the layers of this model are 0 to 2"),
        ("module:model.layers.1.mlp.down.output", "nearest is 'module:model.layers.1.mlp.down_proj.output'"),
        ("module:lm_head.output", "only the tokens whose successor is wanted"),
        ("module:lm_head.input", "only the tokens whose successor is wanted"),
        ("module:model.embed_tokens.input", "whole numbers"),
        ("module:model.layers.output", "no forward pass calls it"),
        ("module:model.output", "no tensor"),
        ("module:model.rotary_emb.output", "not one row for each token"),
        ("", "the nearest is"),
        ("x" * 10_000, "xxx…"),
    ],
)
def test_what_is_no_site_is_refused_with_a_hint(site: str, message: str) -> None:
    sites = build_site_map(tiny_model("llama"))
    with pytest.raises(InvalidRequest) as caught:
        sites.find(site, "sites[2]")
    assert message in caught.value.message
    assert len(caught.value.message) < 400
    assert (caught.value.reason, caught.value.field) == ("UNKNOWN_SITE", "sites[2]")


def test_a_star_stands_for_every_layer_and_nothing_else() -> None:
    sites = build_site_map(tiny_model("llama"))
    assert [site.name for site in sites.expand("layers.*.mlp", "")] == [f"layers.{i}.mlp" for i in range(3)]
    assert [site.name for site in sites.expand("embeddings", "")] == ["embeddings"]
    for pattern in ("*", "layers.*", "layers.*.nothing", "layers.1.*", "module:model.layers.*.output"):
        with pytest.raises(InvalidRequest):
            sites.expand(pattern, "sites[0]")


def test_a_module_end_that_has_a_name_is_the_named_site() -> None:
    sites = build_site_map(tiny_model("llama"))
    assert sites.find("module:model.layers.1.output", "") is sites.find("layers.1.residual", "")
    assert sites.find("module:model.layers.0.input", "") is sites.find("embeddings", "")


def test_the_module_map_has_the_widths() -> None:
    modules = {info.path: info for info in build_site_map(tiny_model("llama")).modules}
    down, head = modules["model.layers.0.mlp.down_proj"], modules["lm_head"]
    assert (down.type, down.input_width, down.output_width) == ("Linear", 48, 32)
    assert (head.input_width, head.output_width) == (0, 0)


def test_no_hook_stays_when_the_forward_pass_fails() -> None:
    model = tiny_model("llama")
    model.module.model.layers[2].mlp.down_proj.weight.data = torch.zeros(3, 3)
    with pytest.raises(RuntimeError):
        build_site_map(model)
    assert hooks_on(model.module) == 0
