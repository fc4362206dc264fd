"""What is known of an extraction before it runs: its sites, its edits, and the rows of its sentences."""

from __future__ import annotations

from collections.abc import Sequence

from .checks import checked_plan
from .door import Door
from .requests import Intervention, Pooling, Prepared, SiteInfo, TokenRows
from .text import Content, Tokens

__all__ = ["check_sentence", "prepared", "token_rows"]


def prepared(door: Door, sites: Sequence[str], interventions: tuple[Intervention, ...]) -> Prepared:
    """Checks what can be checked without sentences. InvalidRequest names the field."""
    found = door.expand(sites, "sites")
    plan = checked_plan(interventions, door.sites, door.text.vocabulary, door.limits)
    infos = tuple(SiteInfo(site.name, site.width, f"{site.path}.{site.end}") for site in found)
    return Prepared(
        infos,
        of_sentences=any(site.reads_prompt for site in found),
        of_targets=not all(site.reads_prompt for site in found),
        interventions=interventions,
        digest=plan.digest,
        tokenizer=door.text.identity,
    )


def check_sentence(door: Door, content: Content, *, target: bool = False) -> None:
    """InvalidRequest if a sentence, or what a decoder reads, cannot be run."""
    # Of all poolings this one has the least to work out.
    _tokens(door, content, Pooling.SENTENCE_AVERAGE, target=target)


def token_rows(door: Door, content: Content, *, include_special: bool, target: bool = False) -> TokenRows:
    """The rows of a sentence, or of what a decoder reads, without pooling. InvalidRequest if it cannot be run."""
    tokens = _tokens(door, content, Pooling.NONE, include_special=include_special, target=target)
    if not isinstance(content, tuple):
        return TokenRows(tokens.names, (-1,) * len(tokens.names))
    owners: dict[int, int] = {}
    for word, places in enumerate(_tokens(door, content, Pooling.AVERAGE, target=target).rows):
        for place in places:
            owners.setdefault(place, word)  # a token of two words counts for the first
    return TokenRows(tokens.names, tuple(owners.get(places[0], -1) for places in tokens.rows))


def _tokens(door: Door, content: Content, pooling: Pooling, *, include_special: bool = False, target: bool) -> Tokens:
    read = door.text.target if target else door.text.read
    tokens = read(content, pooling, include_special=include_special)
    door.check_sentence(tokens.ids, "sentences[0].target" if target else "sentences[0]")
    return tokens
