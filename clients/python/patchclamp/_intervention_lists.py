"""Several interventions: in nested lists, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from google.protobuf import json_format

from patchclamp._exceptions import NotationError
from patchclamp._interventions import Intervention
from patchclamp._parsing import parse_intervention
from patchclamp.v1 import intervention_pb2

__all__ = ["Interventions", "flatten", "interventions_from_json", "interventions_to_json"]

# What `interventions=` takes: edits, their notation, the wire's messages, or sequences of these, nested as they come.
Interventions: TypeAlias = "Intervention | intervention_pb2.Intervention | str | Sequence[Interventions]"


def flatten(interventions: Interventions) -> Iterator[intervention_pb2.Intervention]:
    """The messages of all of them, in their order."""
    if isinstance(interventions, str):
        yield parse_intervention(interventions).to_proto()
    elif isinstance(interventions, Intervention):
        yield interventions.to_proto()
    elif isinstance(interventions, intervention_pb2.Intervention):
        yield interventions
    else:
        for intervention in interventions:
            yield from flatten(intervention)


def interventions_from_json(text: str) -> list[Intervention]:
    """Reads a JSON list: each item an `Intervention` message in protobuf's JSON, or a string in the notation.

    Raises:
        NotationError: It is no such list; says which item is wrong.
    """
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotationError(f"this is no JSON: {error.msg}", text, error.pos + 1) from None
    if not isinstance(items, list):
        raise NotationError("a JSON list of interventions is wanted", text, 1)
    return [_from_item(number, item) for number, item in enumerate(items)]


def interventions_to_json(interventions: Iterable[Intervention]) -> str:
    """A JSON list that `interventions_from_json` reads, one item a line."""
    items = [json.dumps(json_format.MessageToDict(item.to_proto()), ensure_ascii=False) for item in interventions]
    return "[\n  " + ",\n  ".join(items) + "\n]\n" if items else "[]\n"


def _from_item(number: int, item: object) -> Intervention:
    if isinstance(item, str):
        return parse_intervention(item)
    message = intervention_pb2.Intervention()
    try:
        if not isinstance(item, dict):
            raise NotationError(f"item {number} is no object and no string", json.dumps(item), 1)
        json_format.ParseDict(item, message)
    except json_format.ParseError as error:
        raise NotationError(f"item {number} is no intervention: {error}", json.dumps(item), 1) from None
    return Intervention(message)
