"""Hyper-parameters: what a method's fields say about themselves, and methods made of names and plain values."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from inspect import cleandoc
from typing import TYPE_CHECKING, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import BadData

if TYPE_CHECKING:
    from .method import Method

    M = TypeVar("M", bound=Method)

__all__ = ["About", "MethodInfo", "Parameter", "build", "check_values", "describe"]

Kind = Literal["bool", "int", "float", "choice", "floats"]
Answer = Literal["ranking", "tables"]
Value = bool | int | float | str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class About:
    """Stands in a field's annotation: one line about it, and its bounds (both within)."""

    text: str
    least: float = -math.inf
    most: float = math.inf


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyper-parameter. `floats` is a list of numbers, each within the bounds."""

    name: str
    kind: Kind
    default: Value
    about: str
    least: float
    most: float
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MethodInfo:
    """A method, as it is listed. `several`: it compares sets of activations of the same words."""

    name: str
    kind: str
    answer: Answer
    summary: str
    description: str
    supervised: bool
    several: bool
    reference: str
    complexity: str
    parameters: tuple[Parameter, ...]


def describe(method: type[Method]) -> MethodInfo:
    """What a method says about itself in its fields and docstring."""
    text = cleandoc(method.__doc__ or "")
    return MethodInfo(
        method.name,
        method.kind.value,
        "tables" if hasattr(method, "tables") else "ranking",
        text.partition("\n")[0],
        text,
        method.supervised,
        hasattr(method, "compare"),
        method.reference,
        method.complexity,
        parameters(method),
    )


def parameters(method: type[Method]) -> tuple[Parameter, ...]:
    """The hyper-parameters of a method, in the order of its fields."""
    hints = get_type_hints(method, include_extras=True)
    found = []
    for field in fields(method):
        hint, about = get_args(hints[field.name])
        kind, choices = _kind(hint)
        found.append(
            Parameter(field.name, kind, typing.cast(Value, field.default), about.text, about.least, about.most, choices)
        )
    return tuple(found)


def build(method: type[M], values: Mapping[str, object]) -> M:
    """A method from plain values, as they come from JSON, YAML or a protobuf Struct: 10.0 is fine for an integer.
    BadData names the parameter that is wrong.
    """
    known = {parameter.name: parameter for parameter in parameters(method)}
    given = {}
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known) or 'none'}"
            raise BadData(f"no such parameter{hint}", where=f"{method.name}.{name}")
        given[name] = _plain(known[name], value)
    return method(**given)


def check_values(method: Method) -> None:
    """BadData for a value of the wrong type or out of bounds."""
    for parameter in parameters(type(method)):
        value = getattr(method, parameter.name)
        try:
            _check(parameter, value)
        except ValueError as error:
            raise BadData(str(error), where=f"{method.name}.{parameter.name}") from None


def _kind(hint: object) -> tuple[Kind, tuple[str, ...]]:
    if get_origin(hint) is Literal:
        return "choice", get_args(hint)
    if get_origin(hint) is tuple:
        return "floats", ()
    kinds: dict[type, Kind] = {bool: "bool", int: "int", float: "float"}
    return kinds[typing.cast(type, hint)], ()


def _plain(parameter: Parameter, value: object) -> object:
    if parameter.kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if parameter.kind == "floats" and isinstance(value, list):
        return tuple(value)
    return value


def _check(parameter: Parameter, value: object) -> None:
    types: dict[Kind, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "choice": (str,)}
    expected = types.get(parameter.kind, (int, float))
    if parameter.kind == "floats" and not isinstance(value, tuple):
        raise ValueError(f"must be {_article(parameter.kind)}, not {value!r}")
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, expected) or (isinstance(number, bool) and parameter.kind != "bool"):
            raise ValueError(f"must be {_article(parameter.kind)}, not {number!r}")
        if parameter.kind == "choice":
            if number not in parameter.choices:
                raise ValueError(f"must be one of {', '.join(map(repr, parameter.choices))}, not {number!r}")
        elif not parameter.least <= typing.cast(float, number) <= parameter.most:
            raise ValueError(f"{number} is out of bounds: {parameter.least:g} to {parameter.most:g}")


def _article(kind: Kind) -> str:
    return {
        "bool": "true or false",
        "int": "an integer",
        "float": "a number",
        "choice": "a string",
        "floats": "a list of numbers",
    }[kind]
