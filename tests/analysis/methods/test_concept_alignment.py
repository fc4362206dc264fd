"""Words and phrases of a neuron's favourite sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.data.phrases import Phrases
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.concept_alignment import ConceptAlignment
from patchclamp_analysis.progress import Progress

WORDS = ["the", "cat", "sat", "the", "dog", "sat", "the", "cat", "ran"]
SENTENCES = [0, 0, 0, 1, 1, 1, 2, 2, 2]


def text(*values: float) -> Data:
    return Data.from_arrays(np.array(values)[:, None], words=WORDS, sentences=SENTENCES)


def test_by_hand():
    """The best two sentences are 0 and 2 (means 3 and 4). "the cat" is at rows 0, 1, 6, 7."""
    data = text(0, 8, 1, 0, 0, 0, 1, 9, 2)
    (found,) = ConceptAlignment(sentences=2, top=3, words=2, min_count=2).find(data)
    assert [(" ".join(concept.words), concept.count) for concept in found.concepts] == [
        ("cat", 2),
        ("the cat", 2),
        ("sat", 2),
    ]
    assert [concept.alignment for concept in found.concepts] == pytest.approx([8.5, 4.5, 0.5])
    assert [concept.selectivity for concept in found.concepts] == pytest.approx(
        [(8.5 - 4 / 7) / 9, (4.5 - 3 / 5) / 9, (0.5 - 20 / 7) / 9]
    )


def test_candidates_are_of_the_best_sentences_only():
    (found,) = ConceptAlignment(sentences=1, top=9, words=1, min_count=1).find(text(0, 0, 0, 0, 5, 1, 0, 3, 0))
    assert [concept.words for concept in found.concepts] == [("dog",), ("sat",), ("the",)]


def test_a_constant_neuron_has_none():
    (found,) = ConceptAlignment(min_count=1).find(text(*[2.0] * 9))
    assert found.concepts == ()


def test_overlapping_occurrences_count_rows_once():
    data = Data.from_arrays(np.array([[1.0], [2.0], [6.0]]), words=["a", "a", "a"], sentences=[0, 0, 0])
    (found,) = ConceptAlignment(words=2, min_count=2).find(data)
    assert [(concept.words, concept.alignment, concept.count) for concept in found.concepts] == [
        (("a",), 3.0, 3),
        (("a", "a"), 3.0, 2),
    ]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_by_definition(seed, longest, least, best):
    draw = np.random.default_rng(seed)
    rows = 60
    words = [str(word) for word in draw.integers(0, 3, rows)]
    sentences, x = np.sort(draw.integers(0, 12, rows)), draw.standard_normal((rows, 2)).astype(np.float32)
    data = Data.from_arrays(x, words=words, sentences=sentences)
    occurrences: dict[tuple[str, ...], list[int]] = {}
    for row in range(rows):
        for length in range(1, longest + 1):
            if row - length + 1 >= 0 and sentences[row - length + 1] == sentences[row]:
                occurrences.setdefault(tuple(words[row - length + 1 : row + 1]), []).append(row)
    occurrences = {phrase: ends for phrase, ends in occurrences.items() if len(ends) >= least}
    phrases = Phrases.of(data, longest=longest, least=least)
    assert list(phrases.texts) == sorted(occurrences, key=lambda phrase: (len(phrase), phrase))
    assert phrases.counts.tolist() == [len(occurrences[phrase]) for phrase in phrases.texts]
    found = ConceptAlignment(best, 1000, longest, least).find(data)
    for neuron, column in zip(found, x.T.astype(np.float64), strict=True):
        means = {number: -column[sentences == number].mean() for number in np.unique(sentences).tolist()}
        chosen = set(sorted(means, key=lambda number: means[number])[:best])
        wanted = {}
        for phrase, ends in occurrences.items():
            if chosen & set(sentences[ends].tolist()):
                covered = sorted({row - back for row in ends for back in range(len(phrase))})
                inside = np.isin(np.arange(rows), covered)
                rest = (column if inside.all() else column[~inside]).mean()
                wanted[phrase] = column[inside].mean(), (column[inside].mean() - rest) / np.ptp(column), len(ends)
        assert {concept.words for concept in neuron.concepts} == set(wanted)
        for concept in neuron.concepts:
            alignment, selectivity, count = wanted[concept.words]
            assert concept.alignment == pytest.approx(alignment, abs=1e-5)
            assert concept.selectivity == pytest.approx(selectivity, abs=1e-5)
            assert concept.count == count
        alignments = [concept.alignment for concept in neuron.concepts]
        assert alignments == sorted(alignments, reverse=True)


def letters(texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """A model whose neurons are the mean number of "o" and of "a" in a word."""
    return np.array([[np.mean([word.count(letter) for word in words]) for letter in "oa"] for words in texts])


def test_a_model_that_answers():
    asked: list[tuple[str, ...]] = []

    def respond(texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        asked.extend(tuple(words) for words in texts)
        return letters(texts)

    data = Data.from_arrays(np.random.default_rng(0).standard_normal((9, 2)), words=WORDS, sentences=SENTENCES)
    found = ConceptAlignment(top=2, words=2, min_count=1).find(data, respond=respond)
    assert ("dog", "dog", "dog") in asked
    assert ("the", "cat", "the", "cat") in asked
    assert [(" ".join(concept.words), concept.alignment) for concept in found[0].concepts] == [
        ("dog", 1.0),
        ("dog sat", 0.5),
    ]
    assert [(" ".join(concept.words), concept.alignment) for concept in found[1].concepts] == [
        ("cat", 1.0),
        ("ran", 1.0),
    ]
    offline = ConceptAlignment(top=99, words=2, min_count=1).find(data)
    selectivities = {concept.words: concept.selectivity for concept in offline[0].concepts}
    assert all(concept.selectivity == selectivities[concept.words] for concept in found[0].concepts)


def test_many_questions_are_asked_in_parts(monkeypatch):
    draw = np.random.default_rng(0)
    words = [f"w{word}" for word in draw.integers(0, 400, 1000)]
    data = Data.from_arrays(draw.standard_normal((1000, 3)), words=words, sentences=np.arange(1000) // 10)
    sizes: list[int] = []

    def respond(texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        sizes.append(len(texts))
        return np.array([[float(words[0][1:]), -float(words[0][1:]), len(words)] for words in texts])

    seen: list[float] = []
    method = ConceptAlignment(sentences=100, top=1, words=1, min_count=1)
    found = method.find(data, respond=respond, progress=Progress(seen.append))
    numbers = sorted(int(word[1:]) for word in set(words))
    assert sum(sizes) == len(numbers)
    assert max(sizes) <= 64
    assert found[0].concepts[0].words == (f"w{numbers[-1]}",)
    assert found[1].concepts[0].words == (f"w{numbers[0]}",)
    assert found[2].concepts[0].alignment == 10.0
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    calls = len(sizes)
    with pytest.raises(Cancelled):
        method.find(data, respond=respond, progress=Progress(cancelled=lambda: len(sizes) > calls))
    assert len(sizes) == calls + 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: np.zeros((len(texts), 3)), r"respond: has shape \(6, 3\), not \(6, 1\): texts × neurons"),
        (lambda texts: np.full((len(texts), 1), np.nan), r"respond, neurons\[0\]: the activation is nan"),
    ],
)
def test_wrong_answers_are_refused(answer, message):
    with pytest.raises(BadData, match=message):
        ConceptAlignment(sentences=3, words=2, min_count=1).find(
            Data.from_arrays(np.arange(9.0)[:, None], words=list("abcabcaba"), sentences=SENTENCES), respond=answer
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": WORDS}, "the data has no sentences"),
        ({"sentences": SENTENCES}, "the data has no words"),
        ({"sentences": SENTENCES, "words": WORDS}, "no word occurs 4 times or more"),
    ],
)
def test_refuses_what_it_cannot_work_with(options, message):
    with pytest.raises(BadData, match=message):
        ConceptAlignment(min_count=4).find(Data.from_arrays(np.ones((9, 1)), **options))


def test_refuses_phrases_that_memory_does_not_hold():
    rows = 30_000
    data = Data.from_arrays(
        np.ones((rows, 1), np.float32), words=["a"] * rows, sentences=[0] * rows, memory_bytes=LEAST_MEMORY
    )
    with pytest.raises(BadData, match="raise it, or take shorter phrases"):
        ConceptAlignment(words=4).find(data)


def test_a_row_that_is_left_out_parts_phrases():
    data = Data.from_arrays(
        np.arange(4.0)[:, None], words=list("abcd"), sentences=[0] * 4, masked=[False, True, False, False]
    )
    assert Phrases.of(data, longest=3, least=1).texts == (("a",), ("c",), ("d",), ("c", "d"))
