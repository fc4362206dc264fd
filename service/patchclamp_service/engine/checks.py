"""Checking interventions against a model: what cannot be applied as written is refused before any work."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .errors import InvalidRequest
from .plan import Mask, Plan, Vocabulary
from .requests import Add, Clip, Condition, Intervention, Limits, MoveTo, Positions, ProjectOut, Scale, Set
from .site_map import Site, SiteMap

# Interventions with positions × tokens, and × distinct combinations × neurons: about a second of work each.
_MOST_WORK = 20_000_000

__all__ = ["check_patch", "check_texts", "checked_plan"]


def checked_plan(interventions: Sequence[Intervention], sites: SiteMap, vocabulary: Vocabulary, limits: Limits) -> Plan:
    """The plan of some interventions. InvalidRequest names the field of the first that is wrong."""
    if len(interventions) > limits.interventions:
        raise InvalidRequest(
            f"{len(interventions)} interventions are more than the limit interventions = {limits.interventions}",
            reason="LIMIT_EXCEEDED",
            field="interventions",
        )
    found = [_check(edit, f"interventions[{number}]", sites, vocabulary) for number, edit in enumerate(interventions)]
    named = [with_names_of_sites(edit, sites) for edit in interventions]
    sides = {site.name: site.reads_prompt for site in found if site.side}
    plan = Plan(named, {site.name: site.width for site in found}, vocabulary, sides)
    if plan.edited_neurons > limits.edited_neurons:
        raise InvalidRequest(
            f"{plan.edited_neurons} edited neurons are more than the limit edited_neurons = {limits.edited_neurons}",
            reason="LIMIT_EXCEEDED",
            field="interventions",
        )
    return plan


def with_names_of_sites(edit: Intervention, sites: SiteMap) -> Intervention:
    """The same with the one name that a place goes by, where a module's end has a name of its own as a site."""
    condition = edit.condition and replace(edit.condition, site=sites.find(edit.condition.site, "condition").name)
    return replace(edit, site=sites.find(edit.site, "site").name, condition=condition)


def _check(edit: Intervention, field: str, sites: SiteMap, vocabulary: Vocabulary) -> Site:
    site = sites.find(edit.site, f"{field}.neurons.site")
    check_indices(edit.indices, site, f"{field}.neurons.indices")
    _check_edit(edit, site, field)
    if edit.condition:
        _check_condition(edit.condition, site, sites, f"{field}.condition")
    _check_positions(edit.positions, vocabulary, f"{field}.positions")
    return site


def check_indices(indices: Sequence[int], site: Site, field: str) -> None:
    """Indices are in range, each once."""
    given = np.asarray(indices, dtype=np.int64)
    if not len(given) or (given.min() >= 0 and given.max() < site.width and len(np.unique(given)) == len(given)):
        return
    seen: set[int] = set()
    for place, index in enumerate(indices):
        if not 0 <= index < site.width:
            raise InvalidRequest(
                f"index {index} is out of range: {site.name} has {site.width} neurons, 0 to {site.width - 1}",
                reason="INDEX_OUT_OF_RANGE",
                field=f"{field}[{place}]",
            )
        if index in seen:
            raise InvalidRequest(
                f"index {index} stands there twice", reason="DUPLICATE_INDEX", field=f"{field}[{place}]"
            )
        seen.add(index)


def check_patch(edit: Intervention, number: int, sites: SiteMap) -> None:
    """What must be right of a patch before its source is run."""
    site = sites.find(edit.site, f"interventions[{number}].neurons.site")
    check_indices(edit.indices, site, f"interventions[{number}].neurons.indices")
    if not site.reads_prompt:
        raise InvalidRequest(
            f"the source of a patch is a prompt, and {site.name} reads what is generated: patch a site of the encoder",
            reason="PATCH_OF_DECODER",
            field=f"interventions[{number}].patch",
        )


