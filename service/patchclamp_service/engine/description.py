"""A model as callers see it, what they may ask of it, and what the engine tells about itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "Head",
    "Limits",
    "Load",
    "ModelInfo",
    "ModelKind",
    "ModuleInfo",
    "Observer",
    "RefusedSite",
    "SiteInfo",
    "StepReport",
]


class ModelKind(enum.Enum):
    """How a model reads: forwards only, both ways, or with an encoder for the prompt and a decoder for what follows."""

    DECODER = "decoder"
    ENCODER = "encoder"
    ENCODER_DECODER = "encoder_decoder"


class Head(enum.Enum):
    """What sits on top of a model, and so what it can do beside extraction."""

    NONE = "none"
    LANGUAGE = "language"
    MASKED_LANGUAGE = "masked_language"
    SEQUENCE_CLASSIFICATION = "sequence_classification"
    TOKEN_CLASSIFICATION = "token_classification"  # noqa: S105


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """A site the model offers: name, width, and the module end that carries it."""

    name: str
    width: int
    module: str


@dataclass(frozen=True, slots=True)
class RefusedSite:
    """A site the model does not offer, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module that "module:{path}.input" or ".output" can name; width 0: not known or without a token axis."""

    path: str
    type: str
    input_width: int
    output_width: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for, and what the engine holds at most. Exceeding a limit is refused by name."""

    context_tokens: int = 0
    """Prompt and new tokens together, of an encoder-decoder each for itself; 0: as many as the model was made for."""
    interventions: int = 1024
    edited_neurons: int = 1_000_000
    score_items: int = 4096
    sentences: int = 16384
    stop_strings: int = 16
    top_logprobs: int = 20
    capture_bytes: int = 1 << 30
    request_tokens: int = 250_000
    message_bytes: int = 64 << 20
    running: int = 16
    """Generations decoding side by side."""
    queued_tokens: int = 1_000_000
    """Tokens of all admitted requests that have not finished; more is refused at once."""
    batch_tokens: int = 512
    """Tokens of one forward pass when nobody is decoding."""
    prefill_tokens: int = 128
    """Prompt tokens that join a forward pass in which others decode: what they wait for it."""
    cache_tokens: int = 65_536
    """Token slots of the key-value cache; what a generation may need of it is reserved when it starts."""
    buffered_bytes: int = 64 << 20
    """Activations an extraction may be ahead of a slow reader; beyond it, the extraction waits."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model as GetModel shows it."""

    name: str
    architecture: str
    family: str
    kind: ModelKind
    head: Head
    labels: tuple[str, ...]
    """Labels of a classification head, by index."""
    mask_token: str
    """What FillMask fills; empty: the model has none."""
    digest: str
    dtype: str
    device: str
    layers: int
    hidden_size: int
    vocabulary_size: int
    parameters: int
    context_tokens: int
    sites: tuple[SiteInfo, ...]
    refused_sites: tuple[RefusedSite, ...]
    modules: tuple[ModuleInfo, ...]
    packed: bool
    load_seconds: float

    @property
    def is_decoder(self) -> bool:
        """Whether it reads forwards only."""
        return self.kind is ModelKind.DECODER


@dataclass(frozen=True, slots=True)
class StepReport:
    """One pass: seconds it took, rows that decoded, prompt tokens that joined, tokens generated, positions edited."""

    seconds: float
    decode_rows: int
    prefill_tokens: int
    new_tokens: int
    positions_edited: int


@dataclass(frozen=True, slots=True)
class Load:
    """What the engine holds at this moment."""

    waiting_requests: int
    running_requests: int
    queued_tokens: int
    active_interventions: int


class Observer:
    """Told what happens in the engine, on the engine's thread. The base class ignores it all."""

    def on_step(self, report: StepReport) -> None:
        """A forward pass ended."""

    def on_start(self, waited: float) -> None:
        """A request got its first forward pass after `waited` seconds in the queue."""
