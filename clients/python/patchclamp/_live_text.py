"""Text that a model reads while the request waits, instead of an activation set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from patchclamp._activation_sets import ActivationSet
from patchclamp._activations import AggregationName, aggregation_value
from patchclamp._intervention_lists import Interventions, flatten
from patchclamp._resources import name_of
from patchclamp._sentences import SentenceLike, to_sentences
from patchclamp.v1 import analysis_pb2

__all__ = ["LiveTextLike", "live_text", "set_or_text"]

# A text, the words of a sentence, or several sentences.
LiveTextLike: TypeAlias = str | Iterable[SentenceLike]


def set_or_text(activation_set: str | ActivationSet | None, text: LiveTextLike | None) -> str:
    """The name of the set; empty where there is a text instead.

    Raises:
        ValueError: Both are given, or neither.
    """
    name = "" if activation_set is None else name_of(activation_set)
    if bool(name) == (text is not None):
        raise ValueError("give an activation set or a text" + (", not both" if name else ""))
    return name


def live_text(
    text: LiveTextLike | None,
    model: str,
    aggregation: AggregationName | None,
    interventions: Interventions,
    intervention_sets: Sequence[str],
) -> analysis_pb2.LiveText | None:
    """The wire's form; None without a text.

    Raises:
        ValueError: There is no text, and something that is for one; or the text is empty, or its strings might be words
            as well as texts.
    """
    given = analysis_pb2.LiveText(
        model=model,
        sentences=[] if text is None else to_sentences(_sentences(text)),
        aggregation=aggregation_value(aggregation),
        interventions=flatten(interventions),
        intervention_sets=intervention_sets,
    )
    if text is None:
        if given.ByteSize():
            names = ", ".join(field.name for field, _ in given.ListFields())
            raise ValueError(f"{names}: only for a text; an activation set was made with its own")
        return None
    if not given.sentences:
        raise ValueError("the text has no sentences")
    return given


def _sentences(text: LiveTextLike) -> list[SentenceLike]:
    """A list of strings is one sentence's words if none has a blank, and texts if all have one."""
    if isinstance(text, str):
        return [text]
    given = list(text)
    strings = [each for each in given if isinstance(each, str)]
    if not strings or len(strings) < len(given):
        return given
    texts = [each for each in strings if len(each.split()) > 1]
    if not texts:
        return [strings]
    if len(texts) < len(strings):
        raise ValueError(
            f"text has strings with blanks ({texts[0]!r}) and without: give words as a list in a list, [[…]], and "
            "texts of one word as such lists too"
        )
    return given