def _check_edit(edit: Intervention, site: Site, field: str) -> None:
    count = len(edit.indices) or site.width
    match edit.edit:
        case Set(values) | Add(values):
            name = type(edit.edit).__name__.lower()
            if len(values) not in (1, count):
                raise InvalidRequest(
                    f"{len(values)} values for {count} neurons: give one, or one per neuron",
                    reason="WRONG_LENGTH",
                    field=f"{field}.{name}.values",
                )
            _check_finite(values, f"{field}.{name}.values")
        case MoveTo(values, weight):
            _check_move(values, weight, count, f"{field}.set_to_mean")
        case Scale(factor):
            _check_finite([factor], f"{field}.scale.factor")
        case Clip(low, high):
            _check_finite([bound for bound in (low, high) if bound is not None], f"{field}.clip")
            if low is not None and high is not None and low > high:
                raise InvalidRequest(f"min {low} is above max {high}", reason="EMPTY_INTERVAL", field=f"{field}.clip")
        case ProjectOut(direction):
            _check_direction(direction, edit, site, field)
        case _:
            pass


def _check_move(values: Sequence[float], weight: float, count: int, field: str) -> None:
    if len(values) not in (1, count):
        raise InvalidRequest(f"{len(values)} means for {count} neurons", reason="WRONG_LENGTH", field=field)
    _check_finite(values, field)
    if not 0 < weight <= 1:
        raise InvalidRequest(
            f"weight {weight} is not above 0 and at most 1", reason="BAD_WEIGHT", field=f"{field}.weight"
        )


def _check_direction(
    direction: np.ndarray[tuple[int, ...], np.dtype[np.float32]], edit: Intervention, site: Site, field: str
) -> None:
    name = f"{field}.project_out.direction"
    if edit.indices:
        raise InvalidRequest(
            "a direction is removed from a whole site: give no indices",
            reason="INDICES_WITH_DIRECTION",
            field=f"{field}.neurons.indices",
        )
    if direction.shape != (site.width,):
        raise InvalidRequest(
            f"the direction has shape {list(direction.shape)}; {site.name} needs [{site.width}]",
            reason="WRONG_SHAPE",
            field=name,
        )
    _check_finite(direction, name)
    if not direction.any():
        raise InvalidRequest("the direction is the zero vector", reason="ZERO_DIRECTION", field=name)


def _check_finite(values: Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float32]], field: str) -> None:
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(values, dtype=np.float32))
    if not finite.all():
        place = int(np.argmin(finite))
        shown = f"{field}[{place}]" if field.endswith("values") else field
        raise InvalidRequest(f"{values[place]} is not a finite float32 number", reason="NOT_FINITE", field=shown)


def _check_condition(condition: Condition, edited: Site, sites: SiteMap, field: str) -> None:
    gate = sites.find(condition.site, f"{field}.neurons.site")
    check_indices([condition.index], gate, f"{field}.neurons.indices")
    if gate.side != edited.side:
        raise InvalidRequest(
            f"{gate.name} and {edited.name} read different tokens: a condition is about the token that is edited",
            reason="CONDITION_OF_OTHER_SIDE",
            field=f"{field}.neurons.site",
        )
    if gate.order > edited.order:
        raise InvalidRequest(
            f"{gate.name} comes after {edited.name} in the forward pass: its value is not known there yet",
            reason="CONDITION_TOO_LATE",
            field=f"{field}.neurons.site",
        )
    bounds = [bound for bound in (condition.above, condition.below) if bound is not None]
    if not bounds or not all(math.isfinite(bound) for bound in bounds):
        raise InvalidRequest("give above, below or both, finite", reason="BAD_CONDITION", field=field)
    if condition.above is not None and condition.below is not None and condition.above >= condition.below:
        raise InvalidRequest(
            f"no value is above {condition.above} and below {condition.below}", reason="EMPTY_INTERVAL", field=field
        )


def _check_positions(positions: Positions, vocabulary: Vocabulary, field: str) -> None:
    for place, text in enumerate(positions.tokens):
        if not len(vocabulary.ids_of(text)):
            raise InvalidRequest(
                f"no token of this model decodes to {text[:50]!r}; a word within a text begins with its blank",
                reason="UNKNOWN_TOKEN",
                field=f"{field}.tokens[{place}]",
            )


