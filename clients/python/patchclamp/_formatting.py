"""Prints interventions in the notation that `_parsing` reads; see there for the grammar."""

from __future__ import annotations

import json

import numpy as np

from patchclamp._neurons import Neurons
from patchclamp._tensors import to_array
from patchclamp.v1 import intervention_pb2

__all__ = ["format_message"]


def format_message(message: intervention_pb2.Intervention) -> str:
    """The canonical notation of an intervention; numbers are the shortest that mean the same float32."""
    words = [message.WhichOneof("edit") or "nothing", str(Neurons.from_proto(message.neurons)), *_arguments(message)]
    if message.HasField("positions"):
        words += _positions(message.positions)
    if message.HasField("condition"):
        words += _condition(message.condition)
    return " ".join(words)


def _arguments(message: intervention_pb2.Intervention) -> list[str]:
    match message.WhichOneof("edit"):
        case "set":
            return [_number(value) for value in message.set.values]
        case "scale":
            return [_number(message.scale.factor)]
        case "add":
            return [_number(value) for value in message.add.values]
        case "clip":
            clip = message.clip
            lower = clip.min if clip.HasField("min") else -np.inf
            return [_number(lower), _number(clip.max if clip.HasField("max") else np.inf)]
        case "set_to_mean":
            mean = message.set_to_mean
            return [_quoted(mean.activation_set), _quoted(mean.label), _number(mean.weight or 1)]
        case "patch":
            return [_quoted(message.patch.source_text), str(message.patch.source_position)]
        case "project_out":
            return [_number(float(value)) for value in to_array(message.project_out.direction).ravel()]
    return []


def _positions(positions: intervention_pb2.Positions) -> list[str]:
    words = []
    if positions.prompt:
        words.append("@prompt")
    if positions.generated:
        words.append("@generated")
    if positions.indices:
        words.append(f"@indices{json.dumps(list(positions.indices), separators=(',', ':'))}")
    if positions.tokens:
        words.append(f"@tokens{_quoted(list(positions.tokens))}")
    if positions.exclude_special_tokens:
        words.append("@no-special")
    return words or ["@all"]


def _condition(condition: intervention_pb2.Condition) -> list[str]:
    words = ["when", str(Neurons.from_proto(condition.neurons))]
    if condition.HasField("above"):
        words += [">", _number(condition.above)]
    if condition.HasField("below"):
        words += ["<", _number(condition.below)]
    return words


def _number(value: float) -> str:
    return str(np.float32(value)).removesuffix(".0")


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
