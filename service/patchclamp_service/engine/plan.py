"""From interventions to numbers: what happens to which neuron at which token. No tensors.

Every edit of single neurons is x → clip(s·x + b, lo, hi). The family is closed under composition, so consecutive
edits of a site fold into four float32 numbers a neuron. A `Plan` answers, for some tokens of a sequence, which of its
edits are active where; tokens with the same active edits share a `Variant`, whose stages are folded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .errors import EngineFailure
from .requests import (
    Ablate,
    Add,
    AppliedEdit,
    Clip,
    Condition,
    Edit,
    Floats,
    Intervention,
    MoveTo,
    Positions,
    ProjectOut,
    Receipt,
    Scale,
    Set,
)

__all__ = ["WHOLE_FROM", "Counts", "Mask", "Plan", "Stage", "Variant", "Vocabulary"]

WHOLE_FROM = 0.2
"""Measured by `make bench ARGS=edits`: from this part of a row's neurons on, computing the whole row is cheaper."""

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """What positions need to know of the tokenizer."""

    special: Mask
    """[vocabulary]: whether a token is special."""
    ids_of: Callable[[str], Integers]
    """The tokens that decode to a text."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One operation on some neurons of a site: a folded edit of single neurons, or the removal of a direction."""

    edits: tuple[int, ...]
    indices: Integers
    scale: Floats
    offset: Floats
    low: Floats
    high: Floats
    gate: Condition | None = None
    direction: Floats | None = None
    whole: tuple[Floats, Floats, Floats, Floats] | None = None
    """The four numbers for all neurons of the site, neutral for those left alone, where many are edited."""

    @property
    def constant(self) -> Mask:
        """Neurons whose result does not depend on their value: written, never computed, so that 0·∞ is 0."""
        constant: Mask = (self.low == self.high) | (self.scale == 0)
        return constant


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """The stages of every site for tokens at which the same edits are active."""

    active: tuple[int, ...]
    stages: Mapping[str, tuple[Stage, ...]]


class _Fold:
    """Edits of a site under composition: four numbers for each of its neurons."""

    def __init__(self, width: int, gate: Condition | None) -> None:
        self.gate = gate
        self.edits: list[int] = []
        self.touched = np.zeros(width, dtype=bool)
        self.scale = np.ones(width, dtype=np.float32)
        self.offset = np.zeros(width, dtype=np.float32)
        self.low = np.full(width, -np.inf, dtype=np.float32)
        self.high = np.full(width, np.inf, dtype=np.float32)

    def then(self, number: int, at: Integers, edit: Edit) -> None:
        """Composes with one more edit of the neurons `at`."""
        scale, offset, low, high = _numbers(edit, len(at))
        with np.errstate(over="ignore", invalid="ignore"):
            ends = np.stack([_affine(scale, end, offset) for end in (self.low[at], self.high[at])])
            self.low[at] = np.clip(ends.min(0), low, high)
            self.high[at] = np.clip(ends.max(0), low, high)
            self.offset[at] = _affine(scale, self.offset[at], offset)
            self.scale[at] = self.scale[at] * scale
        flat = self.scale[at] == 0
        settled = np.clip(self.offset[at], self.low[at], self.high[at])[flat]
        for numbers in (self.offset, self.low, self.high):
            numbers[at[flat]] = settled
        self.touched[at] = True
        self.edits.append(number)

    def stage(self) -> Stage:
        at = np.flatnonzero(self.touched)
        numbers = (self.scale, self.offset, self.low, self.high)
        whole = numbers if len(at) >= WHOLE_FROM * len(self.touched) else None
        scale, offset, low, high = (part[at] for part in numbers)
        return Stage(tuple(self.edits), at, scale, offset, low, high, gate=self.gate, whole=whole)


def _affine(scale: Floats, value: Floats, offset: Floats) -> Floats:
    # 0·∞ is 0 here: what is multiplied by 0 no longer has bounds.
    return np.where(scale == 0, offset, scale * value + offset).astype(np.float32)