def check_texts(plan: Plan, texts: Sequence[tuple[Sequence[int], int]], *, grows: bool, part: bool = False) -> None:
    """Checks the positions of a plan against the texts of a request: (tokens that run, how many are the prompt).

    Refused: an index outside a prompt, positions that can select nothing, two sets of one neuron at one position.
    `grows`: more tokens will be generated and run. `part`: there are other texts too, in which edits may select.
    """
    _check_position_indices(plan, texts)
    _check_work(plan, sum(len(ids) for ids, _ in texts), "tokens")
    columns = _columns(plan, texts, grows=grows)
    _check_work(plan, columns.shape[1] * plan.edited_neurons // max(len(plan.interventions), 1), "edits that differ")
    for number, edit in enumerate(plan.interventions):
        if not (part or columns[number].any()):
            raise InvalidRequest(
                "these positions select no token of this request",
                reason="SELECTS_NOTHING",
                field=f"interventions[{number}].positions" if edit.positions != Positions() else "interventions",
            )
    _check_sets(plan, columns)


def _check_work(plan: Plan, units: int, what: str) -> None:
    """Positions are worked out edit by edit and token by token: what one request may cost is bounded."""
    selective = 0 if plan.everywhere else len(plan.interventions)
    if selective * units > _MOST_WORK:
        raise InvalidRequest(
            f"{selective} interventions with positions, times {units} {what}, are more than is worked out for one "
            f"request ({_MOST_WORK}): use fewer, or positions that are alike",
            reason="LIMIT_EXCEEDED",
            field="interventions",
        )


def _check_position_indices(plan: Plan, texts: Sequence[tuple[Sequence[int], int]]) -> None:
    shortest = min(prompt for _, prompt in texts)
    for number, edit in enumerate(plan.interventions):
        for place, index in enumerate(edit.positions.indices):
            if not -shortest <= index < shortest:
                raise InvalidRequest(
                    f"position {index} is out of range: the {'shortest ' * (len(texts) > 1)}prompt has {shortest} "
                    f"tokens, {-shortest} to {shortest - 1}",
                    reason="POSITION_OUT_OF_RANGE",
                    field=f"interventions[{number}].positions.indices[{place}]",
                )


def _columns(plan: Plan, texts: Sequence[tuple[Sequence[int], int]], *, grows: bool) -> Mask:
    """[interventions, kinds of tokens]: every combination of active edits that can come up."""
    if plan.everywhere:
        return np.ones((len(plan.interventions), 1), dtype=bool)
    parts = [np.unique(plan.active(ids, 0, prompt), axis=1) for ids, prompt in texts]
    if grows:
        parts.append(plan.active_when_generated())
    return np.unique(np.concatenate(parts, axis=1), axis=1)


def _check_sets(plan: Plan, columns: Mask) -> None:
    groups: dict[tuple[str, Condition | None], list[int]] = defaultdict(list)
    for number, edit in enumerate(plan.interventions):
        if isinstance(edit.edit, Set) or (isinstance(edit.edit, MoveTo) and edit.edit.weight == 1):
            groups[edit.site, edit.condition].append(number)
    for numbers in groups.values():
        neurons, counts = np.unique(np.concatenate([plan.indices(number) for number in numbers]), return_counts=True)
        shared = neurons[counts > 1]
        if not len(shared):
            continue
        sets = np.stack([np.isin(shared, plan.indices(number)) for number in numbers])
        met = (sets.T.astype(np.float32) @ columns[numbers].astype(np.float32)).max(1) > 1
        if met.any():
            place = int(np.argmax(met))
            setters = [number for row, number in enumerate(numbers) if sets[row, place]]
            raise InvalidRequest(
                f"interventions {setters[:5]} set {plan.interventions[setters[0]].site}[{shared[place]}] "
                "at the same position",
                reason="CONFLICTING_SETS",
                field=f"interventions[{setters[-1]}].{_arm(plan.interventions[setters[-1]])}",
            )


def _arm(edit: Intervention) -> str:
    return "set_to_mean" if isinstance(edit.edit, MoveTo) else "set"
