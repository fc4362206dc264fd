"""What an engine makes of a loaded model before it runs: its runner, its limits, its description."""

from __future__ import annotations

import inspect
from dataclasses import replace

from .encoder_runner import EncoderRunner
from .model import LoadedModel
from .padded_runner import PaddedRunner
from .requests import Head, Limits, ModelInfo, ModelKind
from .runners import PackedRunner, Runner
from .selfcheck import packs, tried
from .site_map import SiteMap
from .text import Text

__all__ = ["describe", "fitted_limits", "runner_of", "text_of"]


def runner_of(model: LoadedModel, sites: SiteMap) -> Runner:
    """The runner that suits the model."""
    if model.kind is ModelKind.ENCODER:
        return EncoderRunner(model.module, sites, model.device, model.head)
    if model.kind is ModelKind.ENCODER_DECODER:
        return tried(model, sites)
    if packs(model):
        return PackedRunner(model.module, sites, model.device)
    return PaddedRunner(model.module, sites, model.device)


def fitted_limits(limits: Limits, model: LoadedModel) -> Limits:
    """Limits with the context that the model and the cache allow."""
    cached = model.kind is not ModelKind.ENCODER
    most = min(model.context_tokens, limits.cache_tokens) if cached else model.context_tokens
    return replace(limits, context_tokens=min(limits.context_tokens or most, most))


def text_of(model: LoadedModel) -> Text:
    """The model's tokenizer, as the engine needs it."""
    config = model.module.config.get_text_config()
    typed = (
        "token_type_ids" in model.tokenizer.model_input_names
        and getattr(config, "type_vocab_size", 0) > 1
        and "token_type_ids" in inspect.signature(model.module.forward).parameters
    )
    return Text(model.tokenizer, config.vocab_size, model.decoding, typed=typed)


def describe(model: LoadedModel, sites: SiteMap, limits: Limits, *, packed: bool) -> ModelInfo:
    """The model as GetModel shows it."""
    config = model.module.config.get_text_config()
    fills = model.head is Head.MASKED_LANGUAGE
    return ModelInfo(
        name=model.name,
        architecture=type(model.module).__name__,
        family=model.module.config.model_type,
        kind=model.kind,
        head=model.head,
        labels=model.labels,
        mask_token=model.tokenizer.mask_token or "" if fills else "",
        digest=model.digest,
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
        layers=sites.layers,
        hidden_size=config.hidden_size,
        vocabulary_size=config.vocab_size,
        parameters=sum(parameter.numel() for parameter in model.module.parameters()),
        context_tokens=limits.context_tokens,
        sites=sites.infos(),
        refused_sites=sites.refused,
        modules=sites.modules,
        packed=packed,
        load_seconds=model.load_seconds,
    )
