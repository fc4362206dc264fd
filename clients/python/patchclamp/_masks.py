"""What `fill_mask` answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from patchclamp._exceptions import ProtocolError
from patchclamp._generation import TokenLogprob
from patchclamp._receipts import Applied
from patchclamp.v1 import inference_pb2

__all__ = ["FilledMask", "FilledTexts"]


@dataclass(frozen=True, slots=True)
class FilledMask:
    """What one mask may hide.

    Attributes:
        position: Its position, counted in tokens with the special ones.
        top: The most probable tokens, best first.
        targets: The targets, in the order they were given.
    """

    position: int
    top: tuple[TokenLogprob, ...]
    targets: tuple[TokenLogprob, ...]

    @classmethod
    def from_proto(cls, message: inference_pb2.FilledMask) -> FilledMask:
        """From the wire's form."""
        return cls(message.position, _tokens(message.top), _tokens(message.targets))


class FilledTexts(list[tuple[FilledMask, ...]]):
    """The masks of each text, from left to right, in the order of the texts.

    Attributes:
        applied: What was done to the activations, added up over the texts.
    """

    def __init__(self, texts: Iterable[tuple[FilledMask, ...]], applied: Applied) -> None:
        super().__init__(texts)
        self.applied = applied

    @classmethod
    def from_proto(cls, message: inference_pb2.FillMaskResponse, text_count: int) -> FilledTexts:
        """From the wire's form.

        Raises:
            ProtocolError: There is not one result a text.
        """
        if len(message.results) != text_count:
            raise ProtocolError(f"{len(message.results)} results came for {text_count} texts")
        texts = (tuple(map(FilledMask.from_proto, text.masks)) for text in message.results)
        return cls(texts, Applied.from_proto(message.applied))


def _tokens(messages: Iterable[inference_pb2.TokenLogprob]) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(token.id, token.text, token.logprob) for token in messages)
