"""From text to tokens and back: prompts, words by character offsets, text that grows token by token."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from .decoding import Decoding
from .errors import InvalidRequest, Unsupported
from .plan import Vocabulary
from .requests import Pooling, TextPair

__all__ = ["Content", "GrowingText", "Text", "Tokens"]

Content = str | tuple[str, ...] | TextPair
"""A sentence: running text, words, or a pair of texts."""

_OF_SENTENCES = (Pooling.SENTENCE_FIRST, Pooling.SENTENCE_LAST, Pooling.SENTENCE_AVERAGE, Pooling.SENTENCE_MAX)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A tokenised sentence. `rows` are the tokens of each row that is returned; without words, one token a row."""

    ids: list[int]
    names: tuple[str, ...]
    """The word or subword of each row."""
    rows: tuple[tuple[int, ...], ...]
    """Positions of the tokens of each row, ascending; empty: the row is masked."""
    types: list[int] = field(default_factory=list)
    """Which text of a pair each token belongs to, where the model wants to know; empty: all 0."""


class Text:
    """The tokenizer of a model, as the engine needs it."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        vocabulary_size: int,
        decoding: Decoding | None = None,
        *,
        typed: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        # In sentences to be read, "[SEP]" is a word like any other; in prompts it may be meant as the token.
        self._literal = Tokenizer.from_str(self._backend.to_str())
        self._literal.encode_special_tokens = True
        for backend in (self._backend, self._literal):
            backend.no_truncation()
            backend.no_padding()
        self.size = vocabulary_size
        self._decoding = decoding or Decoding()
        self._typed = typed

    @cached_property
    def identity(self) -> str:
        """Class and digest of the tokenizer: equal ones split alike."""
        digest = hashlib.sha256(self._backend.to_str().encode()).hexdigest()
        return f"{type(self._tokenizer).__name__} {digest[:16]}"

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
        trailing = self._added[1]
        if trailing:
            prompt_ids, together = prompt_ids[:-trailing], together[:-trailing]
            start = len(prompt_ids)
        if len(together) > start and together[:start] == prompt_ids:
            return together[start:]
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _added(self) -> tuple[list[int], int]:
        """The special tokens the tokenizer puts before a text, and how many it puts after it."""
        encoding = self._backend.encode("a")
        own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        return list(encoding.ids[: own[0]]), len(encoding.ids) - own[-1] - 1

    @cached_property
    def decoder_prefix(self) -> tuple[int, ...]:
        """What the decoder of an encoder-decoder reads before a given text; nothing of other models."""
        start, first = self._decoding.start, self._decoding.first
        if start is None:
            return ()
        return (start, *(self._added[0] if first is None else [first]))

    def output(self, text: str) -> list[int]:
        """The tokens of a text that a decoder might write, without those that begin and end it."""
        before, after = self._added
        ids = self._backend.encode(text).ids
        return list(ids[len(before) : len(ids) - after])

    def target(self, content: Content, pooling: Pooling, *, include_special: bool) -> Tokens:
        """A text that a decoder reads: what begins it, then its tokens; rows as of any sentence."""
        before, after = self._added
        prefix = self.decoder_prefix
        tokens = self.read(content, pooling)
        shift = len(prefix) - len(before)
        rows = tuple(tuple(place + shift for place in row) for row in tokens.rows)
        if pooling is Pooling.SENTENCE_FIRST:
            rows = ((0,),)
        names = tokens.names
        if pooling is Pooling.NONE and include_special:
            names = (*(self.piece(token) for token in prefix), *names)
            rows = (*((place,) for place in range(len(prefix))), *rows)
        return Tokens([*prefix, *tokens.ids[len(before) : len(tokens.ids) - after]], names, rows)

    def masks(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Where the mask tokens are."""
        mask = self._tokenizer.mask_token_id
        return tuple(place for place, token in enumerate(ids) if token == mask)

    def one_token(self, text: str) -> int | None:
        """The token that is this text: as the vocabulary writes it, as it reads within a text, or as it comes out when
        it is tokenised alone. None if there is no such token, or several."""
        token = self._backend.token_to_id(text)
        if token is not None and token < self.size:
            return token
        for found in (self._by_text.get(text, []), self._backend.encode(text, add_special_tokens=False).ids):
            if len(found) == 1 and found[0] != self._tokenizer.unk_token_id:
                return found[0]
        return None

    def read(self, content: Content, pooling: Pooling, *, include_special: bool = False) -> Tokens:
        """A sentence to be read, with the rows that a pooling makes of it."""
        if pooling in _OF_SENTENCES:
            return self._whole(content, pooling)
        if isinstance(content, tuple) and pooling is not Pooling.NONE:
            return self.words(content)
        return self._pieces(content, include_special=include_special)

    def _encoded(self, content: Content) -> tuple[Encoding, list[int]]:
        """A sentence as it runs, and the types of its tokens."""
        if not isinstance(content, TextPair):
            return self._literal.encode(content if isinstance(content, str) else " ".join(content)), []
        encoding = self._literal.encode(content.first, content.second)
        return encoding, list(encoding.type_ids) if self._typed and any(encoding.type_ids) else []

    def _pieces(self, content: Content, *, include_special: bool) -> Tokens:
        """One row per token."""
        encoding, types = self._encoded(content)
        keep = [place for place, special in enumerate(encoding.special_tokens_mask) if include_special or not special]
        names = tuple(self.piece(encoding.ids[place]) for place in keep)
        return Tokens(list(encoding.ids), names, tuple((place,) for place in keep), types)

    def _whole(self, content: Content, pooling: Pooling) -> Tokens:
        """One row for all."""
        encoding, types = self._encoded(content)
        own = tuple(place for place, special in enumerate(encoding.special_tokens_mask) if not special)
        row = (0,) if pooling is Pooling.SENTENCE_FIRST and encoding.ids else own
        return Tokens(list(encoding.ids), (_shown(content),), (row,), types)

    def words(self, words: Sequence[str]) -> Tokens:
        """Words joined by blanks, one row per word, aligned by character offsets.

        A token belongs to every word it has a character of; a word without a token keeps an empty row.
        """
        starts = np.cumsum([0] + [len(word) + 1 for word in words]).tolist()
        return self._aligned(" ".join(words), words, starts)

    def split(self, text: str) -> Tokens:
        """The same for the words of a running text, which is split at blanks and runs as it is."""
        found = list(re.finditer(r"\S+", text))
        return self._aligned(text, [word[0] for word in found], [word.start() for word in found])

    def _aligned(self, text: str, words: Sequence[str], starts: Sequence[int]) -> Tokens:
        encoding = self._literal.encode(text)
        rows: list[list[int]] = [[] for _ in words]
        for place, ((begin, end), special) in enumerate(
            zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        ):
            if special or end <= begin:
                continue
            for word in range(max(bisect_right(starts, begin) - 1, 0), len(words)):
                if starts[word] >= end:
                    break
                if max(begin, starts[word]) < starts[word] + len(words[word]):
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


def _shown(content: Content) -> str:
    if isinstance(content, TextPair):
        return f"{content.first} {content.second}"
    return content if isinstance(content, str) else " ".join(content)
