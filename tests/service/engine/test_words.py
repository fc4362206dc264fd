"""Words and their tokens, on real tokenizers: never misaligned, never lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patchclamp_service.engine.model import ModelSpec, load_model
from patchclamp_service.engine.pooling import pooled
from patchclamp_service.engine.requests import Pooling, TextPair
from patchclamp_service.engine.text import Text
from transformers import PreTrainedTokenizerFast

from tests.tiny import CACHE

GOLDEN = json.loads((Path(__file__).parent / "golden" / "subword_alignment.json").read_text())
NAMES = {"minilm": "minilm-l6", "smollm2": "smollm2-135m"}
CASES = [(model, case) for model, cases in GOLDEN.items() for case in cases]
LONG = "long_700_mixed"

SPECIAL = ("[SEP]", "[CLS]", "[MASK]", "<|endoftext|>", "<|im_start|>", "</s>", "[UNK]")
ODD = (
    "a\u00a0b",  # a blank that does not break
    "e\u0301te\u0301",  # combining accents
    "\u0301",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # a family in one character
    "\u05e9\u05dc\u05d5\u05dd",  # from right to left
    "\u0627\u0644\u0644\u0647",
    "\u65e5\u672c\u8a9e",
    "zero\u200bwidth",
    "\u200b",
    "\ufeffmark",
    "\ufe0f",
    "x" * 10_000,
    *SPECIAL,
)
words = st.lists(
    st.one_of(st.sampled_from(ODD), st.text(min_size=1, max_size=12).filter(lambda word: bool(word.strip()))),
    min_size=1,
    max_size=12,
).map(tuple)
patient = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def tokenizers() -> Callable[[str], PreTrainedTokenizerFast]:
    loaded: dict[str, PreTrainedTokenizerFast] = {}

    def find(name: str) -> PreTrainedTokenizerFast:
        if name not in loaded:
            loaded[name] = load_model(ModelSpec.parse(NAMES[name]), cache=CACHE).tokenizer
        return loaded[name]

    return find


def text_of(tokenizer: PreTrainedTokenizerFast) -> Text:
    return Text(tokenizer, len(tokenizer))


both = pytest.mark.parametrize("model", list(NAMES))


@pytest.mark.parametrize(("model", "case"), [pair for pair in CASES if pair[1] != LONG])
def test_words_own_the_tokens_that_their_characters_are_in(tokenizers, model: str, case: str) -> None:
    known = GOLDEN[model][case]
    truth = known["truth_token_positions_by_char_offset"]
    if (model, case) == ("minilm", "unk_text"):
        truth = [[1], [2], [3, 4, 5, 6], [7]]  # there "[UNK]" became the token; here it is a word of four pieces
    tokens = text_of(tokenizers(model)).words(known["text"].split(" "))
    assert [list(row) for row in tokens.rows] == truth


@pytest.mark.parametrize(("model", "case"), [pair for pair in CASES if GOLDEN[pair[0]][pair[1]]["agrees"] is True])
def test_where_neurox_is_right_its_figures_are_met(tokenizers, model: str, case: str) -> None:
    """It says nothing of words without a token, and counts a token of blanks alone to the word behind it."""
    if (model, case) == ("minilm", "unk_text"):
        pytest.skip("NeuroX takes the text of a special token for the token")
    known = GOLDEN[model][case]
    text = text_of(tokenizers(model))
    tokens = text.words(known["text"].split(" "))
    blanks = [not text.piece(token).strip() for token in tokens.ids]
    rows = [_with_blank(row, blanks) for row in tokens.rows]
    assert len(rows) == known["n_space_split"]
    found = {
        "first": [row[0] for row in rows if row],
        "last": [row[-1] for row in rows if row],
        "average": [sum(row) / len(row) for row in rows if row],
    }
    for pooling, positions in found.items():
        expected = [place for place, row in zip(known[pooling]["positions"], rows, strict=True) if row]
        assert positions == expected


def _with_blank(row: tuple[int, ...], blanks: list[bool]) -> tuple[int, ...]:
    return (row[0] - 1, *row) if row and row[0] > 0 and blanks[row[0] - 1] else row


@pytest.mark.parametrize("model", NAMES)
def test_a_long_text_keeps_a_row_for_each_of_its_words(tokenizers, model: str) -> None:
    """NeuroX cuts it at the model's context: its figures are those of the first words."""
    known = GOLDEN[model][LONG]
    word = known["text"].split(" ")[0]
    rows = text_of(tokenizers(model)).words([word] * 300).rows
    assert all(rows)
    assert len(rows) == 300
    assert [row[0] for row in rows[:5]] == known["first"]["positions_head"]
    assert [row[-1] for row in rows[:5]] == known["last"]["positions_head"]
    assert [sum(row) / len(row) for row in rows[:5]] == known["average"]["positions_head"]


