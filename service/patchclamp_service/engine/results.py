"""What the engine answers: plain values, no tensors. Arrays are numpy."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = [
    "AppliedEdit",
    "ClassScore",
    "Classification",
    "ClassifyResult",
    "Completed",
    "Event",
    "FillMaskResult",
    "FilledMask",
    "FinishReason",
    "ItemScore",
    "Receipt",
    "ScoreResult",
    "SentenceActivations",
    "Token",
    "TokenLogprob",
    "WordClasses",
]

Floats = npt.NDArray[np.float32]


class FinishReason(enum.Enum):
    """Why a generation ended."""

    END_OF_SEQUENCE = "end_of_sequence"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"


@dataclass(slots=True)
class AppliedEdit:
    """What one intervention did, counted in token positions."""

    positions_edited: int = 0
    gate_firings: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was done to the activations: digest of the canonical edits, one entry per intervention."""

    digest: str
    edits: tuple[AppliedEdit, ...]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that might have been."""

    id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A generated token. Captured arrays have shape [1, width]; bfloat16 travels as uint16 bits."""

    id: int
    text: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    captured: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Completed:
    """The end of a generation. Captured arrays have shape [prompt tokens, width]."""

    reason: FinishReason
    prompt_tokens: int
    generated_tokens: int
    seed: int
    receipt: Receipt
    captured_prompt: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ItemScore:
    """Log-probabilities of the tokens of one continuation, natural logarithm."""

    token_logprobs: Floats
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreResult:
    """One entry an item, in order: the only event of a score request."""

    scores: tuple[ItemScore, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True, eq=False)
class SentenceActivations:
    """One sentence. Arrays have shape [rows, width]; bfloat16 travels as uint16 bits. `masked` names the rows of
    words without a subword. The receipt stands on the last sentence only."""

    sentence: int
    tokens: tuple[str, ...]
    captured: dict[str, npt.NDArray[np.generic]]
    masked: tuple[int, ...] = ()
    receipt: Receipt | None = None
    target_tokens: tuple[str, ...] = ()
    """The rows of the decoder's sites, where `tokens` are those of the encoder's."""
    target_masked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class. `probability`: softmax over the classes; the sigmoid where several may hold at once; the logit itself
    of a regression."""

    index: int
    label: str
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class WordClasses:
    """Classes of one word, those of its first subword, most probable first; none for a word without a subword."""

    word: str
    classes: tuple[ClassScore, ...]


@dataclass(frozen=True, slots=True)
class Classification:
    """Classes of one sentence, most probable first, or of each of its words."""

    classes: tuple[ClassScore, ...] = ()
    words: tuple[WordClasses, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassifyResult:
    """One entry a sentence, in order: the only event of its request."""

    results: tuple[Classification, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class FilledMask:
    """What one mask may hide. `position` counts tokens with the special ones."""

    position: int
    top: tuple[TokenLogprob, ...]
    targets: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class FillMaskResult:
    """The masks of each text, from left to right: the only event of its request."""

    results: tuple[tuple[FilledMask, ...], ...]
    receipt: Receipt


Event = Token | Completed | ScoreResult | SentenceActivations | ClassifyResult | FillMaskResult
