"""Edits of neurons: what `interventions=` takes.

Each function makes one intervention: an edit of some neurons of one site. `neurons` is a `Neurons` or its notation; or
neurons of a ranking (`ranking.top(10)`): then it makes a list, one a site, which `interventions=` takes as well.
`positions` says where (default: at every position), `when` on what condition (default: always). The interventions of
a request apply in their order, each to the result of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt

from patchclamp._activation_sets import ActivationSet
from patchclamp._formatting import format_message
from patchclamp._neurons import Neurons, ScoredNeuron, parts_by_site
from patchclamp._positions import Condition, Positions
from patchclamp._resources import name_of
from patchclamp._tensors import from_array
from patchclamp.v1 import intervention_pb2

__all__ = [
    "Intervention",
    "Values",
    "ablate",
    "add",
    "clip",
    "patch",
    "project_out",
    "scale",
    "set_",
    "set_to_mean",
]

OneSite: TypeAlias = str | Neurons
Scored: TypeAlias = Sequence[ScoredNeuron]
Values: TypeAlias = float | Sequence[float] | npt.NDArray[np.floating]


# The places of a site's neurons among all that were given; None: there are no others.
Places: TypeAlias = list[int] | None
Edit: TypeAlias = Callable[[intervention_pb2.Intervention, Places], None]


class Where(TypedDict, total=False):
    """What every edit takes: at which positions, and when."""

    positions: Positions | None
    when: Condition | None


class Intervention:
    """One edit of some neurons of one site; immutable. `str()` gives the notation that `parse_intervention` reads."""

    __slots__ = ("_message",)

    def __init__(self, message: intervention_pb2.Intervention) -> None:
        self._message = intervention_pb2.Intervention()
        self._message.CopyFrom(message)

    def to_proto(self) -> intervention_pb2.Intervention:
        """The wire's form; a copy."""
        copy = intervention_pb2.Intervention()
        copy.CopyFrom(self._message)
        return copy

    def __str__(self) -> str:
        return format_message(self._message)

    def __repr__(self) -> str:
        return f"parse_intervention({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervention) and self._message == other._message

    def __hash__(self) -> int:
        return hash(self._message.SerializeToString(deterministic=True))

    def __reduce__(self) -> tuple[object, ...]:
        return _from_bytes, (self._message.SerializeToString(deterministic=True),)


@overload
def ablate(neurons: OneSite, **where: Unpack[Where]) -> Intervention: ...
@overload
def ablate(neurons: Scored, **where: Unpack[Where]) -> list[Intervention]: ...
def ablate(neurons: OneSite | Scored, **where: Unpack[Where]) -> Intervention | list[Intervention]:
    """Sets the neurons to 0, whatever they were."""

    def edit(message: intervention_pb2.Intervention, places: Places) -> None:
        message.ablate.SetInParent()

    return _edited(neurons, edit, where)


@overload
def set_(neurons: OneSite, values: Values, **where: Unpack[Where]) -> Intervention: ...
@overload
def set_(neurons: Scored, values: Values, **where: Unpack[Where]) -> list[Intervention]: ...
def set_(neurons: OneSite | Scored, values: Values, **where: Unpack[Where]) -> Intervention | list[Intervention]:
    """Clamps the neurons to a value, or to one value each in the order of their indices."""

    def edit(message: intervention_pb2.Intervention, places: Places) -> None:
        message.set.values[:] = _at(finite, places)

    finite = _one_or_each(values, neurons)
    return _edited(neurons, edit, where)


@overload
def scale(neurons: OneSite, factor: float, **where: Unpack[Where]) -> Intervention: ...
@overload
def scale(neurons: Scored, factor: float, **where: Unpack[Where]) -> list[Intervention]: ...
def scale(neurons: OneSite | Scored, factor: float, **where: Unpack[Where]) -> Intervention | list[Intervention]:
    """Multiplies the neurons by a factor."""

    def edit(message: intervention_pb2.Intervention, places: Places) -> None:
        message.scale.factor = _finite(factor)[0]

    return _edited(neurons, edit, where)


@overload
def add(neurons: OneSite, offsets: Values, **where: Unpack[Where]) -> Intervention: ...
@overload
def add(neurons: Scored, offsets: Values, **where: Unpack[Where]) -> list[Intervention]: ...
def add(neurons: OneSite | Scored, offsets: Values, **where: Unpack[Where]) -> Intervention | list[Intervention]:
    """Adds an offset, or one offset each; over a whole site: a steering vector."""

    def edit(message: intervention_pb2.Intervention, places: Places) -> None:
        message.add.values[:] = _at(finite, places)

    finite = _one_or_each(offsets, neurons)
    return _edited(neurons, edit, where)


