"""Rules that label the words (or sentences) of a corpus: what `client.corpora.annotate` takes.

>>> from patchclamp import rules
>>> kinds = [
...     rules.regex("kind", "number", "[0-9]+"),
...     rules.vocabulary("kind", "colour", ["red", "green", "blue"], ignore_case=True),
...     rules.otherwise("kind", "other"),
... ]
>>> rules.parse("kind=colour:words/i:red,green,blue") == kinds[1]
True

Each function makes one rule: words that fit get `label` in the layer of labels `layer`. Of the rules of a layer the
first that fits a word wins. `level` says whether a rule labels words (each that fits) or sentences (those with a word
that fits; for a pattern, those whose text matches); None: words, or sentences where the corpus has no words.
"""

from __future__ import annotations

from patchclamp._rule_notation import from_json, parse
from patchclamp._rules import (
    CasingName,
    LevelName,
    Rule,
    affix,
    casing,
    length,
    otherwise,
    position,
    regex,
    vocabulary,
)

__all__ = [
    "CasingName",
    "LevelName",
    "Rule",
    "affix",
    "casing",
    "from_json",
    "length",
    "otherwise",
    "parse",
    "position",
    "regex",
    "vocabulary",
]
