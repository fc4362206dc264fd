"""Balanced samples have exactly what was asked for, splits are exact and disjoint, and chance is fair."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp_analysis.corpora.corpus import Corpus, Sentence, write_corpus
from patchclamp_analysis.corpora.sampling import balanced, part_sizes, split
from patchclamp_analysis.errors import BadData


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """100 sentences of three words: 150 × A, 99 × B, 50 × C, one without a label; moods 60 to 40."""
    labels = ["A"] * 150 + ["B"] * 99 + ["C"] * 50 + [""]
    sentences = [
        Sentence(
            (f"{i}a", f"{i}b", f"{i}c"),
            labels={"pos": (labels[i], labels[i + 100], labels[i + 200]), "other": ("x", "", "y")},
            sentence_labels={"mood": "calm" if i < 60 else "angry"},
        )
        for i in range(100)
    ]
    return write_corpus(sentences, tmp_path_factory.mktemp("sampling") / "corpus")


def counted(sentences: list[Sentence]) -> Counter[str]:
    return Counter(label for sentence in sentences for label in sentence.labels["pos"])


@pytest.mark.parametrize("per_label", [1, 10, 50])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_exactly_so_many_of_each(corpus: Corpus, per_label: int, seed: int) -> None:
    sentences = list(balanced(corpus, "pos", per_label=per_label, seed=seed))
    counts = counted(sentences)
    assert {label: counts[label] for label in "ABC"} == dict.fromkeys("ABC", per_label)
    assert all(any(sentence.labels["pos"]) for sentence in sentences)


def test_sentences_stay_whole_and_other_layers_as_they_are(corpus: Corpus) -> None:
    there = {sentence.words: sentence for sentence in corpus}
    for sentence in balanced(corpus, "pos", per_label=10):
        source = there[sentence.words]
        assert sentence.labels["other"] == source.labels["other"]
        assert sentence.sentence_labels == source.sentence_labels
        for kept, had in zip(sentence.labels["pos"], source.labels["pos"], strict=True):
            assert kept in ("", had)


def test_as_many_as_the_rarest_has(corpus: Corpus) -> None:
    assert counted(list(balanced(corpus, "pos")))["A"] == 50
    only = counted(list(balanced(corpus, "pos", labels=["B", "A"])))
    assert (only["A"], only["B"], only["C"]) == (99, 99, 0)


def test_balanced_sentences(corpus: Corpus) -> None:
    sentences = list(balanced(corpus, "mood", per_label=25))
    assert Counter(sentence.sentence_labels["mood"] for sentence in sentences) == {"calm": 25, "angry": 25}


def test_the_order_is_that_of_the_corpus(corpus: Corpus) -> None:
    for sentences in (list(balanced(corpus, "pos", per_label=20)), list(split(corpus, [0.5], 0))):
        numbers = [int(sentence.words[0][:-1]) for sentence in sentences]
        assert numbers == sorted(numbers)


def test_every_occurrence_is_as_likely(corpus: Corpus) -> None:
    """Each of 50 C is drawn with chance 1/5: 400 seeds give 80 ± 8 (one standard deviation); five are allowed."""
    drawn: Counter[str] = Counter()
    for seed in range(400):
        for sentence in balanced(corpus, "pos", per_label=10, labels=["C"], seed=seed):
            drawn[sentence.words[0]] += 1
    assert len(drawn) == 50
    assert all(abs(count - 80) <= 40 for count in drawn.values())


def test_every_sentence_is_as_likely_in_a_part(corpus: Corpus) -> None:
    drawn: Counter[str] = Counter()
    for seed in range(400):
        drawn.update(sentence.words[0] for sentence in split(corpus, [0.7, 0.2], 1, seed=seed))
    assert len(drawn) == 100
    assert all(abs(count - 80) <= 40 for count in drawn.values())


@given(
    total=st.integers(1, 100),
    weights=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    rest=st.integers(0, 50),
    seed=st.integers(0, 2**64 - 1),
)
def test_parts_are_disjoint_and_as_large_as_their_share(
    corpus: Corpus, total: int, weights: list[int], rest: int, seed: int
) -> None:
    whole = sum(weights) + rest
    fractions = [weight / whole for weight in weights]
    sizes = part_sizes(total, fractions)
    assert sum(sizes) == total
    exact = [*(weight * total / whole for weight in weights), rest * total / whole]
    assert all(abs(size - share) < 1 for size, share in zip(sizes, exact, strict=True))
    sizes = part_sizes(len(corpus), fractions)
    parts = [
        [sentence.words for sentence in split(corpus, fractions, i, seed=seed)] if sizes[i] else []
        for i in range(len(weights))
    ]
    assert [len(part) for part in parts] == sizes[:-1]
    words = [words for part in parts for words in part]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("fractions", "sizes"),
    [
        ([0.7, 0.2, 0.1], [7, 2, 1, 0]),
        ([0.8, 0.1], [8, 1, 1]),
        ([1 / 3] * 3, [4, 3, 3, 0]),
        ([1 / 11] * 11, [1] * 10 + [0, 0]),
        ([0.05], [1, 9]),
        ([1.0], [10, 0]),
    ],
)
def test_largest_remainder(fractions: list[float], sizes: list[int]) -> None:
    assert part_sizes(10, fractions) == sizes


@pytest.mark.parametrize(
    ("arguments", "message", "where"),
    [
        ({"layer": "absent"}, "the corpus has no layer 'absent'; there are mood, other, pos", "layer"),
        ({"layer": "pos", "per_label": 51}, "the label 'C' occurs 50 times, 51 are wanted", "per_label"),
        (
            {"layer": "pos", "per_label": 100, "labels": ["A", "B"]},
            "the label 'B' occurs 99 times, 100 are wanted",
            "labels[1]",
        ),
        ({"layer": "pos", "labels": ["A", "D"]}, "the layer pos has no label 'D'", "labels[1]"),
        ({"layer": "pos", "labels": [""]}, "the layer pos has no label ''", "labels[0]"),
        ({"layer": "pos", "labels": ["A", "A"]}, "the label 'A' twice", "labels[1]"),
    ],
)
def test_what_cannot_be_balanced(corpus: Corpus, arguments: dict[str, object], message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        balanced(corpus, **arguments)  # type: ignore[arg-type]
    assert (caught.value.message, caught.value.where) == (message, where)


class _Counted(str):
    """A label that counts how often one is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        _Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_labels_are_not_compared_with_each_other(tmp_path: Path) -> None:
    names = [f"l{i}" for i in range(300)]
    corpus = write_corpus([Sentence((name,), labels={"x": (name,)}) for name in names], tmp_path / "corpus")
    _Counted.compared = 0
    balanced(corpus, "x", labels=[_Counted(name) for name in names])
    assert _Counted.compared <= 10 * len(names)


