"""What `generate` answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from patchclamp._receipts import Applied
from patchclamp._tensors import Array, captured_arrays
from patchclamp.v1 import inference_pb2

__all__ = ["FinishReason", "Generation", "Token", "TokenLogprob", "Usage", "check_counts", "prompt_input"]


class FinishReason(StrEnum):
    """Why a generation ended."""

    END_OF_SEQUENCE = "end_of_sequence"
    """The model chose an end-of-sequence token."""
    STOP_SEQUENCE = "stop_sequence"
    """A stop string was met."""
    LENGTH = "length"
    """max_new_tokens was reached."""
    UNKNOWN = "unknown"
    """A reason that this version of the package has no name for."""


REASONS = {
    inference_pb2.END_OF_SEQUENCE: FinishReason.END_OF_SEQUENCE,
    inference_pb2.STOP_SEQUENCE: FinishReason.STOP_SEQUENCE,
    inference_pb2.LENGTH: FinishReason.LENGTH,
}


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that might have been, with the natural logarithm of its probability."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A generated token.

    Attributes:
        id: Its id in the vocabulary.
        text: The text that became certain with it, possibly empty; all of them joined are the whole text.
        logprob: Natural logarithm of its probability under the edited model, before any sampling setting.
        top: The most probable tokens at this place, best first; as many as `top_logprobs`.
        captured: From site to values of shape [1, width], of the forward pass that chose it, at the position before.
    """

    id: int
    text: str
    logprob: float
    top: tuple[TokenLogprob, ...]
    captured: dict[str, Array]

    @classmethod
    def from_proto(cls, message: inference_pb2.Token) -> Token:
        """From the wire's form."""
        top = tuple(TokenLogprob(token.id, token.text, token.logprob) for token in message.top)
        return cls(message.id, message.text, message.logprob, top, captured_arrays(message.captured))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation took; `seed` is what sampling used, 0 when greedy."""

    prompt_tokens: int
    generated_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """A finished generation.

    Attributes:
        text: The whole text, without the prompt and without a stop string.
        tokens: Its tokens.
        reason: Why it ended.
        usage: Numbers of tokens, and the seed.
        applied: What was done to the activations.
        captured_prompt: From site to values of shape [prompt tokens, width]; empty unless asked for.
    """

    text: str
    tokens: tuple[Token, ...]
    reason: FinishReason
    usage: Usage
    applied: Applied
    captured_prompt: dict[str, Array]

    @classmethod
    def from_proto(cls, tokens: Sequence[Token], message: inference_pb2.Completed) -> Generation:
        """From the tokens that came before and the event that ended them."""
        usage = message.usage
        return cls(
            text="".join(token.text for token in tokens),
            tokens=tuple(tokens),
            reason=REASONS.get(message.reason, FinishReason.UNKNOWN),
            usage=Usage(usage.prompt_tokens, usage.generated_tokens, usage.seed),
            applied=Applied.from_proto(message.applied),
            captured_prompt=captured_arrays(message.captured_prompt),
        )


def prompt_input(
    prompt: str | None, messages: Sequence[Mapping[str, str]] | None, token_ids: Sequence[int] | None
) -> inference_pb2.GenerateRequest:
    """A request with its input alone: text, a conversation or tokens.

    Raises:
        ValueError: Not exactly one of them is given, or a message is not of the form {"role": …, "content": …}.
    """
    if [prompt, messages, token_ids].count(None) != 2:
        raise ValueError("give exactly one of prompt, messages and token_ids")
    if messages is not None:
        return inference_pb2.GenerateRequest(chat=_chat(messages))
    if token_ids is not None:
        return inference_pb2.GenerateRequest(token_ids=inference_pb2.TokenIds(ids=token_ids))
    return inference_pb2.GenerateRequest(prompt=prompt or "")


def check_counts(**counts: int | None) -> None:
    """Refuses, with ValueError and by its name, a number that the wire has no sign for."""
    for name, count in counts.items():
        if count is not None and count < 0:
            raise ValueError(f"{name} is {count}; it can be 0 or more")


def _chat(messages: Sequence[Mapping[str, str]]) -> inference_pb2.Chat:
    for number, message in enumerate(messages):
        if set(message) != {"role", "content"}:
            raise ValueError(f"messages[{number}] has {sorted(message)}; it needs exactly 'role' and 'content'")
    return inference_pb2.Chat(messages=[inference_pb2.ChatMessage(**message) for message in messages])
