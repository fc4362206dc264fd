"""Reads rules from text: `kind=number:regex:[0-9]+`.

    LAYER=LABEL:KIND[/i][/word][/sentence][:ARGUMENT]

    kind=number:regex:[0-9]+        all of the word matches a pattern of RE2
    kind=digits:search:[0-9]        a part of the word does
    colour=yes:words:red,green      one of these words
    form=ing:affix:-ing             ends so; un- begins so; several: un-,in-,-able
    size=long:length:8-             so many characters: 4, 3-5, 8-, -2
    place=last:position:0,-1        places in the sentence, from 0; negative: from its end
    case=caps:casing:upper          lower, upper, title, mixed or none
    kind=other:otherwise            no earlier rule of the layer fits

/i, for words and affixes: upper and lower case are the same (in a pattern: (?i)). /word, /sentence: what is labelled.
A rule with ':' in its label or ',' in a word is written in JSON.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import cast

from google.protobuf import json_format

from patchclamp import _rules
from patchclamp._exceptions import NotationError
from patchclamp._rules import CasingName, LevelName, Rule
from patchclamp.v1 import corpora_pb2

__all__ = ["from_json", "parse"]

RULE = re.compile(
    r"(?P<layer>[^=:]+)=(?P<label>[^:]+):(?P<kind>[^:/]+)(?P<flags>(?:/[^:/]+)*)(?::(?P<argument>.*))?", re.DOTALL
)
KINDS = ("regex", "search", "words", "affix", "length", "position", "casing", "otherwise")
WITH_CASE = ("words", "affix")
LENGTH = re.compile(r"(?P<exactly>[1-9][0-9]{0,8})|(?P<min>[0-9]{0,9})-(?P<max>[0-9]{0,9})")
PLACES = re.compile(r"-?[0-9]{1,9}(?:,-?[0-9]{1,9})*")


def parse(text: str) -> Rule:
    """Reads a rule.

    >>> parse("kind=number:regex:[0-9]+")
    Rule(layer: "kind" label: "number" regex { pattern: "[0-9]+" })

    Raises:
        NotationError: The text is no rule; says where and what would be right.
    """
    match = RULE.fullmatch(text)
    if match is None:
        raise NotationError("a rule is LAYER=LABEL:KIND:ARGUMENT, as 'kind=number:regex:[0-9]+'", text, 1)
    kind, flags = match["kind"], match["flags"].split("/")[1:]
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise NotationError(f"{kind!r} is not one of {', '.join(KINDS)}{hint}", text, match.start("kind") + 1)
    allowed = ("word", "sentence", "i") if kind in WITH_CASE else ("word", "sentence")
    for flag in flags:
        if flag not in allowed:
            wanted = ", ".join(f"/{name}" for name in allowed)
            raise NotationError(f"after {kind!r} can stand {wanted}, not /{flag}", text, match.start("flags") + 1)
    if bool(match["argument"]) == (kind == "otherwise"):
        wanted = "nothing may follow" if kind == "otherwise" else "':' and an argument must follow"
        raise NotationError(f"after {kind!r} {wanted}", text, match.end("flags") + 1)
    levels = [cast("LevelName", flag) for flag in flags if flag != "i"]
    if len(levels) > 1:
        raise NotationError("/word and /sentence exclude each other", text, match.start("flags") + 1)
    try:
        return _rule(match, levels[0] if levels else None, "i" in flags)
    except ValueError as error:
        raise NotationError(str(error), text, match.start("argument") + 1) from None


def from_json(text: str) -> list[Rule]:
    """Reads a JSON list: each item an `AnnotationRule` message in protobuf's JSON, or a string in the notation.

    Raises:
        NotationError: It is no such list; says which item is wrong.
    """
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise NotationError(f"this is no JSON: {error.msg}", text, error.pos + 1) from None
    if not isinstance(items, list):
        raise NotationError("a JSON list of rules is wanted", text, 1)
    return [_of_item(number, item) for number, item in enumerate(items)]


def _rule(match: re.Match[str], level: LevelName | None, ignore_case: bool) -> Rule:
    layer, label, argument = match["layer"], match["label"], match["argument"]
    items = (argument or "").split(",")
    match match["kind"]:
        case "regex" | "search" as kind:
            return _rules.regex(layer, label, argument, search=kind == "search", level=level)
        case "words":
            if "" in items:
                raise ValueError("there is an empty word in the list")
            return _rules.vocabulary(layer, label, items, ignore_case=ignore_case, level=level)
        case "affix":
            prefixes, suffixes = _affixes(items)
            return _rules.affix(
                layer, label, prefixes=prefixes, suffixes=suffixes, ignore_case=ignore_case, level=level
            )
        case "length":
            least, most = _bounds(argument)
            return _rules.length(layer, label, min=least, max=most, level=level)
        case "position":
            if not PLACES.fullmatch(argument):
                raise ValueError(f"{argument!r} is no list of places, as '0' or '0,-1'")
            return _rules.position(layer, label, map(int, items), level=level)
        case "casing":
            return _rules.casing(layer, label, cast("CasingName", argument), level=level)
    return _rules.otherwise(layer, label, level=level)


def _affixes(items: list[str]) -> tuple[list[str], list[str]]:
    """Beginnings and endings, without their hyphens."""
    for item in items:
        if len(item) < 2 or item.startswith("-") == item.endswith("-"):
            raise ValueError(f"{item!r} is no affix; '-ing' is an ending, 'un-' a beginning")
    return [item[:-1] for item in items if item.endswith("-")], [item[1:] for item in items if item.startswith("-")]


def _bounds(argument: str) -> tuple[int, int]:
    found = LENGTH.fullmatch(argument)
    if found is None or argument == "-":
        raise ValueError(f"{argument!r} is no length; '4' is one, '3-5', '8-' and '-2' are others")
    if found["exactly"]:
        return int(found["exactly"]), int(found["exactly"])
    return int(found["min"] or 0), int(found["max"] or 0)


def _of_item(number: int, item: object) -> Rule:
    if isinstance(item, str):
        return parse(item)
    message = corpora_pb2.AnnotationRule()
    try:
        if not isinstance(item, dict):
            raise NotationError(f"item {number} is no object and no string", json.dumps(item), 1)
        json_format.ParseDict(item, message)
    except json_format.ParseError as error:
        raise NotationError(f"item {number} is no rule: {error}", json.dumps(item), 1) from None
    return Rule(message)
