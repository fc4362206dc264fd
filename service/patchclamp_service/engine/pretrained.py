"""Reading a checked directory with transformers, and making sure that all of it was understood."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.utils import logging as transformers_logging

from .decoding import Decoding
from .errors import BadModel
from .heads import auto_class, head_of
from .requests import Head, ModelKind

__all__ = [
    "context_tokens",
    "quiet",
    "read_config",
    "read_decoding",
    "read_module",
    "read_tokenizer",
]

_log = logging.getLogger(__name__)

_MASKS = (".attn.bias", ".attention.bias", ".masked_bias", ".inv_freq")
"""Constants that old checkpoints keep beside the weights."""


def read_config(directory: Path) -> PreTrainedConfig:
    """The configuration; BadModel if this transformers does not know the architecture."""
    with _explained(directory, "config.json"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    config.chunk_size_feed_forward = 0  # chunks of tokens would pass a site one by one
    return config


def read_module(
    directory: Path, config: PreTrainedConfig, dtype: torch.dtype, kind: ModelKind
) -> tuple[PreTrainedModel, Head]:
    """The module in evaluation mode, every weight read from the files, none left as it was initialised. A head whose
    own weights are not there is left out: it would predict at random."""
    head = head_of(config, kind)
    module, report = _read(directory, config, dtype, kind, head)
    if head not in (Head.NONE, Head.LANGUAGE) and (lacking := _head_weights(module, report["missing_keys"])):
        _log.warning("the weights lack the head that config.json names (%s): it is left out", _some(lacking))
        head = Head.NONE
        module, report = _read(directory, config, dtype, kind, head)
    _check_report(module, report)
    _check_finite(module)
    module.train(False)
    module.requires_grad_(False)
    return module, head


def _read(
    directory: Path, config: PreTrainedConfig, dtype: torch.dtype, kind: ModelKind, head: Head
) -> tuple[PreTrainedModel, Mapping[str, Collection[Any]]]:
    """The module, and what transformers says of the names and shapes in the files and in the architecture."""
    with _explained(directory, "the weights"):
        loaded: tuple[PreTrainedModel, Mapping[str, Collection[Any]]] = auto_class(kind, head).from_pretrained(
            directory,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused
            output_loading_info=True,
            **(_without_pooler(config) if head is Head.NONE else {}),
        )
    return loaded


def _head_weights(module: PreTrainedModel, missing: Collection[str]) -> list[str]:
    """Those of the missing weights that are not of the base model."""
    return sorted(name for name in missing if not name.startswith(f"{module.base_model_prefix}."))


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


def read_decoding(module: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, kind: ModelKind, head: Head) -> Decoding:
    """Tokens with a role in generation: the generation settings say, or the configuration, or the tokenizer."""
    if kind is ModelKind.ENCODER:
        return Decoding()
    settings = getattr(module, "generation_config", None)
    stop = _first(_role(settings, module, "eos_token_id"), tokenizer.eos_token_id)
    if kind is ModelKind.DECODER:
        return Decoding(frozenset(_all(stop)))
    start = _first(_role(settings, module, "decoder_start_token_id"), _role(settings, module, "bos_token_id"))
    if start is None:
        raise BadModel("neither config.json nor generation_config.json says which token starts the decoder")
    return Decoding(
        stop=frozenset(_all(stop)),
        start=_all(start)[0],
        first=next(iter(_all(getattr(settings, "forced_bos_token_id", None))), None),
        last=min(_all(getattr(settings, "forced_eos_token_id", None)), default=None),
        banned=_banned(settings, _all(stop)),
    )


def _role(settings: object, module: PreTrainedModel, name: str) -> int | list[int] | None:
    own: int | list[int] | None = getattr(settings, name, None)
    return own if own is not None else getattr(module.config, name, None)


def _first(*found: int | list[int] | None) -> int | list[int] | None:
    return next((ids for ids in found if ids is not None), None)


def _all(ids: int | list[int] | None) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]


def _banned(settings: object, stop: Sequence[int]) -> tuple[int, ...]:
    """Single tokens that are never written, such as the padding of Marian models."""
    words = getattr(settings, "bad_words_ids", None) or []
    single = {word[0] for word in words if len(word) == 1} - set(stop)
    return tuple(sorted(single | set(getattr(settings, "suppress_tokens", None) or [])))


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports; what they would say is checked instead."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(CRITICAL)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


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
