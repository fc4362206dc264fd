"""Models as the server describes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from patchclamp.v1 import models_pb2

__all__ = ["Limits", "Model", "ModelKind", "Module", "RefusedSite", "Site"]


class ModelKind(StrEnum):
    """What a model can be asked to do."""

    DECODER = "decoder"
    """Causal language model: generate, score, extract."""
    ENCODER = "encoder"
    """Bidirectional encoder: extract."""
    UNKNOWN = "unknown"
    """A kind that this version of the package has no name for."""


KINDS = {
    models_pb2.MODEL_KIND_DECODER: ModelKind.DECODER,
    models_pb2.MODEL_KIND_ENCODER: ModelKind.ENCODER,
}


@dataclass(frozen=True, slots=True)
class Site:
    """A place where activations can be read and edited.

    Attributes:
        name: "layers.10.neurons".
        width: Number of neurons.
        module: The module that carries it, and which end: "model.layers.10.mlp.down_proj.input".
    """

    name: str
    width: int
    module: str


@dataclass(frozen=True, slots=True)
class RefusedSite:
    """A site of the naming scheme that the model does not offer, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Module:
    """A module that the sites "module:{path}.input" and ".output" can name; a width of 0 is not known."""

    path: str
    type: str
    input_width: int
    output_width: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for.

    Attributes:
        context_tokens: Prompt and new tokens together.
        interventions: Interventions of a request.
        edited_neurons: Neurons that the interventions of a request edit, added up.
        score_items: Pairs of a `score`.
        sentences: Sentences of an `extract`.
        stop_strings: Stop strings of a `generate`.
        top_logprobs: Value of `top_logprobs`.
        message_bytes: Bytes of a message.
        capture_bytes: Captured values of a request, in bytes of the requested dtype.
        request_tokens: Tokens of all sentences or pairs of a request.
    """

    context_tokens: int
    interventions: int
    edited_neurons: int
    score_items: int
    sentences: int
    stop_strings: int
    top_logprobs: int
    message_bytes: int
    capture_bytes: int
    request_tokens: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server hosts.

    Attributes:
        name: "models/smollm2-135m".
        architecture: Its class in transformers: "LlamaForCausalLM".
        family: Family as transformers names it: "llama".
        kind: What it can be asked to do.
        digest: SHA-256 over its weights and configuration.
        dtype: Element type of the weights: "float32".
        device: What runs it: "cpu" or "cuda".
        layer_count: Number of blocks.
        hidden_size: Width of the residual stream.
        vocabulary_size: Tokens in the vocabulary.
        parameter_count: Number of weights.
        packed: Whether requests run packed in one forward pass, or through the padded fallback.
        limits: What one request may ask for.
        sites: Where activations can be read and edited, by order of the forward pass; empty in a list of models.
        refused_sites: Sites it does not offer; empty in a list of models.
        modules: Its modules; empty in a list of models.
    """

    name: str
    architecture: str
    family: str
    kind: ModelKind
    digest: str
    dtype: str
    device: str
    layer_count: int
    hidden_size: int
    vocabulary_size: int
    parameter_count: int
    packed: bool
    limits: Limits
    sites: tuple[Site, ...]
    refused_sites: tuple[RefusedSite, ...]
    modules: tuple[Module, ...]

    @classmethod
    def from_proto(cls, message: models_pb2.Model) -> Model:
        """From the wire's form."""
        return cls(
            name=message.name,
            architecture=message.architecture,
            family=message.family,
            kind=KINDS.get(message.kind, ModelKind.UNKNOWN),
            digest=message.digest,
            dtype=message.dtype,
            device=message.device,
            layer_count=message.layer_count,
            hidden_size=message.hidden_size,
            vocabulary_size=message.vocabulary_size,
            parameter_count=message.parameter_count,
            packed=message.packed,
            limits=_limits(message.limits),
            sites=tuple(Site(site.name, site.width, site.module) for site in message.sites),
            refused_sites=tuple(RefusedSite(site.name, site.reason) for site in message.refused_sites),
            modules=tuple(
                Module(module.path, module.type, module.input_width, module.output_width) for module in message.modules
            ),
        )


def _limits(message: models_pb2.Limits) -> Limits:
    return Limits(**{name: getattr(message, name) for name in Limits.__dataclass_fields__})
