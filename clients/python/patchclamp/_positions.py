"""Where and when an edit applies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from patchclamp._neurons import Neurons
from patchclamp.v1 import intervention_pb2

__all__ = ["Condition", "Positions"]


@dataclass(frozen=True, slots=True, init=False)
class Positions:
    """A union of token positions. Nothing set: every position.

    >>> Positions(prompt=True, tokens=[" she"])
    Positions(prompt=True, generated=False, indices=(), tokens=(' she',), exclude_special_tokens=False)

    Attributes:
        prompt: Tokens of the prompt.
        generated: Tokens the model generated; in `score`, those of the continuation.
        indices: Positions in the prompt, in tokens from 0; negative: from its end.
        tokens: Positions whose token decodes to one of these, exactly as written (" she" has a leading blank).
        exclude_special_tokens: Leaves special tokens out, whatever else selects them.
    """

    prompt: bool
    generated: bool
    indices: tuple[int, ...]
    tokens: tuple[str, ...]
    exclude_special_tokens: bool

    def __init__(
        self,
        *,
        prompt: bool = False,
        generated: bool = False,
        indices: Iterable[int] = (),
        tokens: Iterable[str] = (),
        exclude_special_tokens: bool = False,
    ) -> None:
        if isinstance(tokens, str):
            raise TypeError(f"tokens is the string {tokens!r}; give a list: [{tokens!r}]")
        object.__setattr__(self, "prompt", prompt)
        object.__setattr__(self, "generated", generated)
        object.__setattr__(self, "indices", tuple(int(index) for index in indices))
        object.__setattr__(self, "tokens", tuple(tokens))
        object.__setattr__(self, "exclude_special_tokens", exclude_special_tokens)

    @classmethod
    def from_proto(cls, message: intervention_pb2.Positions) -> Positions:
        """From the wire's form."""
        return cls(
            prompt=message.prompt,
            generated=message.generated,
            indices=message.indices,
            tokens=message.tokens,
            exclude_special_tokens=message.exclude_special_tokens,
        )

    def to_proto(self) -> intervention_pb2.Positions:
        """The wire's form."""
        return intervention_pb2.Positions(
            prompt=self.prompt,
            generated=self.generated,
            indices=self.indices,
            tokens=self.tokens,
            exclude_special_tokens=self.exclude_special_tokens,
        )


@dataclass(frozen=True, slots=True, init=False)
class Condition:
    """A gate: at each position, edit only where one neuron's value is beyond a bound.

    >>> Condition("layers.2.neurons[7]", above=1.0)
    Condition(neurons=Neurons(site='layers.2.neurons', indices=(7,)), above=1.0, below=None)

    Attributes:
        neurons: Exactly one neuron, of a site at or before the edited one; its notation is accepted too.
        above: Fires where value > above. With `below` too: where both hold.
        below: Fires where value < below.
    """

    neurons: Neurons
    above: float | None
    below: float | None

    def __init__(self, neurons: str | Neurons, *, above: float | None = None, below: float | None = None) -> None:
        object.__setattr__(self, "neurons", Neurons.of(neurons))
        object.__setattr__(self, "above", above)
        object.__setattr__(self, "below", below)

    @classmethod
    def from_proto(cls, message: intervention_pb2.Condition) -> Condition:
        """From the wire's form."""
        return cls(
            Neurons.from_proto(message.neurons),
            above=message.above if message.HasField("above") else None,
            below=message.below if message.HasField("below") else None,
        )

    def to_proto(self) -> intervention_pb2.Condition:
        """The wire's form."""
        return intervention_pb2.Condition(neurons=self.neurons.to_proto(), above=self.above, below=self.below)
