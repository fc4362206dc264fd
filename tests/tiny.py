"""Tiny random models of every family, with small tokenizers: built in milliseconds, the same every time."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from patchclamp_service.engine.heads import auto_class, labels_of
from patchclamp_service.engine.model import LoadedModel
from patchclamp_service.engine.pretrained import read_decoding
from patchclamp_service.engine.requests import Head, ModelKind
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

__all__ = [
    "CACHE",
    "DECODERS",
    "ENCODERS",
    "FAMILIES",
    "HEADED",
    "LABELS",
    "MIXTURES",
    "SEQ2SEQ",
    "random_module",
    "save_tiny",
    "tiny_model",
    "tiny_tokenizer",
    "tokenizer_of",
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

HEADED: dict[str, tuple[str, Head]] = {
    **{f"{name}-mlm": (name, Head.MASKED_LANGUAGE) for name in ENCODERS if name != "albert-groups"},
    **{f"{name}-seqcls": (name, Head.SEQUENCE_CLASSIFICATION) for name in ENCODERS if name != "albert-groups"},
    **{f"{name}-tokcls": (name, Head.TOKEN_CLASSIFICATION) for name in ENCODERS if name != "albert-groups"},
}
"""Encoders with a head on top, by name: the encoder and the head."""

LABELS = ("noun", "verb", "adjective")

_T5: dict[str, Any] = {
    "d_model": HIDDEN,
    "d_kv": 12,
    "d_ff": INTERMEDIATE,
    "num_layers": LAYERS,
    "num_decoder_layers": 2,
    "num_heads": HEADS,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "decoder_start_token_id": 3,
}
_BART: dict[str, Any] = {
    "d_model": HIDDEN,
    "encoder_layers": LAYERS,
    "decoder_layers": 2,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": INTERMEDIATE,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": CONTEXT,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
SEQ2SEQ: dict[str, dict[str, Any]] = {
    "t5": {"model_type": "t5", **_T5},
    "t5-gated": {"model_type": "t5", **_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "mt5": {"model_type": "mt5", **_T5},
    "bart": {"model_type": "bart", **_BART},
    "bart-forced": {"model_type": "bart", **_BART, "forced_bos_token_id": 1, "forced_eos_token_id": 2},
    "marian": {"model_type": "marian", **_BART, "decoder_start_token_id": 3, "scale_embedding": True},
    "pegasus": {"model_type": "pegasus", **_BART, "decoder_start_token_id": 3},
    "mbart": {"model_type": "mbart", **_BART},
    "blenderbot": {"model_type": "blenderbot", **_BART, "decoder_start_token_id": 1},
}
"""Encoder-decoders by name, with the arguments of their configuration."""

FAMILIES = {**DECODERS, **ENCODERS}
"""Every family (and variant) that the table of sites knows, save encoder-decoders."""

_TEXT = (
    "the nurse said that she would be late because the doctor said that he was busy",
    "the engineer, the teacher and the driver went home; nobody saw them again",
    "a neuron is a site and an index, and a site is a place in a model",
    "Once upon a time there was a small model that could not count to ten",
)


def tiny_model(name: str = "llama", *, seed: int = 0, **config: Any) -> LoadedModel:
    """A random model of the named family (or variant) in float32 on the CPU; `config` overrides its configuration."""
    module, tokenizer, kind = random_module(name, seed=seed, **config), tokenizer_of(name), _kind(name)
    head = HEADED[name][1] if name in HEADED else Head.NONE if kind is ModelKind.ENCODER else Head.LANGUAGE
    return LoadedModel(
        name=name.replace("_", "-"),
        module=module,
        tokenizer=tokenizer,
        digest="0" * 64,
        dtype=torch.float32,
        device=torch.device("cpu"),
        kind=kind,
        head=head,
        labels=labels_of(module.config, head),
        context_tokens=CONTEXT,
        load_seconds=0.0,
        decoding=read_decoding(module, tokenizer, kind, head),
    )


def _kind(name: str) -> ModelKind:
    if name in SEQ2SEQ:
        return ModelKind.ENCODER_DECODER
    return ModelKind.ENCODER if name in ENCODERS or name in HEADED else ModelKind.DECODER


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of the named model."""
    if name in SEQ2SEQ:
        return seq2seq_tokenizer("<s>" if name.split("-")[0] in ("bart", "mbart") else "")
    return tiny_tokenizer(decoder=_kind(name) is ModelKind.DECODER)


def random_module(name: str, *, seed: int = 0, **config: Any) -> PreTrainedModel:
    """The bare transformers model: weights large enough to matter, norms and biases that are not the identity."""
    body, head = HEADED.get(name, (name, Head.NONE))
    kind = _kind(name)
    arguments = {**FAMILIES, **MIXTURES, **SEQ2SEQ}[body] | config
    arguments |= {"vocab_size": len(tokenizer_of(name)), **_special_ids(decoder=kind is not ModelKind.ENCODER)}
    if head in (Head.SEQUENCE_CLASSIFICATION, Head.TOKEN_CLASSIFICATION):
        arguments = {"id2label": dict(enumerate(LABELS)), "label2id": {k: i for i, k in enumerate(LABELS)}} | arguments
    settings = AutoConfig.for_model(**arguments)
    auto = auto_class(kind, head if kind is ModelKind.ENCODER else Head.LANGUAGE)
    bare = kind is ModelKind.ENCODER and head is Head.NONE and settings.model_type in ("bert", "roberta", "albert")
    extra = {"add_pooling_layer": False} if bare else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: PreTrainedModel = auto.from_config(settings, **extra)
        _perturb(module)
    module.train(False)
    module.requires_grad_(False)
    return module


def save_tiny(name: str, directory: Path, *, seed: int = 0, **config: Any) -> Path:
    """Write the model and its tokenizer as the hub keeps them: config.json, model.safetensors, tokenizer.json."""
    random_module(name, seed=seed, **config).save_pretrained(directory)
    tokenizer_of(name).save_pretrained(directory)
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
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def seq2seq_tokenizer(before: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts </s> after a text, and may put a token before it."""
    backend = Tokenizer.from_str(_byte_level())
    around = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{before} $A </s>".strip(), pair=f"{before} $A </s> $B:1 </s>:1".strip(), special_tokens=around
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def _special_ids(*, decoder: bool) -> dict[str, int]:
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3} if decoder else {"pad_token_id": 0}


def _perturb(module: PreTrainedModel) -> None:
    """Random weights as initialised are so small that a block hardly changes its input: nothing could be seen."""
    for parameter in module.parameters():
        if not parameter.requires_grad:  # positions that are computed, not learned
            continue
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
