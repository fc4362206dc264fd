"""What kind of model a configuration describes, what sits on top of it, and which class of transformers loads it."""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from .errors import BadModel
from .families import FAMILIES
from .requests import Head, ModelKind

__all__ = ["auto_class", "head_of", "kind_of", "labels_of"]

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_SEQ2SEQ = ("ForConditionalGeneration", "WithLMHeadModel", "MTModel")
_CLASSIFICATION = ("ForSequenceClassification", "ForTokenClassification")
_ENCODER_HEADS = {
    "ForMaskedLM": (Head.MASKED_LANGUAGE, MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    "ForPreTraining": (Head.MASKED_LANGUAGE, MODEL_FOR_MASKED_LM_MAPPING_NAMES),
    "ForSequenceClassification": (Head.SEQUENCE_CLASSIFICATION, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
    "ForTokenClassification": (Head.TOKEN_CLASSIFICATION, MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
}
_AUTO = {
    Head.MASKED_LANGUAGE: AutoModelForMaskedLM,
    Head.SEQUENCE_CLASSIFICATION: AutoModelForSequenceClassification,
    Head.TOKEN_CLASSIFICATION: AutoModelForTokenClassification,
}


def kind_of(config: PreTrainedConfig) -> ModelKind:
    """How the model reads, from its family and the class its weights were saved from; BadModel if it is not one of
    ours."""
    family, name = config.model_type, _architecture(config)
    if config.is_encoder_decoder:
        return _encoder_decoder(family)
    if name.endswith("ForConditionalGeneration"):
        raise BadModel(f"{name} takes more than text, which is not supported yet")
    masked = family in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and (name.endswith(_CAUSAL) or not masked):
        if name.endswith(_CLASSIFICATION):
            raise BadModel(f"{name} classifies what it has read forwards, which is not supported yet: encoders are")
        return ModelKind.DECODER
    if not masked:
        raise BadModel(f"{family} is neither a causal language model nor a text encoder: it is not supported yet")
    return ModelKind.ENCODER


def _encoder_decoder(family: str) -> ModelKind:
    known = [name for name, sides in FAMILIES.items() if sides[0].side]
    if family not in known:
        raise BadModel(f"{family} has an encoder and a decoder; of such models only {', '.join(known)} are supported")
    return ModelKind.ENCODER_DECODER


def head_of(config: PreTrainedConfig, kind: ModelKind) -> Head:
    """The head that the weights were saved with; none where there is none, or none that is of use here."""
    family, name = config.model_type, _architecture(config)
    if kind is ModelKind.DECODER:
        return Head.LANGUAGE
    if kind is ModelKind.ENCODER_DECODER:
        return Head.LANGUAGE if name.endswith(_SEQ2SEQ) or not name else Head.NONE
    for ending, (head, families) in _ENCODER_HEADS.items():
        if name.endswith(ending) and family in families:
            return head
    return Head.NONE


def auto_class(kind: ModelKind, head: Head) -> Any:  # noqa: ANN401 - transformers' auto classes share no base
    """What loads a model of this kind with this head."""
    if head is Head.LANGUAGE:
        return AutoModelForCausalLM if kind is ModelKind.DECODER else AutoModelForSeq2SeqLM
    return _AUTO.get(head, AutoModel)


def labels_of(config: PreTrainedConfig, head: Head) -> tuple[str, ...]:
    """Labels of a classification head, by index."""
    if head not in (Head.SEQUENCE_CLASSIFICATION, Head.TOKEN_CLASSIFICATION):
        return ()
    names: dict[Any, str] = dict(config.id2label or {})
    return tuple(str(names.get(index, f"LABEL_{index}")) for index in range(config.num_labels or 0))


def _architecture(config: PreTrainedConfig) -> str:
    return str((config.architectures or [""])[0])
