"""Models as the server describes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from patchclamp.v1 import models_pb2

__all__ = ["Limits", "Model", "ModelHead", "ModelKind", "Module", "RefusedSite", "Site"]


class ModelKind(StrEnum):
    """How a model is built: `extract`, and what its head can do."""

    DECODER = "decoder"
    """Causal decoder."""
    ENCODER = "encoder"
    """Bidirectional encoder."""
    ENCODER_DECODER = "encoder_decoder"
    """An encoder that reads and a decoder that writes."""
    UNKNOWN = "unknown"
    """A kind that this version of the package has no name for."""


class ModelHead(StrEnum):
    """What sits on top of a model, and so what it can do beside `extract`."""

    NONE = "none"
    """Nothing."""
    LANGUAGE = "language"
    """Predicts the next token: generate, score."""
    MASKED_LANGUAGE = "masked_language"
    """Predicts masked tokens: fill_mask."""
    SEQUENCE_CLASSIFICATION = "sequence_classification"
    """Classifies texts: classify."""
    TOKEN_CLASSIFICATION = "token_classification"  # noqa: S105
    """Classifies words: classify."""
    UNKNOWN = "unknown"
    """A head that this version of the package has no name for."""


KINDS = {
    models_pb2.MODEL_KIND_DECODER: ModelKind.DECODER,
    models_pb2.MODEL_KIND_ENCODER: ModelKind.ENCODER,
    models_pb2.MODEL_KIND_ENCODER_DECODER: ModelKind.ENCODER_DECODER,
}
HEADS = {
    models_pb2.MODEL_HEAD_UNSPECIFIED: ModelHead.NONE,
    models_pb2.MODEL_HEAD_LANGUAGE: ModelHead.LANGUAGE,
    models_pb2.MODEL_HEAD_MASKED_LANGUAGE: ModelHead.MASKED_LANGUAGE,
    models_pb2.MODEL_HEAD_SEQUENCE_CLASSIFICATION: ModelHead.SEQUENCE_CLASSIFICATION,
    models_pb2.MODEL_HEAD_TOKEN_CLASSIFICATION: ModelHead.TOKEN_CLASSIFICATION,
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
        kind: How it is built.
        head: What sits on top of it.
        digest: SHA-256 over its weights and configuration.
        dtype: Element type of the weights: "float32".
        device: What runs it: "cpu" or "cuda".
        layer_count: Number of blocks.
        hidden_size: Width of the residual stream.
        vocabulary_size: Tokens in the vocabulary.
        parameter_count: Number of weights.
        packed: Whether requests run packed in one forward pass, or through the padded fallback.
        labels: Labels of a classification head, by index; none for others.
        mask_token: The token that `fill_mask` fills ("[MASK]"); empty: there is none.
        limits: What one request may ask for.
        sites: Where activations can be read and edited, by order of the forward pass; empty in a list of models.
        refused_sites: Sites it does not offer; empty in a list of models.
        modules: Its modules; empty in a list of models.
    """

    name: str
    architecture: str
    family: str
    kind: ModelKind
    head: ModelHead
    digest: str
    dtype: str
    device: str
    layer_count: int
    hidden_size: int
    vocabulary_size: int
    parameter_count: int
    packed: bool
    labels: tuple[str, ...]
    mask_token: str
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
            head=HEADS.get(message.head, ModelHead.UNKNOWN),
            digest=message.digest,
            dtype=message.dtype,
            device=message.device,
            layer_count=message.layer_count,
            hidden_size=message.hidden_size,
            vocabulary_size=message.vocabulary_size,
            parameter_count=message.parameter_count,
            packed=message.packed,
            labels=tuple(message.labels),
            mask_token=message.mask_token,
            limits=_limits(message.limits),
            sites=tuple(Site(site.name, site.width, site.module) for site in message.sites),
            refused_sites=tuple(RefusedSite(site.name, site.reason) for site in message.refused_sites),
            modules=tuple(
                Module(module.path, module.type, module.input_width, module.output_width) for module in message.modules
            ),
        )


def _limits(message: models_pb2.Limits) -> Limits:
    return Limits(**{name: getattr(message, name) for name in Limits.__dataclass_fields__})
