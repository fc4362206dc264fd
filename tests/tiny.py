"""Tiny random models of every family, with small tokenizers: built in milliseconds, the same every time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from patchclamp_service.engine.model import LoadedModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

__all__ = [
    "CACHE",
    "DECODERS",
    "ENCODERS",
    "FAMILIES",
    "MIXTURES",
    "random_module",
    "save_tiny",
    "tiny_model",
    "tiny_tokenizer",
]

CACHE = Path(__file__).parent.parent / ".cache"
"""Where tests keep what is slow to make, such as the converted SmolLM2. Ignored by git."""

CONTEXT = 256
HIDDEN, LAYERS, HEADS, INTERMEDIATE = 32, 3, 4, 48

_MODERN: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": INTERMEDIATE,
    "max_position_embeddings": CONTEXT,
}
_PLAIN: dict[str, Any] = {k: v for k, v in _MODERN.items() if k not in ("num_key_value_heads", "head_dim")}
_GPT: dict[str, Any] = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT}
_FALCON: dict[str, Any] = {**_PLAIN, "ffn_hidden_size": INTERMEDIATE, "intermediate_size": None}
_OPT: dict[str, Any] = {**_PLAIN, "ffn_dim": INTERMEDIATE, "word_embed_proj_dim": HIDDEN, "intermediate_size": None}
_SLIDING: dict[str, Any] = {"sliding_window": 8, "query_pre_attn_scalar": 12}

DECODERS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **_MODERN},
    "mistral": {"model_type": "mistral", **_MODERN, "sliding_window": 8},
    "qwen2": {"model_type": "qwen2", **_MODERN},
    "qwen3": {"model_type": "qwen3", **_MODERN},
    "gemma2": {"model_type": "gemma2", **_MODERN, **_SLIDING},
    "gemma3": {
        "model_type": "gemma3_text",
        **_MODERN,
        **_SLIDING,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "phi": {"model_type": "phi", **_PLAIN},
    "gpt2": {"model_type": "gpt2", **_GPT},
    "gpt_neox": {"model_type": "gpt_neox", **_PLAIN},
    "gpt_neox-sequential": {"model_type": "gpt_neox", **_PLAIN, "use_parallel_residual": False},
    "gptj": {"model_type": "gptj", **_GPT, "n_inner": INTERMEDIATE, "rotary_dim": 4},
    "opt": {"model_type": "opt", **_OPT},
    "opt-post_norm": {"model_type": "opt", **_OPT, "do_layer_norm_before": False},
    "bloom": {"model_type": "bloom", "hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "seq_length": CONTEXT},
    "falcon": {"model_type": "falcon", **_FALCON},
    "falcon-sequential": {"model_type": "falcon", **_FALCON, "parallel_attn": False, "multi_query": False},
    "falcon-alibi": {"model_type": "falcon", **_FALCON, "parallel_attn": False, "alibi": True},
    "falcon-new": {"model_type": "falcon", **_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-one_norm": {
        "model_type": "falcon",
        **_FALCON,
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
        "num_ln_in_parallel_attn": 1,
    },
}
"""Decoders by name: `model_type`, and after a hyphen the variant, with the arguments of their configuration."""

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **_PLAIN},
    "roberta": {"model_type": "roberta", **_PLAIN, "max_position_embeddings": CONTEXT + 1},
    "distilbert": {
        "model_type": "distilbert",
        "dim": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "hidden_dim": INTERMEDIATE,
        "max_position_embeddings": CONTEXT,
    },
    "albert": {"model_type": "albert", **_PLAIN, "embedding_size": 16},
    "albert-groups": {
        "model_type": "albert",
        **_PLAIN,
        "num_hidden_layers": 4,
        "embedding_size": 16,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
    },
    "electra": {"model_type": "electra", **_PLAIN, "embedding_size": 16},
}
"""Encoders by name, with the arguments of their configuration."""

MIXTURES: dict[str, dict[str, Any]] = {
    "mixtral": {"model_type": "mixtral", **_MODERN, "num_local_experts": 5, "num_experts_per_tok": 2},
    "qwen2_moe": {
        "model_type": "qwen2_moe",
        **_PLAIN,
        "num_key_value_heads": 2,
        "num_experts": 5,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 24,
    },
    "stablelm": {"model_type": "stablelm", **_PLAIN, "num_key_value_heads": 2},
}
"""Decoders that are not in the table of sites: mixtures of experts, and a family nobody has described."""

FAMILIES = {**DECODERS, **ENCODERS}
"""Every family (and variant) that the table of sites knows."""

_TEXT = (
    "the nurse said that she would be late because the doctor said that he was busy",
    "the engineer, the teacher and the driver went home; nobody saw them again",
    "a neuron is a site and an index, and a site is a place in a model",
    "Once upon a time there was a small model that could not count to ten",
)


def tiny_model(name: str = "llama", *, seed: int = 0, **config: Any) -> LoadedModel:
    """A random model of the named family (or variant) in float32 on the CPU; `config` overrides its configuration."""
    decoder = name not in ENCODERS
    tokenizer = tiny_tokenizer(decoder=decoder)
    return LoadedModel(
        name=name.replace("_", "-"),
        module=random_module(name, seed=seed, **config),
        tokenizer=tokenizer,
        digest="0" * 64,
        dtype=torch.float32,
        device=torch.device("cpu"),
        is_decoder=decoder,
        context_tokens=CONTEXT,
        load_seconds=0.0,
        eos_token_ids=frozenset({2} if decoder else ()),
    )


def random_module(name: str, *, seed: int = 0, **config: Any) -> PreTrainedModel:
    """The bare transformers model: weights large enough to matter, norms and biases that are not the identity."""
    decoder = name not in ENCODERS
    arguments = {**FAMILIES, **MIXTURES}[name] | config
    arguments |= {"vocab_size": len(tiny_tokenizer(decoder=decoder)), **_special_ids(decoder=decoder)}
    settings = AutoConfig.for_model(**arguments)
    auto = AutoModelForCausalLM if decoder else AutoModel
    extra = {"add_pooling_layer": False} if settings.model_type in ("bert", "roberta", "albert") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: PreTrainedModel = auto.from_config(settings, **extra)  # type: ignore[no-untyped-call]
        _perturb(module)
    module.train(False)
    module.requires_grad_(False)
    return module


def save_tiny(name: str, directory: Path, *, seed: int = 0, **config: Any) -> Path:
    """Write the model and its tokenizer as the hub keeps them: config.json, model.safetensors, tokenizer.json."""
    random_module(name, seed=seed, **config).save_pretrained(directory)
    tiny_tokenizer(decoder=name not in ENCODERS).save_pretrained(directory)
    return directory


def tiny_tokenizer(*, decoder: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE for decoders: <unk> <s> </s> <pad>, none added by itself, and a chat template.
    Lower-case WordPiece for encoders: [CLS] … [SEP]."""
    if decoder:
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=Tokenizer.from_str(_byte_level()),
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            chat_template="{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
            "{% if add_generation_prompt %}<s>assistant:{% endif %}",
        )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(_word_pieces()),
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )


def _special_ids(*, decoder: bool) -> dict[str, int]:
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3} if decoder else {"pad_token_id": 0}


def _perturb(module: PreTrainedModel) -> None:
    """Random weights as initialised are so small that a block hardly changes its input: nothing could be seen."""
    for parameter in module.parameters():
        noise = torch.randn_like(parameter)
        with torch.no_grad():
            if parameter.ndim == 1:
                parameter.add_(0.1 * noise)
            else:
                parameter.copy_(0.15 * noise)


@lru_cache
def _byte_level() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return tokenizer.to_str()


@lru_cache
def _word_pieces() -> str:
    words = {word for line in _TEXT for word in line.lower().replace(",", "").replace(";", "").split()}
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *",;.", *letters),
        *(f"##{letter}" for letter in letters),
        *("##er", "##se", "##or"),
        *sorted(word for word in words if 1 < len(word) < 6),
    ]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer.to_str()
