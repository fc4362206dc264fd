"""What a rule of annotation asks of a word: whether it is in a list, matches a pattern, has an affix, and so on.

Each is a frozen dataclass; `compiled` gives the function that tells whether a word fits, from the word, its place in
the sentence (from 0) and the number of words, or raises BadData whose `where` is the field that is wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import re2

from ..errors import BadData
from .sentences import quoted

__all__ = [
    "Affix",
    "Casing",
    "CasingKind",
    "Fits",
    "Otherwise",
    "Regex",
    "TokenLength",
    "Vocabulary",
    "WordPosition",
    "WordTest",
]

Fits = Callable[[str, int, int], bool]

_PATTERN_BYTES = 8 << 20
_PATTERNS_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Fits words of a list."""

    name: ClassVar[str] = "vocabulary"
    words: Collection[str]
    ignore_case: bool = False

    def compiled(self) -> Fits:
        """Takes the same time however long the list is."""
        if not self.words:
            raise BadData("there are no words in the list", where="words")
        if self.ignore_case:
            folded = {word.casefold() for word in self.words}
            return lambda word, place, count: word.casefold() in folded
        known = frozenset(self.words)
        return lambda word, place, count: word in known


@dataclass(frozen=True, slots=True)
class Regex:
    """Fits by a pattern of RE2: no back-references, no look-around."""

    name: ClassVar[str] = "regex"
    pattern: str
    search: bool = False
    """Whether a part of the word (or text) is enough; otherwise all of it must match."""

    def compiled(self, patterns: int = 1) -> Fits:
        """The place does not matter. `patterns` is how many share the memory that they may take."""
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = min(_PATTERN_BYTES, _PATTERNS_BYTES // patterns)
        try:
            compiled = re2.compile(self.pattern, options)
        except re2.error as error:
            said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
            raise BadData(f"RE2 refuses {quoted(self.pattern)}: {said}", where="pattern") from None
        except UnicodeEncodeError:
            raise BadData(f"{quoted(self.pattern)} contains half of a surrogate pair", where="pattern") from None
        match = compiled.search if self.search else compiled.fullmatch
        return lambda word, place, count: match(word) is not None


@dataclass(frozen=True, slots=True)
class Affix:
    """Fits words with one of these beginnings and one of these endings; none: any."""

    name: ClassVar[str] = "affix"
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    ignore_case: bool = False

    def compiled(self) -> Fits:
        """At least one affix must be given, and none of them empty."""
        if not self.prefixes and not self.suffixes:
            raise BadData("neither beginnings nor endings are given")
        for where, affixes in (("prefixes", self.prefixes), ("suffixes", self.suffixes)):
            if "" in affixes:
                raise BadData("is empty, which fits every word", where=f"{where}[{affixes.index('')}]")
        fold = str.casefold if self.ignore_case else str
        prefixes = tuple(map(fold, self.prefixes)) or ("",)
        suffixes = tuple(map(fold, self.suffixes)) or ("",)

        def fits(word: str, place: int, count: int) -> bool:
            folded = fold(word)
            return folded.startswith(prefixes) and folded.endswith(suffixes)

        return fits


@dataclass(frozen=True, slots=True)
class TokenLength:
    """Fits words with so many characters (Unicode code points)."""

    name: ClassVar[str] = "length"
    min: int = 0
    max: int = 0
    """0: any number."""

    def compiled(self) -> Fits:
        """At least one bound must be given."""
        if not self.min and not self.max:
            raise BadData("neither min nor max is given")
        if self.max and self.max < self.min:
            raise BadData(f"max {self.max} is below min {self.min}", where="max")
        return lambda word, place, count: self.min <= len(word) <= (self.max or len(word))


@dataclass(frozen=True, slots=True)
class WordPosition:
    """Fits words at some places of their sentence, from 0; negative: from the end."""

    name: ClassVar[str] = "position"
    indices: tuple[int, ...]

    def compiled(self) -> Fits:
        """The word itself does not matter."""
        if not self.indices:
            raise BadData("there are no places", where="indices")
        wanted = frozenset(self.indices)
        return lambda word, place, count: place in wanted or place - count in wanted


class CasingKind(enum.Enum):
    """How a word is written."""

    LOWER = "lower"
    """All its cased letters are lower case, and it has one: "model"."""
    UPPER = "upper"
    """All its cased letters are upper case, and it has one: "NASA"."""
    TITLE = "title"
    """The first cased letter is upper case, all others lower: "Paris"."""
    MIXED = "mixed"
    """Upper and lower case in another way: "iPhone"."""
    NONE = "none"
    """No cased letter: "2026"."""


@dataclass(frozen=True, slots=True)
class Casing:
    """Fits words written in one way. A single capital is upper and title case."""

    name: ClassVar[str] = "casing"
    kind: CasingKind

    def compiled(self) -> Fits:
        """The place does not matter."""
        return lambda word, place, count: self.kind in _casings(word)


def _casings(word: str) -> set[CasingKind]:
    if word.islower():
        return {CasingKind.LOWER}
    cased = [letter for letter in word if letter.isupper() or letter.islower() or letter.istitle()]
    if not cased:
        return {CasingKind.NONE}
    found = {CasingKind.UPPER} if word.isupper() else set()
    if not cased[0].islower() and all(letter.islower() for letter in cased[1:]):
        found.add(CasingKind.TITLE)
    return found or {CasingKind.MIXED}


@dataclass(frozen=True, slots=True)
class Otherwise:
    """Fits what no earlier rule of the layer fitted."""

    name: ClassVar[str] = "otherwise"

    def compiled(self) -> Fits:
        """Fits everything: whoever asks has asked the others before."""
        return lambda word, place, count: True


WordTest = Vocabulary | Regex | Affix | TokenLength | WordPosition | Casing | Otherwise
