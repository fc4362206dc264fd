"""What can be asked of the engine: plain values, no tensors. What it answers is in `results`, what it says of itself in
`description`; both can be had from here.

Arrays are numpy; positions and indices are Python integers. Everything a caller hands over is frozen.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .description import (
    Head,
    Limits,
    Load,
    ModelInfo,
    ModelKind,
    ModuleInfo,
    Observer,
    RefusedSite,
    SiteInfo,
    StepReport,
)
from .results import (
    AppliedEdit,
    Classification,
    ClassifyResult,
    ClassScore,
    Completed,
    Event,
    FilledMask,
    FillMaskResult,
    FinishReason,
    ItemScore,
    Receipt,
    ScoreResult,
    SentenceActivations,
    Token,
    TokenLogprob,
    WordClasses,
)

__all__ = [
    "Ablate",
    "Add",
    "AppliedEdit",
    "Capture",
    "ClassScore",
    "Classification",
    "ClassifyRequest",
    "ClassifyResult",
    "Clip",
    "Completed",
    "Condition",
    "Edit",
    "Event",
    "ExtractRequest",
    "FillMaskRequest",
    "FillMaskResult",
    "FilledMask",
    "FinishReason",
    "GenerateRequest",
    "Head",
    "Intervention",
    "ItemScore",
    "Limits",
    "Load",
    "ModelInfo",
    "ModelKind",
    "ModuleInfo",
    "MoveTo",
    "Observer",
    "Patch",
    "Pooling",
    "Positions",
    "Prepared",
    "ProjectOut",
    "Receipt",
    "RefusedSite",
    "Request",
    "Sampling",
    "Scale",
    "ScoreItem",
    "ScoreRequest",
    "ScoreResult",
    "SentenceActivations",
    "Sentences",
    "Set",
    "SiteInfo",
    "StepReport",
    "TextPair",
    "Token",
    "TokenLogprob",
    "TokenRows",
    "WordClasses",
]

Floats = npt.NDArray[np.float32]


# --- interventions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ablate:
    """To 0, by selection."""


@dataclass(frozen=True, slots=True)
class Set:
    """To values: one, or one per neuron."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """Times a factor."""

    factor: float


@dataclass(frozen=True, slots=True)
class Add:
    """Plus offsets: one, or one per neuron."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """Into [low, high]; None: no bound."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Part of the way (`weight`, 0 to 1) to values: one, or one per neuron. All of the way is a clamp."""

    values: tuple[float, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Patch:
    """To the values the neurons take at one position (negative: from the end) of another text."""

    source_text: str
    source_position: int


@dataclass(frozen=True, slots=True, eq=False)
class ProjectOut:
    """Without the component along a direction [width]."""

    direction: Floats


Edit = Ablate | Set | Scale | Add | Clip | MoveTo | Patch | ProjectOut


@dataclass(frozen=True, slots=True)
class Positions:
    """A union of positions; nothing set: every position. See `intervention.proto`."""

    prompt: bool = False
    generated: bool = False
    indices: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    exclude_special_tokens: bool = False

    @property
    def everywhere(self) -> bool:
        """Whether nothing narrows the selection, special tokens aside."""
        return not (self.prompt or self.generated or self.indices or self.tokens)


@dataclass(frozen=True, slots=True)
class Condition:
    """Edit only where neuron `index` of `site` is above and/or below a bound."""

    site: str
    index: int
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class Intervention:
    """One edit of some neurons of one site; no indices: the whole site."""

    site: str
    edit: Edit
    indices: tuple[int, ...] = ()
    positions: Positions = Positions()
    condition: Condition | None = None


# --- requests ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; the default is greedy."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Capture:
    """Which sites to return ("layers.*.residual" allowed), of which tokens, in which dtype (float32, float16,
    bfloat16)."""

    sites: tuple[str, ...]
    prompt: bool = False
    generated: bool = False
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue one prompt. Exactly one of prompt, token_ids and chat (pairs of role and content)."""

    prompt: str | None = None
    token_ids: tuple[int, ...] | None = None
    chat: tuple[tuple[str, str], ...] | None = None
    sampling: Sampling = Sampling()
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    interventions: tuple[Intervention, ...] = ()
    capture: Capture | None = None
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """A prompt and a text that may follow it."""

    prompt: str
    continuation: str


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Log-probability of each continuation after its prompt."""

    items: tuple[ScoreItem, ...]
    interventions: tuple[Intervention, ...] = ()


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts that run as one, as the tokenizer joins them."""

    first: str
    second: str


Sentences = tuple[str, ...] | tuple[tuple[str, ...], ...] | tuple[TextPair, ...]
"""All of text, all of words or all pairs."""


class Pooling(enum.Enum):
    """From the rows of subwords to one row per word, or to one per sentence."""

    NONE = "none"
    FIRST = "first"
    LAST = "last"
    AVERAGE = "average"
    SENTENCE_FIRST = "sentence_first"
    """The first token, special ones count."""
    SENTENCE_LAST = "sentence_last"
    """The last token that is not special."""
    SENTENCE_AVERAGE = "sentence_average"
    """The mean of the tokens that are not special."""
    SENTENCE_MAX = "sentence_max"
    """The largest value of each neuron over the tokens that are not special."""

    @property
    def per_sentence(self) -> bool:
        """Whether it makes one row of a sentence."""
        return self.name.startswith("SENTENCE")


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """Activations of sentences. `pooling` None: average for words, none for the others. `targets`, one a sentence, are
    what the decoder of an encoder-decoder reads: texts where the sentences are, words where they are words."""

    sentences: Sentences
    sites: tuple[str, ...]
    pooling: Pooling | None = None
    dtype: str = "float32"
    interventions: tuple[Intervention, ...] = ()
    include_special_tokens: bool = False
    background: bool = False
    """Runs between the requests of others and slows them by no more than the set share."""
    part: bool = False
    """Is one of many requests for one extraction: its edits may select nothing of it."""
    targets: tuple[str, ...] | tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenRows:
    """The rows of a sentence without pooling: the token of each, and the number of its word (−1: of none)."""

    names: tuple[str, ...]
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What extractions with some sites and edits have in common, checked before there are sentences."""

    sites: tuple[SiteInfo, ...]
    """In the order asked for, without wildcards."""
    of_sentences: bool
    """Whether there are rows of the sentences; of those of an encoder-decoder, what its encoder reads."""
    of_targets: bool
    """Whether there are rows of what its decoder reads."""
    interventions: tuple[Intervention, ...]
    """With the values that patches were resolved to."""
    digest: str
    """Of the edits, as in their receipt."""
    tokenizer: str
    """Class and digest of the tokenizer."""


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """Classes of texts, or of their words, as the head of the model says. `top` 0: all classes."""

    sentences: Sentences
    top: int = 0
    interventions: tuple[Intervention, ...] = ()


@dataclass(frozen=True, slots=True)
class FillMaskRequest:
    """What may stand in place of the mask tokens of some texts: the `top` best tokens, and the targets."""

    texts: tuple[str, ...]
    top: int = 5
    targets: tuple[str, ...] = ()
    interventions: tuple[Intervention, ...] = ()


Request = GenerateRequest | ScoreRequest | ExtractRequest | ClassifyRequest | FillMaskRequest