def test_a_layer_without_labels(tmp_path: Path) -> None:
    corpus = write_corpus([Sentence(("a",), labels={"x": ("",)})], tmp_path / "corpus")
    with pytest.raises(BadData, match="layer: the layer x has no labels"):
        balanced(corpus, "x")


@pytest.mark.parametrize(
    ("fractions", "part", "message", "where"),
    [
        ([0.5], 1, "part 1 is out of range: there are 1 fractions, from 0", "part"),
        ([0.7, 0.7], 0, "the fractions add up to 1.4, which is above 1", "fractions"),
        ([0.5, 0.0], 0, "0.0 is not above 0 and at most 1", "fractions[1]"),
        ([float("nan")], 0, "nan is not above 0 and at most 1", "fractions[0]"),
        ([0.999, 0.001], 1, "the part has no sentences: the corpus has 100", "fractions[1]"),
    ],
)
def test_what_cannot_be_split(corpus: Corpus, fractions: list[float], part: int, message: str, where: str) -> None:
    with pytest.raises(BadData) as caught:
        split(corpus, fractions, part)
    assert (caught.value.message, caught.value.where) == (message, where)


PROGRAM = """
import sys
from pathlib import Path
from patchclamp_analysis.corpora.corpus import Corpus
from patchclamp_analysis.corpora.sampling import balanced, split
corpus = Corpus.open(Path(sys.argv[1]))
print([s.words[0] for s in balanced(corpus, "pos", per_label=5, seed=7)])
print([s.words[0] for s in split(corpus, [0.1, 0.1], 1, seed=7)])
"""
DRAWN = """\
['11a', '19a', '20a', '22a', '45a', '48a', '49a', '71a', '81a', '92a', '93a', '94a', '97a']
['4a', '15a', '22a', '49a', '50a', '51a', '58a', '70a', '92a', '94a']
"""


def test_the_same_seed_gives_the_same_choice_everywhere(corpus: Corpus) -> None:
    """In other processes with other hashes; and the choice of today is that of tomorrow."""
    command = [sys.executable, "-c", PROGRAM, str(corpus.directory)]
    seen = {
        subprocess.run(
            command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert seen == {DRAWN}