def _numbers(edit: Edit, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Scale, offset, low and high of an edit, one of each per neuron."""
    scale, offset, low, high, share = 1.0, 0.0, -np.inf, np.inf, 1.0
    values: tuple[float, ...] = ()
    match edit:
        case Ablate():
            scale = low = high = 0.0
        case Set(values):
            scale = 0.0
        case MoveTo(values, weight):
            scale, share = 1.0 - weight, weight
        case Scale(factor):
            scale = factor
        case Add(values):
            pass
        case Clip(bound_low, bound_high):
            low = -np.inf if bound_low is None else bound_low
            high = np.inf if bound_high is None else bound_high
        case _:
            raise EngineFailure(f"{type(edit).__name__} does not fold")
    offsets = np.float32(share) * np.asarray(values if values else [offset], dtype=np.float32)
    numbers = [np.broadcast_to(np.asarray(number, dtype=np.float32), count) for number in (scale, offsets, low, high)]
    if not scale:
        numbers[2] = numbers[3] = numbers[1]
    return numbers[0], numbers[1], numbers[2], numbers[3]


@dataclass(slots=True)
class Counts:
    """How often the variants of a plan were used by one request; becomes its receipt."""

    uses: dict[Variant, int] = field(default_factory=dict)
    fired: dict[int, int] = field(default_factory=dict)
    """Positions at which the condition of an edit held."""

    def use(self, variant: Variant, tokens: int) -> None:
        """A variant was applied at so many tokens."""
        self.uses[variant] = self.uses.get(variant, 0) + tokens

    def fire(self, edits: Sequence[int], positions: int) -> None:
        """The condition of some edits held at so many positions."""
        for edit in edits:
            self.fired[edit] = self.fired.get(edit, 0) + positions


class Plan:
    """The interventions of a request, ready to be asked about tokens.

    `widths` gives the width of each site that is edited. `sides` says, of an encoder-decoder, which sites read the
    prompt (True) and which what is generated. Interventions must have been checked against the model: indices in
    range, values one or as many as the neurons, no `Patch` left unresolved.
    """

    def __init__(
        self,
        interventions: Sequence[Intervention],
        widths: Mapping[str, int],
        vocabulary: Vocabulary,
        sides: Mapping[str, bool] | None = None,
    ) -> None:
        self.interventions = tuple(interventions)
        self.sites = tuple(dict.fromkeys(edit.site for edit in self.interventions))
        self.gate_sites = tuple(dict.fromkeys(edit.condition.site for edit in self.interventions if edit.condition))
        self._widths = widths
        self._vocabulary = vocabulary
        self._sides = sides or {}
        self._indices = [
            np.asarray(edit.indices, dtype=np.int64) if edit.indices else np.arange(widths[edit.site])
            for edit in self.interventions
        ]
        self._tokens = [
            np.concatenate([vocabulary.ids_of(text) for text in edit.positions.tokens] or [np.empty(0, np.int64)])
            for edit in self.interventions
        ]
        self._variants: dict[bytes, Variant] = {}
        self._by_token = any(
            edit.positions.tokens or edit.positions.exclude_special_tokens for edit in self.interventions
        )
        self._everywhere = not self._sides and all(
            edit.positions.everywhere and not edit.positions.exclude_special_tokens for edit in self.interventions
        )
        self._generated: Variant | None = None

    def __bool__(self) -> bool:
        return bool(self.interventions)

    @property
    def everywhere(self) -> bool:
        """Whether every edit applies at every position."""
        return self._everywhere

    def indices(self, number: int) -> Integers:
        """The neurons of one intervention."""
        return self._indices[number]

    def active_when_generated(self) -> Mask:
        """[interventions, kinds of tokens]: which edits can select a generated token."""
        special = np.flatnonzero(self._vocabulary.special)
        listed = np.unique(np.concatenate([*self._tokens, special]))
        other = np.setdiff1d(np.arange(len(self._vocabulary.special)), listed)[:1]
        return self.active(np.concatenate([listed, other]).tolist(), 0, 0)

    @property
    def edited_neurons(self) -> int:
        """Neurons edited, added up over the interventions."""
        return sum(len(indices) for indices in self._indices)

    def at(self, ids: Sequence[int], position: int, prompt_length: int) -> list[tuple[Variant, Integers | None]]:
        """Variants of some consecutive tokens and where each applies (None: at all of them); the first token stands
        at `position`. Tokens without an active edit are left out."""
        if not self.interventions:
            return []
        if self._everywhere:
            return [(self._variant(np.ones(len(self.interventions), dtype=bool)), None)]
        if len(ids) == 1 and position >= prompt_length and not self._by_token:
            self._generated = self._generated or self._variant(self.active(ids, position, prompt_length)[:, 0])
            return [(self._generated, None)] if self._generated.active else []
        active = self.active(ids, position, prompt_length)
        if (active == active[:, :1]).all():
            variant = self._variant(active[:, 0])
            return [(variant, None)] if variant.active else []
        columns, inverse = np.unique(active, axis=1, return_inverse=True)
        found = ((self._variant(columns[:, k]), np.flatnonzero(inverse.ravel() == k)) for k in range(columns.shape[1]))
        return [(variant, where) for variant, where in found if variant.active]

    def active(self, ids: Sequence[int], position: int, prompt_length: int) -> Mask:
        """[interventions, tokens]: which edits select which tokens, conditions aside."""
        tokens = np.asarray(ids, dtype=np.int64)
        places = np.arange(position, position + len(tokens))
        rows = [
            self._selects(number, edit.positions, tokens, places, prompt_length)
            for number, edit in enumerate(self.interventions)
        ]
        return np.stack(rows)

    def _selects(
        self, number: int, positions: Positions, tokens: Integers, places: Integers, prompt_length: int
    ) -> Mask:
        in_prompt = places < prompt_length
        selected = np.full(len(tokens), positions.everywhere)
        if positions.prompt:
            selected |= in_prompt
        if positions.generated:
            selected |= ~in_prompt
        if positions.indices:
            wanted = np.asarray(positions.indices)
            selected |= np.isin(places, np.where(wanted < 0, wanted + prompt_length, wanted)) & in_prompt
        if positions.tokens:
            selected |= np.isin(tokens, self._tokens[number])
        if positions.exclude_special_tokens:
            selected &= ~self._vocabulary.special[tokens]
        reads_prompt = self._sides.get(self.interventions[number].site)
        if reads_prompt is not None:
            selected &= in_prompt if reads_prompt else ~in_prompt
        return selected

    def _variant(self, active: Mask) -> Variant:
        key = active.tobytes()
        if key not in self._variants:
            self._variants[key] = self._folded(tuple(int(number) for number in np.flatnonzero(active)))
        return self._variants[key]

    def _folded(self, active: tuple[int, ...]) -> Variant:
        stages: dict[str, list[Stage | _Fold]] = {}
        for number in active:
            edit = self.interventions[number]
            on_site = stages.setdefault(edit.site, [])
            if isinstance(edit.edit, ProjectOut):
                on_site.append(_projection(number, edit, edit.edit.direction))
                continue
            last = on_site[-1] if on_site else None
            if not (isinstance(last, _Fold) and _may_join(last, edit)):
                last = _Fold(self._widths[edit.site], edit.condition)
                on_site.append(last)
            last.then(number, self._indices[number], edit.edit)
        return Variant(
            active,
            {
                site: tuple(stage.stage() if isinstance(stage, _Fold) else stage for stage in on_site)
                for site, on_site in stages.items()
            },
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical edits, lowercase hex; empty without edits. Equal edits have equal digests however
        they were written: an ablation is a set to 0, neurons may come in any order."""
        if not self.interventions:
            return ""
        digest = hashlib.sha256()
        for number, edit in enumerate(self.interventions):
            digest.update(repr((edit.site, _canonical(edit.positions), edit.condition)).encode())
            if isinstance(edit.edit, ProjectOut):
                digest.update(b"project" + np.ascontiguousarray(edit.edit.direction).tobytes())
                continue
            fold = _Fold(self._widths[edit.site], None)
            fold.then(0, self._indices[number], edit.edit)
            stage = fold.stage()
            for numbers in (stage.indices, stage.scale, stage.offset, stage.low, stage.high):
                # Adding 0 makes −0 a 0.
                digest.update(b"," + (numbers + 0).tobytes())
        return digest.hexdigest()

    def receipt(self, counts: Counts) -> Receipt:
        """What was done, from what a request counted."""
        edits = [AppliedEdit() for _ in self.interventions]
        for variant, tokens in counts.uses.items():
            for number in variant.active:
                if self.interventions[number].condition is None:
                    edits[number].positions_edited += tokens
        for number, positions in counts.fired.items():
            edits[number].positions_edited += positions
            edits[number].gate_firings += positions
        return Receipt(self.digest, tuple(edits))


def _may_join(fold: _Fold, edit: Intervention) -> bool:
    """Whether an edit can fold into those before it: the same gate, read from a neuron they leave alone."""
    gate = edit.condition
    if gate != fold.gate:
        return False
    return gate is None or gate.site != edit.site or not fold.touched[gate.index]


def _projection(number: int, edit: Intervention, direction: Floats) -> Stage:
    none = np.empty(0, dtype=np.float32)
    indices = np.empty(0, dtype=np.int64)
    return Stage((number,), indices, none, none, none, none, gate=edit.condition, direction=direction)


def _canonical(positions: Positions) -> tuple[object, ...]:
    return (
        positions.prompt,
        positions.generated,
        tuple(sorted(set(positions.indices))),
        tuple(sorted(set(positions.tokens))),
        positions.exclude_special_tokens,
    )
