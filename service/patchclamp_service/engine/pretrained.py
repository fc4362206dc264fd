"""Reading a checked directory with transformers, and making sure that all of it was understood."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING,
)
from transformers.utils import logging

from .errors import BadModel

__all__ = [
    "context_tokens",
    "eos_token_ids",
    "is_causal",
    "quiet",
    "read_config",
    "read_module",
    "read_tokenizer",
]

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_MASKS = (".attn.bias", ".attention.bias", ".masked_bias", ".inv_freq")
"""Constants that old checkpoints keep beside the weights."""


def read_config(directory: Path) -> PreTrainedConfig:
    """The configuration; BadModel if this transformers does not know the architecture."""
    with _explained(directory, "config.json"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    config.chunk_size_feed_forward = 0  # chunks of tokens would pass a site one by one
    return config


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether the weights were saved as a causal LM (else as an encoder); BadModel if they are neither."""
    family, name = config.model_type, (config.architectures or [""])[0]
    if config.is_encoder_decoder:
        raise BadModel(f"{family} has an encoder and a decoder, which is not supported yet")
    if name.endswith("ForConditionalGeneration"):
        raise BadModel(f"{name} takes more than text, which is not supported yet")
    masked = family in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (name.endswith(_CAUSAL) or not masked):
        return True
    if not masked:
        raise BadModel(f"{family} is neither a causal language model nor a text encoder: it is not supported yet")
    return False


def read_module(directory: Path, config: PreTrainedConfig, dtype: torch.dtype, *, causal: bool) -> PreTrainedModel:
    """The module in evaluation mode, every weight read from the files, none left as it was initialised."""
    auto = AutoModelForCausalLM if causal else AutoModel
    with _explained(directory, "the weights"):
        loaded: Any = auto.from_pretrained(
            directory,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused below
            output_loading_info=True,
            **({} if causal else _without_pooler(config)),
        )
    module: PreTrainedModel = loaded[0]
    _check_report(module, loaded[1])
    _check_finite(module)
    module.train(False)
    module.requires_grad_(False)
    return module


def read_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """The tokenizer; BadModel unless it can tell which characters a token came from, which slow ones cannot."""
    with _explained(directory, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadModel(f"{type(tokenizer).__name__} is a slow tokenizer: convert it to a tokenizer.json")
    return tokenizer


def context_tokens(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> int:
    """How many tokens the model was made for."""
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "seq_length", None)
    if limit is None:
        return min(tokenizer.model_max_length, 2048)
    roberta = config.model_type in ("roberta", "xlm-roberta", "camembert")  # positions begin behind the padding's
    return int(limit) - (config.pad_token_id + 1 if roberta else 0)


def eos_token_ids(module: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Tokens that end a generation: the generation settings say, or the configuration, or the tokenizer."""
    generation = getattr(module, "generation_config", None)
    for ids in (getattr(generation, "eos_token_id", None), module.config.eos_token_id, tokenizer.eos_token_id):
        if ids is not None:
            return frozenset(ids if isinstance(ids, list) else [ids])
    return frozenset()


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports; what they would say is checked instead."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _explained(directory: Path, what: str) -> Iterator[None]:
    """transformers raises whatever it meets. Here all of it means that the files cannot be used."""
    try:
        yield
    except Exception as error:
        message = str(error).replace(f"{directory}/", "").replace(str(directory), "the directory")
        raise BadModel(f"transformers cannot read {what}: {type(error).__name__}: {message}") from error


def _without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """A pooler would need weights that many encoders do not have, and nothing here reads it."""
    model: object = MODEL_MAPPING[type(config)]
    pooled = isinstance(model, type) and "add_pooling_layer" in inspect.signature(model).parameters
    return {"add_pooling_layer": False} if pooled else {}


def _check_report(module: nn.Module, report: Mapping[str, Collection[Any]]) -> None:
    """`report` is what from_pretrained says of names and shapes in the files and in the architecture."""
    if missing := sorted(report["missing_keys"]):
        raise BadModel(f"the weights lack {_some(missing)}, which the architecture in config.json needs")
    if resized := sorted(
        f"{key} {list(found)}, not {list(wanted)}" for key, found, wanted in report["mismatched_keys"]
    ):
        raise BadModel(f"weights have other shapes than config.json says: {_some(resized)}")
    lists = [f"{path}." for path, child in module.named_modules() if isinstance(child, nn.ModuleList)]
    unused = sorted(
        key for key in report["unexpected_keys"] if any(path in key for path in lists) and not key.endswith(_MASKS)
    )
    if unused:
        raise BadModel(f"the architecture in config.json has no place for the weights {_some(unused)}")


def _check_finite(module: nn.Module) -> None:
    """A sum is ten times faster than looking at each value, and not finite if one of them is not."""
    for name, parameter in module.named_parameters():
        total = parameter.detach().sum(dtype=torch.float32)
        if not total.isfinite() and not parameter.isfinite().all():
            raise BadModel(f"the weights hold values that are not finite, in {name}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
