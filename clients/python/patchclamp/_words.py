"""Takes the notation of an intervention apart, word by word, and says where it went wrong."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable

import numpy as np

from patchclamp._exceptions import NotationError
from patchclamp._neurons import Neurons

__all__ = ["Words"]

LARGEST_NUMBER = float(np.finfo(np.float32).max)
STRING = r'"(?:[^"\\]|\\.)*"'
# A comparison sign is a word of its own; brackets and quotes hold their blanks together.
WORD = re.compile(rf'[<>]|(?:{STRING}|\[(?:{STRING}|[^\]"])*\]|[^\s\["<>])+')
SELECTOR = re.compile(r"@([a-z-]*)(\[.*\])?", re.DOTALL)
SELECTORS = ("prompt", "generated", "indices", "tokens", "no-special", "all")


class Words:
    """The words of `text`, taken from front to back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = [(match.start(), match[0]) for match in WORD.finditer(text)]
        self._place = 0
        rest = WORD.sub(lambda match: " " * len(match[0]), text)
        if rest.strip():
            column = len(rest) - len(rest.lstrip()) + 1
            raise NotationError(f"{rest.strip()[0]!r} is never closed", text, column)

    def error(self, wanted: str) -> NotationError:
        """What to raise where the next word is not what was wanted."""
        start, word = self._words[self._place] if not self.at_end() else (len(self._text), "")
        return NotationError(f"{word!r} is not {wanted}" if word else f"{wanted} is missing", self._text, start + 1)

    def at_end(self) -> bool:
        """Whether every word is taken."""
        return self._place == len(self._words)

    def at_suffix(self) -> bool:
        """Whether the arguments of the edit are over."""
        return self.at_end() or self._next() == "when" or self.next_starts_with("@")

    def next_starts_with(self, prefix: str) -> bool:
        """Whether there is a next word and it starts so."""
        return self._next().startswith(prefix)

    def skip(self, word: str) -> bool:
        """Takes the next word if it is this one; whether it was."""
        if self._next() != word:
            return False
        self._place += 1
        return True

    def choice(self, wanted: str, choices: Iterable[str]) -> str:
        """Takes one of a few words."""
        choices = tuple(choices)
        if self._next() not in choices:
            near = difflib.get_close_matches(self._next(), choices, 1)
            raise self.error(f"{wanted}: {', '.join(choices)}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return self._take()

    def neurons(self) -> Neurons:
        """Takes neurons."""
        if self.at_end():
            raise self.error("the notation of neurons, as 'layers.10.neurons[17]',")
        start, word = self._words[self._place]
        try:
            neurons = Neurons.parse(word)
        except NotationError as error:
            raise NotationError(error.message, self._text, start + error.column) from None
        self._place += 1
        return neurons

    def number(self, wanted: str, *, infinite: bool = False) -> float:
        """Takes a number that float32 can hold."""
        try:
            number = float(self._next())
        except ValueError:
            raise self.error(wanted) from None
        if not abs(number) <= LARGEST_NUMBER and not (infinite and math.isinf(number)):
            raise self.error(f"{wanted}, finite in float32")
        self._place += 1
        return number

    def numbers(self, wanted: str) -> list[float]:
        """Takes one number or more."""
        numbers = [self.number(wanted)]
        while not self.at_suffix():
            numbers.append(self.number(wanted))
        return numbers

    def integer(self, wanted: str) -> int:
        """Takes a whole number."""
        if not re.fullmatch(r"-?[0-9]{1,9}", self._next()):
            raise self.error(wanted)
        return int(self._take())

    def string(self, wanted: str) -> str:
        """Takes a string, quoted as in JSON or bare."""
        if self.at_end():
            raise self.error(wanted)
        if not self.next_starts_with('"'):
            return self._take()
        try:
            string = json.loads(self._next())
        except json.JSONDecodeError:
            raise self.error(f"{wanted} (a string as in JSON)") from None
        self._take()
        return str(string)

    def selector(self) -> tuple[str, list[int] | list[str]]:
        """Takes a selector of positions: its name without @, and its list."""
        match = SELECTOR.fullmatch(self._next())
        if match is None or match[1] not in SELECTORS or bool(match[2]) != (match[1] in ("indices", "tokens")):
            raise self.error('a selector: @prompt, @generated, @indices[0,-1], @tokens[" she"], @no-special, @all')
        if not match[2]:
            self._place += 1
            return match[1], []
        kind = int if match[1] == "indices" else str
        try:
            values = json.loads(match[2])
        except json.JSONDecodeError:
            values = [None]
        if not all(type(value) is kind for value in values):
            raise self.error("a list as in JSON: @indices[0,-1] or " + '@tokens[" she"," he"]')
        self._place += 1
        return match[1], values

    def _next(self) -> str:
        return "" if self.at_end() else self._words[self._place][1]

    def _take(self) -> str:
        word = self._next()
        self._place += 1
        return word
