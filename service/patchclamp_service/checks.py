"""From the bytes of a request to a message that obeys the contract's rules, or InvalidRequest that says where not."""

from __future__ import annotations

from collections.abc import Callable

import protovalidate
from google.protobuf.message import DecodeError, Message

from patchclamp_service.engine.errors import Exhausted, InvalidRequest

__all__ = ["check", "parse"]

_VALIDATOR = protovalidate.Validator()


def parse(data: bytes, decode: Callable[[bytes], Message], most_bytes: int) -> Message:
    """The message in `data`, checked. Raises InvalidRequest, or Exhausted when it has more than `most_bytes`."""
    if len(data) > most_bytes:
        raise Exhausted(
            f"the message has {len(data)} bytes; the limit message_bytes is {most_bytes}",
            reason="MESSAGE_TOO_LARGE",
            quota="message_bytes",
        )
    try:
        message = decode(data)
    except (DecodeError, RecursionError) as error:  # the parser's text is for us, and says no more than this
        raise InvalidRequest(
            "the request is not a message of this method: malformed, nested too deeply, or text that is not UTF-8",
            reason="MALFORMED_MESSAGE",
        ) from error
    check(message)
    return message


def check(message: Message) -> None:
    """Raises InvalidRequest for the first rule of the .proto files that the message breaks."""
    for violation in _VALIDATOR.collect_violations(message, fail_fast=True):
        path = _path(violation)
        text = violation.proto.message or f"breaks the rule {violation.proto.rule_id}"
        raise InvalidRequest(f"{path}: {text}" if path else text, field=path)


def _path(violation: protovalidate.Violation) -> str:
    """As in "interventions[0].set.values[1]"."""
    elements = violation.proto.field.elements if violation.proto.field else ()
    return ".".join(
        f"{element.field_name}[{element.subscript.value}]" if element.subscript else element.field_name
        for element in elements
    )