@overload
def clip(
    neurons: OneSite, *, min: float | None = None, max: float | None = None, **where: Unpack[Where]
) -> Intervention: ...
@overload
def clip(
    neurons: Scored, *, min: float | None = None, max: float | None = None, **where: Unpack[Where]
) -> list[Intervention]: ...
def clip(
    neurons: OneSite | Scored, *, min: float | None = None, max: float | None = None, **where: Unpack[Where]
) -> Intervention | list[Intervention]:
    """Keeps the neurons within [min, max]; either may be absent, not both."""

    def edit(message: intervention_pb2.Intervention, places: Places) -> None:
        message.clip.SetInParent()
        if min is not None:
            message.clip.min = _finite(min)[0]
        if max is not None:
            message.clip.max = _finite(max)[0]

    return _edited(neurons, edit, where)


@overload
def set_to_mean(
    neurons: OneSite,
    activation_set: str | ActivationSet,
    *,
    label: str = "",
    weight: float = 1.0,
    **where: Unpack[Where],
) -> Intervention: ...
@overload
def set_to_mean(
    neurons: Scored,
    activation_set: str | ActivationSet,
    *,
    label: str = "",
    weight: float = 1.0,
    **where: Unpack[Where],
) -> list[Intervention]: ...
def set_to_mean(
    neurons: OneSite | Scored,
    activation_set: str | ActivationSet,
    *,
    label: str = "",
    weight: float = 1.0,
    **where: Unpack[Where],
) -> Intervention | list[Intervention]:
    """Moves the neurons `weight` of the way, above 0 and up to 1, to their mean over an activation set.

    With `label`, over the rows of that label alone; "layer/label" where several layers have it.
    """
    part = _finite(weight)[0]
    if not 0 < part <= 1:  # 0 on the wire stands for 1
        raise ValueError(f"weight is {weight}; it is above 0 and at most 1, all the way")

    def edit(message: intervention_pb2.Intervention, places: Places) -> None:
        message.set_to_mean.activation_set = name_of(activation_set)
        message.set_to_mean.label = label
        message.set_to_mean.weight = part

    return _edited(neurons, edit, where)


def patch(neurons: str | Neurons, source_text: str, source_position: int = -1, **where: Unpack[Where]) -> Intervention:
    """Sets the neurons to the values they take on another text, at one of its tokens (negative: from its end)."""
    message = _message(neurons, **where)
    message.patch.source_text = source_text
    message.patch.source_position = source_position
    return Intervention(message)


def project_out(site: str | Neurons, direction: npt.ArrayLike, **where: Unpack[Where]) -> Intervention:
    """Removes the component along `direction`, of shape [width] and any length but 0: x → x − (x·d)d/|d|²."""
    message = _message(site, **where)
    message.project_out.direction.CopyFrom(from_array(_finite(direction)))
    return Intervention(message)


def _edited(neurons: OneSite | Scored, edit: Edit, where: Where) -> Intervention | list[Intervention]:
    """An intervention; of a ranking's neurons, one a site."""
    if isinstance(neurons, str | Neurons):
        message = _message(neurons, **where)
        edit(message, None)
        return Intervention(message)
    interventions = []
    for of_site, places in parts_by_site(neurons):
        message = _message(of_site, **where)
        edit(message, places)
        interventions.append(Intervention(message))
    return interventions


def _at(values: list[float], places: Places) -> list[float]:
    """The values of some of the neurons; one value is for all."""
    return values if places is None or len(values) == 1 else [values[place] for place in places]


def _one_or_each(values: Values, neurons: OneSite | Scored) -> list[float]:
    """The values, of which a ranking's neurons take one or one each."""
    finite = _finite(values)
    if not isinstance(neurons, str | Neurons) and len(finite) not in (1, len(neurons)):
        raise ValueError(f"{len(finite)} values for {len(neurons)} neurons: one is wanted, or one each")
    return finite


def _message(
    neurons: str | Neurons, positions: Positions | None = None, when: Condition | None = None
) -> intervention_pb2.Intervention:
    return intervention_pb2.Intervention(
        neurons=Neurons.of(neurons).to_proto(),
        positions=positions.to_proto() if positions is not None else None,
        condition=when.to_proto() if when is not None else None,
    )


def _finite(values: npt.ArrayLike) -> list[float]:
    """The values as the wire carries them: in float32, which an overflow would turn into an infinity silently."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(values, np.float64).ravel().astype(np.float32)
    if not np.isfinite(rounded).all():
        place = int(np.flatnonzero(~np.isfinite(rounded))[0])
        raise ValueError(f"value {np.ravel(values)[place]} (number {place}) is not a finite float32")
    return [float(value) for value in rounded]


def _from_bytes(serialized: bytes) -> Intervention:
    return Intervention(intervention_pb2.Intervention.FromString(serialized))
