"""What all that the server keeps has in common: names, times, and requests that may be sent twice."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["Named", "listed", "name_of", "request_id_or_new", "time_of"]

ItemT = TypeVar("ItemT")


class Named(Protocol):
    """What has a resource name."""

    @property
    def name(self) -> str:
        """As "corpora/ud-ewt-dev"."""


def name_of(resource: str | Named) -> str:
    """The name, of a resource or as it is."""
    return resource if isinstance(resource, str) else resource.name


def listed(name: str, values: Sequence[ItemT]) -> Sequence[ItemT]:
    """The items of the argument `name`.

    Raises:
        TypeError: It is a single string, which would be taken letter by letter.
    """
    if isinstance(values, str):
        raise TypeError(f"{name} is the string {values!r}; give a list: [{values!r}]")
    return values


def request_id_or_new(given: str | None) -> str:
    """The caller's own, or a fresh one: with it, a call that is tried again does its work once."""
    return uuid.uuid4().hex if given is None else given


def time_of(message: Timestamp) -> datetime:
    """In UTC."""
    return message.ToDatetime(tzinfo=UTC)
