"""Reads interventions from text: `scale layers.3.heads[0:64] 0.5 @prompt`.

    EDIT NEURONS ARGUMENTS [POSITIONS] [CONDITION]

    ablate       NEURONS
    set          NEURONS VALUE…            one for all, or one each
    scale        NEURONS FACTOR
    add          NEURONS OFFSET…           one for all, or one each
    clip         NEURONS MIN MAX           -inf or inf: no bound
    set_to_mean  NEURONS ACTIVATION_SET [LABEL [WEIGHT]]
    patch        NEURONS "SOURCE TEXT" [POSITION]
    project_out  SITE VALUE…               one a neuron of the site

    POSITIONS    @prompt  @generated  @indices[0,-1]  @tokens[" she"," he"]  @no-special  @all
    CONDITION    when NEURON > BOUND   when NEURON < BOUND   when NEURON > BOUND < BOUND

Strings are quoted as in JSON; those without blanks can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patchclamp import _interventions as edits
from patchclamp._interventions import Intervention
from patchclamp._positions import Condition, Positions
from patchclamp._words import Words

__all__ = ["parse_intervention"]


def parse_intervention(text: str) -> Intervention:
    """Reads what `str(intervention)` prints; nothing is lost on the way there and back.

    >>> parse_intervention("scale layers.3.heads[0:64] 0.5 @prompt")
    parse_intervention('scale layers.3.heads[0:64] 0.5 @prompt')

    Raises:
        NotationError: The text is no intervention; says where and what would be right.
    """
    words = Words(text)
    make = EDITS[words.choice("an edit", EDITS)]
    intervention = make(words).to_proto()
    positions, condition = _positions(words), _condition(words)
    if positions is not None:
        intervention.positions.CopyFrom(positions.to_proto())
    if condition is not None:
        intervention.condition.CopyFrom(condition.to_proto())
    if not words.at_end():
        raise words.error("the intervention should end here, or go on with '@prompt', '@generated', … or 'when …'")
    return Intervention(intervention)


def _clip(words: Words) -> Intervention:
    neurons = words.neurons()
    lower = words.number("the lower bound (-inf: none)", infinite=True)
    upper = words.number("the upper bound (inf: none)", infinite=True)
    return edits.clip(
        neurons,
        min=None if lower == float("-inf") else lower,
        max=None if upper == float("inf") else upper,
    )


def _set_to_mean(words: Words) -> Intervention:
    neurons, activation_set = words.neurons(), words.string("the name of an activation set")
    label = "" if words.at_suffix() else words.string("a label")
    weight = 1.0 if words.at_suffix() else words.number("a weight")
    return edits.set_to_mean(neurons, activation_set, label=label, weight=weight)


def _patch(words: Words) -> Intervention:
    neurons, source_text = words.neurons(), words.string("the source text, in double quotes")
    return edits.patch(
        neurons, source_text, -1 if words.at_suffix() else words.integer("a position in the source text")
    )


EDITS: dict[str, Callable[[Words], Intervention]] = {
    "ablate": lambda words: edits.ablate(words.neurons()),
    "set": lambda words: edits.set_(words.neurons(), words.numbers("a value")),
    "scale": lambda words: edits.scale(words.neurons(), words.number("a factor")),
    "add": lambda words: edits.add(words.neurons(), words.numbers("an offset")),
    "clip": _clip,
    "set_to_mean": _set_to_mean,
    "patch": _patch,
    "project_out": lambda words: edits.project_out(words.neurons(), words.numbers("a value of the direction")),
}


def _positions(words: Words) -> Positions | None:
    """The words that start with @, joined; None where there is none."""
    chosen: dict[str, Any] = {}
    found = False
    while words.next_starts_with("@"):
        found = True
        name, values = words.selector()
        match name:
            case "prompt" | "generated":
                chosen[name] = True
            case "indices" | "tokens":
                chosen[name] = (*chosen.get(name, ()), *values)
            case "no-special":
                chosen["exclude_special_tokens"] = True
    return Positions(**chosen) if found else None


def _condition(words: Words) -> Condition | None:
    if not words.skip("when"):
        return None
    neuron = words.neurons()
    above = words.number("a bound") if words.skip(">") else None
    below = words.number("a bound") if words.skip("<") else None
    if above is None and below is None:
        raise words.error("'>' or '<' and a bound: 'when layers.2.neurons[7] > 1'")
    return Condition(neuron, above=above, below=below)
