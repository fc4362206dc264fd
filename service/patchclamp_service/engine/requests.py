"""What can be asked of the engine and what it answers: plain values, no tensors.

Arrays are numpy; positions and indices are Python integers. Everything a caller hands over is frozen.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = [
    "Ablate",
    "Add",
    "AppliedEdit",
    "Capture",
    "Clip",
    "Completed",
    "Condition",
    "Edit",
    "Event",
    "ExtractRequest",
    "FinishReason",
    "GenerateRequest",
    "Intervention",
    "ItemScore",
    "Limits",
    "Load",
    "ModelInfo",
    "ModuleInfo",
    "MoveTo",
    "Observer",
    "Patch",
    "Pooling",
    "Positions",
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
    "Set",
    "SiteInfo",
    "StepReport",
    "Token",
    "TokenLogprob",
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


class Pooling(enum.Enum):
    """From the rows of subwords to one row per word."""

    NONE = "none"
    FIRST = "first"
    LAST = "last"
    AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """Activations of sentences: texts, or tuples of words. `pooling` None: average for words, none for text."""

    sentences: tuple[str, ...] | tuple[tuple[str, ...], ...]
    sites: tuple[str, ...]
    pooling: Pooling | None = None
    dtype: str = "float32"
    interventions: tuple[Intervention, ...] = ()
    include_special_tokens: bool = False
    background: bool = False
    """Runs between the requests of others and slows them by no more than the set share."""


Request = GenerateRequest | ScoreRequest | ExtractRequest


# --- answers -----------------------------------------------------------------------------------------------------


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


Event = Token | Completed | ScoreResult | SentenceActivations


# --- the model, described ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """A site the model offers: name, width, and the module end that carries it."""

    name: str
    width: int
    module: str


@dataclass(frozen=True, slots=True)
class RefusedSite:
    """A site the model does not offer, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module that "module:{path}.input" or ".output" can name; width 0: not known or without a token axis."""

    path: str
    type: str
    input_width: int
    output_width: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for, and what the engine holds at most. Exceeding a limit is refused by name."""

    context_tokens: int = 0
    """Prompt and new tokens together; 0: as many as the model was made for."""
    interventions: int = 1024
    edited_neurons: int = 1_000_000
    score_items: int = 4096
    sentences: int = 16384
    stop_strings: int = 16
    top_logprobs: int = 20
    capture_bytes: int = 1 << 30
    request_tokens: int = 250_000
    message_bytes: int = 64 << 20
    running: int = 16
    """Generations decoding side by side."""
    queued_tokens: int = 1_000_000
    """Tokens of all admitted requests that have not finished; more is refused at once."""
    batch_tokens: int = 512
    """Tokens of one forward pass when nobody is decoding."""
    prefill_tokens: int = 128
    """Prompt tokens that join a forward pass in which others decode: what they wait for it."""
    cache_tokens: int = 65_536
    """Token slots of the key-value cache; what a generation may need of it is reserved when it starts."""
    buffered_bytes: int = 64 << 20
    """Activations an extraction may be ahead of a slow reader; beyond it, the extraction waits."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model as GetModel shows it."""

    name: str
    architecture: str
    family: str
    is_decoder: bool
    digest: str
    dtype: str
    device: str
    layers: int
    hidden_size: int
    vocabulary_size: int
    parameters: int
    context_tokens: int
    sites: tuple[SiteInfo, ...]
    refused_sites: tuple[RefusedSite, ...]
    modules: tuple[ModuleInfo, ...]
    packed: bool
    load_seconds: float


# --- what the engine tells about itself --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepReport:
    """One pass: seconds it took, rows that decoded, prompt tokens that joined, tokens generated, positions edited."""

    seconds: float
    decode_rows: int
    prefill_tokens: int
    new_tokens: int
    positions_edited: int


@dataclass(frozen=True, slots=True)
class Load:
    """What the engine holds at this moment."""

    waiting_requests: int
    running_requests: int
    queued_tokens: int
    active_interventions: int


class Observer:
    """Told what happens in the engine, on the engine's thread. The base class ignores it all."""

    def on_step(self, report: StepReport) -> None:
        """A forward pass ended."""

    def on_start(self, waited: float) -> None:
        """A request got its first forward pass after `waited` seconds in the queue."""
