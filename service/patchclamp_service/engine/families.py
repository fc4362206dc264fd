"""What is known of the families of models: where in a block each site is. One table, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["FAMILIES", "Family", "families_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """Where a family keeps its sites. `blocks` is the list (or lists, with `*`) of blocks, relative to the base model;
    the rest are modules of a block. An encoder-decoder has an entry for either side."""

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
    """Norms of the residual stream after each of its additions, in post-norm architectures."""
    cross_attention: str = ""
    """The output projection of the attention to the encoder: its output is what that adds, its input the heads."""
    side: str = ""
    """"encoder" or "decoder" of an encoder-decoder."""
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

_POST_NORM_ENCODER = Family(
    "encoder.layers",
    "self_attn.out_proj",
    "self_attn.out_proj",
    "fc2",
    "fc2",
    sum_norms=("self_attn_layer_norm", "final_layer_norm"),
    side="encoder",
)
_POST_NORM_DECODER = Family(
    "decoder.layers",
    "self_attn.out_proj",
    "self_attn.out_proj",
    "fc2",
    "fc2",
    sum_norms=("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    cross_attention="encoder_attn.out_proj",
    side="decoder",
)
_BART = (_POST_NORM_ENCODER, _POST_NORM_DECODER)
_PEGASUS = (replace(_POST_NORM_ENCODER, sum_norms=()), replace(_POST_NORM_DECODER, sum_norms=()))
_T5 = (
    Family(
        "encoder.block",
        "layer.0.SelfAttention.o",
        "layer.0.SelfAttention.o",
        "layer.1.DenseReluDense.wo",
        "layer.1.DenseReluDense.wo",
        side="encoder",
    ),
    Family(
        "decoder.block",
        "layer.0.SelfAttention.o",
        "layer.0.SelfAttention.o",
        "layer.2.DenseReluDense.wo",
        "layer.2.DenseReluDense.wo",
        cross_attention="layer.1.EncDecAttention.o",
        side="decoder",
    ),
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
    "t5": _T5,
    "mt5": _T5,
    "bart": _BART,
    "marian": _BART,
    "mbart": _PEGASUS,
    "pegasus": _PEGASUS,
    "blenderbot": _PEGASUS,
}
"""By `model_type` of the configuration; of either side the first whose `where` holds."""


def families_of(config: object) -> dict[str, Family]:
    """What the table knows of an architecture: by side, of encoder-decoders, or by ""."""
    found: dict[str, Family] = {}
    for family in FAMILIES.get(getattr(config, "model_type", ""), ()):
        if family.where is None or getattr(config, family.where[0], None) == family.where[1]:
            found.setdefault(family.side, family)
    return found