@both
@patient
@given(words=words)
def test_every_word_has_one_row_of_its_own_characters(tokenizers, model: str, words: tuple[str, ...]) -> None:
    tokenizer = tokenizers(model)
    text = text_of(tokenizer)
    tokens = text.words(words)
    assert tokens.names == words
    assert len(tokens.rows) == len(words)
    joined = " ".join(words)
    encoding = text._literal.encode(joined)
    assert tokens.ids == encoding.ids
    starts = np.cumsum([0] + [len(word) + 1 for word in words])
    for word, start, row in zip(words, starts, tokens.rows, strict=False):
        assert list(row) == [
            place
            for place, (begin, end) in enumerate(encoding.offsets)
            if not encoding.special_tokens_mask[place] and max(begin, start) < min(end, start + len(word))
        ]


@both
@patient
@given(words=words)
def test_rows_of_subwords_add_up(tokenizers, model: str, words: tuple[str, ...]) -> None:
    """The average times the number of subwords is their sum, over all words that of all tokens that belong to one."""
    tokens = text_of(tokenizers(model)).words(words)
    values = torch.randn(len(tokens.ids), 3, generator=torch.Generator().manual_seed(0)).double()
    means = pooled(values, tokens.rows, Pooling.AVERAGE).double()
    sizes = torch.tensor([len(row) for row in tokens.rows])
    total = (means * sizes[:, None])[sizes > 0].sum(0)
    owners = torch.tensor([place for row in tokens.rows for place in row], dtype=torch.long)
    torch.testing.assert_close(total, values[owners].sum(0), rtol=1e-4, atol=1e-3)
    masked = torch.tensor([not row for row in tokens.rows])
    for pooling in (Pooling.FIRST, Pooling.LAST, Pooling.AVERAGE):
        assert torch.equal(torch.isnan(pooled(values, tokens.rows, pooling)).all(1), masked)


@both
@pytest.mark.parametrize("word", SPECIAL)
def test_the_text_of_a_special_token_is_a_word_like_any_other(tokenizers, model: str, word: str) -> None:
    tokenizer = tokenizers(model)
    tokens = text_of(tokenizer).words(("a", word, "b"))
    assert not {tokens.ids[place] for place in tokens.rows[1]} & set(tokenizer.all_special_ids) - {
        tokenizer.unk_token_id
    }
    assert all(tokens.rows)


@both
@patient
@given(text=st.text(min_size=1, max_size=60))
def test_a_running_text_is_split_at_its_blanks(tokenizers, model: str, text: str) -> None:
    reader = text_of(tokenizers(model))
    tokens = reader.split(text)
    assert list(tokens.names) == text.split()
    assert tokens.ids == reader._literal.encode(text).ids
    offsets = reader._literal.encode(text).offsets
    for word, row in zip(tokens.names, tokens.rows, strict=True):
        covered = "".join(text[slice(*offsets[place])] for place in row)
        assert not row or set(word) & set(covered)


@both
@pytest.mark.parametrize("content", ["one two", ("one", "two"), TextPair("one two", "three")])
def test_sentence_pooling_leaves_special_tokens_out(tokenizers, model: str, content: object) -> None:
    tokenizer = tokenizers(model)
    text = text_of(tokenizer)
    pieces = text.read(content, Pooling.NONE)  # type: ignore[arg-type]
    own = tuple(place for (place,) in pieces.rows)
    assert not {pieces.ids[place] for place in own} & set(tokenizer.all_special_ids)
    for pooling in (Pooling.SENTENCE_LAST, Pooling.SENTENCE_AVERAGE, Pooling.SENTENCE_MAX):
        assert text.read(content, pooling).rows == (own,)  # type: ignore[arg-type]
    assert text.read(content, Pooling.SENTENCE_FIRST).rows == ((0,),)  # type: ignore[arg-type]


def test_pairs_are_joined_and_typed_as_transformers_does(tokenizers) -> None:
    tokenizer = tokenizers("minilm")
    tokens = Text(tokenizer, len(tokenizer), typed=True).read(TextPair("one two", "three"), Pooling.NONE)
    expected = tokenizer("one two", "three")
    assert (tokens.ids, tokens.types) == (expected["input_ids"], expected["token_type_ids"])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pooling.SENTENCE_FIRST, [1.0, 5.0]),
        (Pooling.SENTENCE_LAST, [3.0, -1.0]),
        (Pooling.SENTENCE_AVERAGE, [2.0, 1.0]),
        (Pooling.SENTENCE_MAX, [3.0, 5.0]),
    ],
)
def test_one_row_of_a_sentence(pooling: Pooling, expected: list[float]) -> None:
    rows = torch.tensor([[1.0, 5.0], [2.0, -1.0], [3.0, -1.0]])
    groups = ((0,),) if pooling is Pooling.SENTENCE_FIRST else ((0, 1, 2),)
    assert pooled(rows, groups, pooling).tolist() == [expected]
    assert torch.isnan(pooled(rows, ((),), pooling)).all()
