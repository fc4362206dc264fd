"""Rules: what each puts on the wire, and their notation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format, text_format
from patchclamp import NotationError, Rule, rules
from patchclamp.v1 import corpora_pb2

CASES: list[tuple[Rule, str, str]] = [
    (rules.regex("k", "n", "[0-9]+"), 'regex { pattern: "[0-9]+" }', "k=n:regex:[0-9]+"),
    (rules.regex("k", "n", "a:b/i"), 'regex { pattern: "a:b/i" }', "k=n:regex:a:b/i"),
    (
        rules.regex("k", "n", "x\ny", search=True, level="sentence"),
        'regex { pattern: "x\\ny" search: true } level: LABEL_LEVEL_SENTENCE',
        "k=n:search/sentence:x\ny",
    ),
    (rules.vocabulary("k", "n", ["a", "b c"]), 'vocabulary { words: ["a", "b c"] }', "k=n:words:a,b c"),
    (
        rules.vocabulary("k", "n", ("a",), ignore_case=True, level="word"),
        'vocabulary { words: "a" ignore_case: true } level: LABEL_LEVEL_WORD',
        "k=n:words/i/word:a",
    ),
    (
        rules.affix("k", "n", prefixes=["un", "in"], suffixes=["able"]),
        'affix { prefixes: ["un", "in"] suffixes: "able" }',
        "k=n:affix:un-,in-,-able",
    ),
    (
        rules.affix("k", "n", suffixes=["-s"], ignore_case=True),
        'affix { suffixes: "-s" ignore_case: true }',
        "k=n:affix/i:--s",
    ),
    (rules.length("k", "n", min=4, max=4), "length { min: 4 max: 4 }", "k=n:length:4"),
    (rules.length("k", "n", min=3, max=5), "length { min: 3 max: 5 }", "k=n:length:3-5"),
    (rules.length("k", "n", min=8), "length { min: 8 }", "k=n:length:8-"),
    (rules.length("k", "n", max=2), "length { max: 2 }", "k=n:length:-2"),
    (rules.position("k", "n", -1), "position { indices: -1 }", "k=n:position:-1"),
    (rules.position("k", "n", [0, 2]), "position { indices: [0, 2] }", "k=n:position:0,2"),
    (rules.casing("k", "n", "upper"), "casing { kind: CASING_KIND_UPPER }", "k=n:casing:upper"),
    (rules.otherwise("k", "n"), "otherwise {}", "k=n:otherwise"),
    (rules.otherwise("a.b-c", "x y/z="), "otherwise {}", "a.b-c=x y/z=:otherwise"),
]


@pytest.mark.parametrize(("rule", "wire", "notation"), CASES, ids=[case[2] for case in CASES])
def test_each_rule_and_its_notation(rule: Rule, wire: str, notation: str) -> None:
    layer, label = rule.to_proto().layer, rule.to_proto().label
    wanted = corpora_pb2.AnnotationRule(layer=layer, label=label)
    assert rule.to_proto() == text_format.Parse(wire, wanted)
    assert rules.parse(notation) == rule
    assert notation.startswith(f"{layer}={label}:")


@pytest.mark.parametrize(
    ("notation", "column", "says"),
    [
        ("", 1, "LAYER=LABEL:KIND"),
        ("number:regex:x", 1, "LAYER=LABEL:KIND"),
        ("k=n", 1, "LAYER=LABEL:KIND"),
        ("=n:regex:x", 1, "LAYER=LABEL:KIND"),
        ("k=:regex:x", 1, "LAYER=LABEL:KIND"),
        ("k=n:regexp:x", 5, "did you mean 'regex'?"),
        ("k=n:nonsense:x", 5, "is not one of regex, search, words"),
        ("k=n:regex/i:x", 10, "after 'regex' can stand /word, /sentence, not /i"),
        ("k=n:words/s:x", 10, "after 'words' can stand /word, /sentence, /i, not /s"),
        ("k=n:words/word/sentence:x", 10, "/word and /sentence exclude each other"),
        ("k=n:regex", 10, "':' and an argument must follow"),
        ("k=n:regex:", 10, "':' and an argument must follow"),
        ("k=n:otherwise:x", 14, "nothing may follow"),
        ("k=n:words:a,,b", 11, "there is an empty word"),
        ("k=n:affix:ing", 11, "'ing' is no affix"),
        ("k=n:affix:-ing-", 11, "'-ing-' is no affix"),
        ("k=n:affix:-", 11, "'-' is no affix"),
        ("k=n:length:-", 12, "'-' is no length"),
        ("k=n:length:0", 12, "'0' is no length"),
        ("k=n:length:5-3", 12, "min is 5, which is above max, 3"),
        ("k=n:length:x", 12, "'x' is no length"),
        ("k=n:position:first", 14, "'first' is no list of places"),
        ("k=n:casing:camel", 12, "kind is 'camel'; it can be lower, upper, title, mixed, none"),
    ],
)
def test_what_is_no_rule_is_said_with_its_column(notation: str, column: int, says: str) -> None:
    with pytest.raises(NotationError) as caught:
        rules.parse(notation)
    assert says in str(caught.value)
    assert (caught.value.text, caught.value.column) == (notation, column)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: rules.vocabulary("k", "n", "red"), TypeError, r"give a list: \['red'\]"),
        (lambda: rules.affix("k", "n", suffixes="ing"), TypeError, r"give a list: \['ing'\]"),
        (lambda: rules.affix("k", "n"), ValueError, "give prefixes, suffixes or both"),
        (lambda: rules.length("k", "n", min=-1), ValueError, "min is -1"),
        (lambda: rules.otherwise("k", "n", level="text"), ValueError, "level is 'text'"),  # type: ignore[arg-type]
    ],
)
def test_arguments_are_checked(make: Callable[[], Rule], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_json_holds_messages_and_notation() -> None:
    items: list[Any] = [json_format.MessageToDict(rule.to_proto()) for rule, _, _ in CASES]
    items += [notation for _, _, notation in CASES]
    assert rules.from_json(json.dumps(items)) == [rule for rule, _, _ in CASES] * 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "this is no JSON"),
        ("{}", "a JSON list of rules is wanted"),
        ("[7]", "item 0 is no object and no string"),
        ('["k=n:otherwise", {"layers": "k"}]', "item 1 is no rule"),
        ('["k=n"]', "LAYER=LABEL:KIND"),
    ],
)
def test_json_that_is_no_list_of_rules_is_said(text: str, says: str) -> None:
    with pytest.raises(NotationError, match=says):
        rules.from_json(text)


def test_rules_are_values() -> None:
    first, second = (rules.regex("k", "n", pattern) for pattern in ("a", "b"))
    assert first == rules.regex("k", "n", "a") != second
    assert len({first, second, rules.regex("k", "n", "a")}) == 2
    first.to_proto().layer = "other"
    assert first.to_proto().layer == "k"
    assert len(repr(rules.vocabulary("k", "n", ["x" * 1000]))) < 200
