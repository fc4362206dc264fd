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


# --- the model, described ----------------------------------------------------------------------------------------


class ModelKind(enum.Enum):
    """How a model reads: forwards only, both ways, or with an encoder for the prompt and a decoder for what follows."""

    DECODER = "decoder"
    ENCODER = "encoder"
    ENCODER_DECODER = "encoder_decoder"


class Head(enum.Enum):
    """What sits on top of a model, and so what it can do beside extraction."""

    NONE = "none"
    LANGUAGE = "language"
    MASKED_LANGUAGE = "masked_language"
    SEQUENCE_CLASSIFICATION = "sequence_classification"
    TOKEN_CLASSIFICATION = "token_classification"  # noqa: S105


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
    """Prompt and new tokens together, of an encoder-decoder each for itself; 0: as many as the model was made for."""
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
    kind: ModelKind
    head: Head
    labels: tuple[str, ...]
    """Labels of a classification head, by index."""
    mask_token: str
    """What FillMask fills; empty: the model has none."""
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

    @property
    def is_decoder(self) -> bool:
        """Whether it reads forwards only."""
        return self.kind is ModelKind.DECODER


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
