"""How a model's decoder begins and ends, as the settings that come with it say."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Decoding"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Tokens with a role in generation. Other habits of a checkpoint, such as beams, are left to the request."""

    stop: frozenset[int] = frozenset()
    """Any of them ends a text."""
    start: int | None = None
    """What the decoder of an encoder-decoder reads first; None: the prompt comes first."""
    first: int | None = None
    """The first token written, whatever the model thinks."""
    last: int | None = None
    """The last token written when the room is used up."""
    banned: tuple[int, ...] = ()
    """Never written."""

    def forced(self, written: int, most: int) -> int | None:
        """The token that must come after so many, of `most`; None: the model chooses."""
        if written == 0 and self.first is not None:
            return self.first
        return self.last if written == most - 1 else None
