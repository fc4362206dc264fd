"""From text to tokens and back: prompts, words by character offsets, text that grows token by token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from .errors import InvalidRequest, Unsupported
from .plan import Vocabulary

__all__ = ["GrowingText", "Text", "Tokens"]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A tokenised sentence. `rows` are the tokens of each row that is returned; without words, one token a row."""

    ids: list[int]
    names: tuple[str, ...]
    """The word or subword of each row."""
    rows: tuple[tuple[int, ...], ...]
    """Positions of the tokens of each row, ascending; empty: the row is masked."""


class Text:
    """The tokenizer of a model, as the engine needs it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        # In sentences to be read, "[SEP]" is a word like any other; in prompts it may be meant as the token.
        self._literal = Tokenizer.from_str(self._backend.to_str())
        self._literal.encode_special_tokens = True
        for backend in (self._backend, self._literal):
            backend.no_truncation()
            backend.no_padding()
        self.size = vocabulary_size

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What positions need to know."""
        special = np.zeros(max(self.size, len(self._tokenizer)), dtype=bool)
        special[list(self._tokenizer.all_special_ids)] = True
        return Vocabulary(special, self._ids_of)

    @cached_property
    def _by_text(self) -> dict[str, list[int]]:
        table: dict[str, list[int]] = defaultdict(list)
        for token in range(min(self.size, len(self._tokenizer))):
            table[self.piece(token)].append(token)
        return dict(table)

    def _ids_of(self, text: str) -> npt.NDArray[np.int64]:
        return np.asarray(self._by_text.get(text, []), dtype=np.int64)

    def piece(self, token: int) -> str:
        """What one token decodes to within a text, with its leading blank."""
        name = self._backend.id_to_token(token)
        if name is not None and name.startswith("▁"):
            return name.replace("▁", " ")
        return self._backend.decode([token], skip_special_tokens=False)

    def prompt(self, text: str) -> list[int]:
        """A prompt, with the special tokens the tokenizer adds by itself."""
        return list(self._backend.encode(text).ids)

    def chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """A conversation by the model's template, up to where the assistant begins to speak."""
        if not self._tokenizer.chat_template:
            raise Unsupported("this model has no chat template: send a prompt", reason="NO_CHAT_TEMPLATE", field="chat")
        turns = [{"role": role, "content": content} for role, content in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        except Exception as error:
            raise InvalidRequest(
                f"the model's chat template refuses these messages: {error}", reason="BAD_CHAT", field="chat.messages"
            ) from error
        return list(self._backend.encode(str(text), add_special_tokens=False).ids)

    def continuation(self, prompt: str, prompt_ids: list[int], text: str) -> list[int]:
        """The tokens of a text that follows a prompt. Taken from both tokenised together where the prompt's tokens
        come out the same, which keeps a leading blank what it is in running text; else from the text by itself."""
        together = list(self._backend.encode(prompt + text).ids)
        start = len(prompt_ids)
        trailing = self._trailing_special
        if trailing:
            prompt_ids, together = prompt_ids[:-trailing], together[:-trailing]
            start = len(prompt_ids)
        if len(together) > start and together[:start] == prompt_ids:
            return together[start:]
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _trailing_special(self) -> int:
        """How many special tokens the tokenizer puts after a text."""
        mask = self._backend.encode("a").special_tokens_mask
        return next((k for k, special in enumerate(reversed(mask)) if not special), len(mask))

    def sentence(self, text: str, *, include_special: bool) -> Tokens:
        """A text, one row per token."""
        encoding = self._literal.encode(text)
        keep = [place for place, special in enumerate(encoding.special_tokens_mask) if include_special or not special]
        names = tuple(self.piece(encoding.ids[place]) for place in keep)
        return Tokens(list(encoding.ids), names, tuple((place,) for place in keep))

    def words(self, words: Sequence[str]) -> Tokens:
        """Words joined by blanks, one row per word, aligned by character offsets.

        A token belongs to every word it has a character of; a word without a token keeps an empty row.
        """
        encoding = self._literal.encode(" ".join(words))
        starts = np.cumsum([0] + [len(word) + 1 for word in words])
        rows: list[list[int]] = [[] for _ in words]
        for place, ((begin, end), special) in enumerate(
            zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ):
            if special or end <= begin:
                continue
            first = int(np.searchsorted(starts, begin, side="right")) - 1
            for word in range(first, len(words)):
                if starts[word] >= end:
                    break
                if begin < starts[word] + len(words[word]):
                    rows[word].append(place)
        return Tokens(list(encoding.ids), tuple(words), tuple(tuple(row) for row in rows))

    def growing(self, stop: Sequence[str]) -> GrowingText:
        """The text of a generation that has just begun."""
        return GrowingText(self._backend, stop)


class GrowingText:
    """Text that grows token by token: only whole characters leave it, and never a part of a stop string."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._stop = tuple(stop)
        self._held = ""
        self._length = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Takes a token and returns the text that became certain."""
        self._ids.append(token)
        piece = self._stream.step(self._tokenizer, token) or ""
        self._length += len(piece)
        return self._release(self._held + piece)

    def _release(self, text: str) -> str:
        found = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back, when no more token comes. A character that stayed incomplete becomes U+FFFD."""
        if self.stopped:
            return ""
        whole = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        text = self._release(self._held + whole[self._length :])
        held, self._held = self._held, ""
        return text + held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
