"""Cuts a long list of sentences into requests that the server's limits admit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from patchclamp._models import Model
from patchclamp._tensors import DTypeName

__all__ = ["Sentence", "batches", "most_tokens"]

Sentence: TypeAlias = str | list[str]

# One request is one deadline, and one step of the progress bar at worst.
MOST_SENTENCES = 1024
# Begin and end of text, [CLS] and [SEP].
SPECIAL_TOKENS = 2


def batches(sentences: Sequence[Sentence], model: Model, sites: Sequence[str], dtype: DTypeName) -> Iterator[range]:
    """Ranges of sentences, one a request. A sentence too large for any request is one by itself: the server judges."""
    tokens_left = token_limit = most_tokens(model, sites, dtype)
    start, most = 0, min(model.limits.sentences or MOST_SENTENCES, MOST_SENTENCES)
    for number, sentence in enumerate(sentences):
        cost = _tokens_at_most(sentence)
        if number > start and (cost > tokens_left or number - start == most):
            yield range(start, number)
            start, tokens_left = number, token_limit
        tokens_left -= cost
    if sentences:
        yield range(start, len(sentences))


def most_tokens(model: Model, sites: Sequence[str], dtype: DTypeName) -> int:
    """How many tokens one request can have: by their number, and by the bytes of their activations."""
    width = sum(site.width for site in model.sites if any(fnmatchcase(site.name, wanted) for wanted in sites))
    row = max(1, width * (4 if dtype == "float32" else 2))
    return min(model.limits.request_tokens, model.limits.capture_bytes // row)


def _tokens_at_most(sentence: Sentence) -> int:
    """No tokenizer makes more tokens than there are bytes."""
    text = sentence if isinstance(sentence, str) else " ".join(sentence)
    return len(text.encode()) + SPECIAL_TOKENS
