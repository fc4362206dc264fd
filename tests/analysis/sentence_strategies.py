"""Sentences as hypothesis draws them, for the tests of corpora."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st
from patchclamp_analysis.corpora.corpus import Sentence

__all__ = ["corpora", "labels", "temporary_directory", "words"]

# Whatever a text may be made of, with what parsers stumble over more often than chance has it.
_CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    "\u00a0\u0085\u2028\u3000\x1c\ufeff\"\\'#_|=\u0301"
)

words = st.text(_CHARACTERS.filter(lambda c: c not in " \0\t\n\v\f\r"), min_size=1, max_size=8).filter(
    lambda word: not word.isspace()
)
"""What is a word in every format."""
labels = st.sampled_from(["", "NOUN", "VERB", "B-ORG", "ü", "_"]) | words
"""Labels without blanks; "" for none."""
texts = st.text(_CHARACTERS.filter(lambda c: c not in "\0\r\n"), min_size=1, max_size=30).filter(
    lambda text: not text.isspace()
)
"""Texts of one line."""


@st.composite
def _of_words(draw: st.DrawFn, label: st.SearchStrategy[str]) -> list[Sentence]:
    sentences = []
    for _ in range(draw(st.integers(1, 4))):
        some = tuple(draw(st.lists(words, min_size=1, max_size=5)))
        layers = {layer: tuple(draw(label) for _ in some) for layer in ("ner", "pos")}
        sentences.append(Sentence(some, labels=layers, sentence_labels={"mood": draw(label)}))
    return sentences


@st.composite
def _of_texts(draw: st.DrawFn, label: st.SearchStrategy[str], pairs: bool) -> list[Sentence]:
    return [
        Sentence(text=draw(texts), second=draw(texts) if pairs else "", sentence_labels={"mood": draw(label)})
        for _ in range(draw(st.integers(1, 4)))
    ]


def corpora(*, content: str = "", label: st.SearchStrategy[str] = labels) -> st.SearchStrategy[list[Sentence]]:
    """Sentences of "words", "text" or "pairs" (or any of them) with labels in all layers."""
    kinds = {"words": _of_words(label), "text": _of_texts(label, False), "pairs": _of_texts(label, True)}
    return kinds[content] if content else st.one_of(*kinds.values())


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A new one for each example, which a fixture is not."""
    with TemporaryDirectory() as directory:
        yield Path(directory)
