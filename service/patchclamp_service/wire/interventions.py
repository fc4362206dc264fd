"""Interventions on the wire → the engine's. Checked here: whatever can be seen without the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from patchclamp.v1 import intervention_pb2

from patchclamp_service.engine.errors import InvalidRequest, NotFound
from patchclamp_service.engine.requests import (
    Ablate,
    Add,
    AppliedEdit,
    Clip,
    Condition,
    Edit,
    Intervention,
    MoveTo,
    Patch,
    Positions,
    ProjectOut,
    Receipt,
    Scale,
    Set,
)
from patchclamp_service.wire.tensors import float_vector

__all__ = ["applied", "interventions", "refuse_sets"]

_NO_MEANS: Mapping[int, MoveTo] = MappingProxyType({})
_SET_NAME = re.compile(r"interventionSets/[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[1-9][0-9]{0,9})?")


def interventions(
    messages: Iterable[intervention_pb2.Intervention], means: Mapping[int, MoveTo] = _NO_MEANS
) -> tuple[Intervention, ...]:
    """All edits of a request, in order. `means`: what each SetToMean comes to, by its place; see `edits`.

    Raises InvalidRequest with paths such as "interventions[0].set.values".
    """
    return tuple(_intervention(message, f"interventions[{i}]", means.get(i)) for i, message in enumerate(messages))


def refuse_sets(names: Sequence[str]) -> None:
    """This server keeps no named sets: NotFound for a well-formed name, InvalidRequest for another."""
    for i, name in enumerate(names):
        field = f"intervention_sets[{i}]"
        if not _SET_NAME.fullmatch(name):
            raise InvalidRequest(
                f"{field}: {name!r} is no resource name; it should look like 'interventionSets/debias-gender@3'",
                reason="INVALID_NAME",
                field=field,
            )
        raise NotFound(f"this server has no {name!r}", reason="INTERVENTION_SET_NOT_FOUND", field=field)


def applied(receipt: Receipt, model_digest: str) -> intervention_pb2.AppliedInterventions:
    """The receipt as it goes to the caller."""
    edits = [_applied_edit(edit) for edit in receipt.edits]
    return intervention_pb2.AppliedInterventions(digest=receipt.digest, edits=edits, model_digest=model_digest)


def _applied_edit(edit: AppliedEdit) -> intervention_pb2.AppliedEdit:
    return intervention_pb2.AppliedEdit(positions_edited=edit.positions_edited, gate_firings=edit.gate_firings)


def _intervention(message: intervention_pb2.Intervention, path: str, mean: MoveTo | None) -> Intervention:
    arm = message.WhichOneof("edit")
    if arm is None:
        raise InvalidRequest(f"{path}: say how to edit, for example with ablate", reason="NO_EDIT", field=path)
    indices = _indices(message.neurons.indices, f"{path}.neurons.indices")
    return Intervention(
        site=message.neurons.site,
        edit=mean or _EDITS[arm](getattr(message, arm), indices, path),
        indices=indices,
        positions=_positions(message.positions),
        condition=_condition(message.condition, f"{path}.condition") if message.HasField("condition") else None,
    )


def _indices(given: Sequence[int], path: str) -> tuple[int, ...]:
    indices = tuple(given)
    if len(set(indices)) < len(indices):
        order = np.argsort(np.array(indices), kind="stable")
        again = order[1:][np.diff(np.array(indices)[order]) == 0]
        at = int(again.min())
        raise InvalidRequest(
            f"{path}[{at}]: neuron {indices[at]} is listed twice", reason="DUPLICATE_INDEX", field=f"{path}[{at}]"
        )
    return indices


def _positions(message: intervention_pb2.Positions) -> Positions:
    return Positions(
        prompt=message.prompt,
        generated=message.generated,
        indices=tuple(message.indices),
        tokens=tuple(message.tokens),
        exclude_special_tokens=message.exclude_special_tokens,
    )


def _condition(message: intervention_pb2.Condition, path: str) -> Condition:
    if len(message.neurons.indices) != 1:
        field = f"{path}.neurons.indices"
        count = len(message.neurons.indices)
        raise InvalidRequest(f"{field}: name exactly one neuron, not {count}", reason="INVALID_CONDITION", field=field)
    above = message.above if message.HasField("above") else None
    below = message.below if message.HasField("below") else None
    if above is not None and below is not None and above >= below:
        text = f"{path}: no value is above {above:g} and below {below:g}; this would never fire"
        raise InvalidRequest(text, reason="INVALID_CONDITION", field=path)
    return Condition(message.neurons.site, message.neurons.indices[0], above, below)


# --- edits: one entry per arm of the oneof ------------------------------------------------------------------------


def _ablate(edit: intervention_pb2.Ablate, indices: tuple[int, ...], path: str) -> Ablate:
    return Ablate()


def _set(edit: intervention_pb2.Set, indices: tuple[int, ...], path: str) -> Set:
    return Set(_values(edit.values, indices, f"{path}.set.values"))


def _scale(edit: intervention_pb2.Scale, indices: tuple[int, ...], path: str) -> Scale:
    return Scale(edit.factor)


def _add(edit: intervention_pb2.Add, indices: tuple[int, ...], path: str) -> Add:
    return Add(_values(edit.values, indices, f"{path}.add.values"))


def _values(given: Sequence[float], indices: tuple[int, ...], path: str) -> tuple[float, ...]:
    """One, or one per index; how many the whole site takes, the engine knows."""
    if indices and len(given) not in (1, len(indices)):
        text = f"{path}: give one value or one per neuron: {len(given)} for {len(indices)} neurons"
        raise InvalidRequest(text, reason="INVALID_LENGTH", field=path)
    return tuple(given)


def _clip(edit: intervention_pb2.Clip, indices: tuple[int, ...], path: str) -> Clip:
    return Clip(edit.min if edit.HasField("min") else None, edit.max if edit.HasField("max") else None)


def _set_to_mean(edit: intervention_pb2.SetToMean, indices: tuple[int, ...], path: str) -> Edit:
    field = f"{path}.set_to_mean"
    text = f"{field} needs activation sets, which are not to be had here"
    raise InvalidRequest(text, reason="UNSUPPORTED_EDIT", field=field)


def _patch(edit: intervention_pb2.Patch, indices: tuple[int, ...], path: str) -> Patch:
    return Patch(edit.source_text, edit.source_position)


def _project_out(edit: intervention_pb2.ProjectOut, indices: tuple[int, ...], path: str) -> ProjectOut:
    field = f"{path}.project_out.direction"
    if indices:
        text = f"{path}.neurons.indices: project_out takes the whole site, so name no neurons"
        raise InvalidRequest(text, reason="INDICES_NOT_ALLOWED", field=f"{path}.neurons.indices")
    direction = float_vector(edit.direction, field)
    if not direction.any():
        raise InvalidRequest(
            f"{field} is the zero vector, which has no direction", reason="ZERO_DIRECTION", field=field
        )
    return ProjectOut(direction)


_EDITS: dict[str, Callable[[Any, tuple[int, ...], str], Edit]] = {
    "ablate": _ablate,
    "set": _set,
    "scale": _scale,
    "add": _add,
    "clip": _clip,
    "set_to_mean": _set_to_mean,
    "patch": _patch,
    "project_out": _project_out,
}
