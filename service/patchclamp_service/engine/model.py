"""stub"""

from __future__ import annotations
from dataclasses import dataclass
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    name: str
    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    digest: str
    dtype: torch.dtype
    device: torch.device
    is_decoder: bool
    context_tokens: int
    load_seconds: float
    eos_token_ids: frozenset[int]
