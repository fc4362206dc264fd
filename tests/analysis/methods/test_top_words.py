"""Words and contexts that drive neurons."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import patchclamp_analysis.data.rows as data_module
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.methods.top_contexts import TopContexts
from patchclamp_analysis.methods.top_words import TopWords
from patchclamp_analysis.progress import Progress

from tests.analysis.methods.planted import planted


def by_definition(
    x: NDArray[np.float32], words: NDArray[np.object_], threshold: float, min_count: int
) -> list[tuple[str, float, int]]:
    """Of one neuron."""
    wide = x.astype(np.float64)
    z = np.abs(wide - wide.mean()) / wide.std()
    groups: dict[str, list[float]] = {}
    for word, value in zip(words, z, strict=True):
        groups.setdefault(word, []).append(value)
    means = {word: float(np.mean(values)) for word, values in sorted(groups.items()) if len(values) >= min_count}
    largest = max(means.values())
    found = [(word, mean / largest, len(groups[word])) for word, mean in means.items() if mean / largest > threshold]
    return sorted(found, key=lambda entry: -entry[1])


@pytest.mark.parametrize(("threshold", "min_count"), [(0.1, 1), (0.9, 1), (0.5, 30), (0.0, 1)])
def test_by_definition(threshold, min_count):
    draw = np.random.default_rng(0)
    words = draw.choice([f"w{number}" for number in range(40)], 1500, p=np.arange(1, 41) / 820).astype(object)
    x = draw.standard_normal((1500, 3)).astype(np.float32) * 5 + 100
    x[words == "w30", 1] += 40
    data = Data.from_arrays({"a": x[:, :1], "b": x[:, 1:]}, words=words)
    found = TopWords(top=0, threshold=threshold, min_count=min_count).find(data)
    assert [(neuron.site, neuron.index) for neuron in found] == [("a", 0), ("b", 0), ("b", 1)]
    for neuron, column in zip(found, x.T, strict=True):
        wanted = by_definition(column, words, threshold, min_count)
        assert [(entry.word, entry.count) for entry in neuron.words] == [(word, count) for word, _, count in wanted]
        assert [entry.score for entry in neuron.words] == pytest.approx([score for _, score, _ in wanted], rel=1e-4)
    assert found[1].words[0].word == "w30"


def test_by_hand():
    """The mean is 2.5, so that deviations of the words are 2.5, (1.5 + 2.5)/2 and 1.5."""
    data = Data.from_arrays(np.array([[0.0], [4.0], [5.0], [1.0]]), words=["a", "b", "b", "c"])
    (found,) = TopWords().find(data)
    assert [(entry.word, entry.count) for entry in found.words] == [("a", 1), ("b", 2), ("c", 1)]
    assert [entry.score for entry in found.words] == pytest.approx([1.0, 0.8, 0.6])


def test_keeps_the_top_and_ties_by_word():
    data = Data.from_arrays(np.array([[1.0], [-1.0], [1.0], [-1.0]]), words=["d", "b", "a", "c"])
    (found,) = TopWords(top=2).find(data)
    assert [entry.word for entry in found.words] == ["a", "b"]


def test_a_constant_neuron_has_no_words():
    (found,) = TopWords().find(Data.from_arrays(np.ones((3, 1)), words=["a", "b", "c"]))
    assert found.words == ()


def test_some_neurons():
    data = planted()
    chosen = TopWords().find(data, [7, 2])
    everything = TopWords().find(data)
    assert chosen == (everything[2], everything[7])


@pytest.mark.parametrize("method", [TopWords(), TopContexts()])
def test_refuses_data_without_words(method):
    with pytest.raises(BadData, match="has no words"):
        method.find(Data.from_arrays(np.ones((3, 1))))


def test_refuses_too_rare_words():
    with pytest.raises(BadData, match="no word occurs 2 times"):
        TopWords(min_count=2).find(Data.from_arrays(np.ones((2, 1)), words=["a", "b"]))


@pytest.mark.parametrize("method", [TopWords(), TopContexts()])
def test_memory_makes_no_difference(method, tmp_path):
    data = planted(3000, 400)
    assert method.find(replace(data, memory_bytes=LEAST_MEMORY)) == method.find(data)


@pytest.mark.parametrize(("method", "top"), [(TopWords, 3), (TopContexts, 3)])
def test_stays_within_the_memory_bound(method, top, tmp_path):
    rows, width = 4000, 1500
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (rows, width))
    x[:] = np.random.default_rng(0).standard_normal((rows, width), np.float32)
    words = [f"w{row // 2}" for row in range(rows)]
    data = Data.from_arrays(x, words=words, memory_bytes=LEAST_MEMORY)
    tracemalloc.start()
    try:
        method(top=top).find(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LEAST_MEMORY < 8 * 2000 * width


def test_refuses_more_contexts_than_memory_holds():
    data = planted(100, 60, memory_bytes=LEAST_MEMORY)
    with pytest.raises(BadData, match="10000 contexts of 60 neurons need 9600000 bytes"):
        TopContexts(top=10_000).find(data)


@pytest.mark.parametrize("method", [TopWords(), TopContexts()])
def test_progress_and_cancel(method):
    seen: list[float] = []
    method.find(planted(), progress=Progress(seen.append))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(Cancelled):
        method.find(planted(), progress=Progress(cancelled=lambda: True))


TEXT = ["the", "cat", "saw", "the", "dog", ".", "a", "cat", "saw", "the", "cat", "."]


def test_contexts_by_hand():
    x = np.array([[1, 9, 2, 3, 4, 0, 1, 8, 5, 6, 7, 0]], np.float32).T
    data = Data.from_arrays(x, words=TEXT, sentences=[0] * 6 + [1] * 6)
    (found,) = TopContexts(top=3, words=3).find(data)
    assert [(context.words, context.activation, context.row) for context in found.contexts] == [
        (("the", "cat"), 9.0, 1),
        (("a", "cat"), 8.0, 7),
        (("saw", "the", "cat"), 7.0, 10),
    ]


def test_equal_contexts_count_once():
    x = np.array([[1, 9, 2, 3, 4, 0, 1, 8, 5, 6, 9, 0]], np.float32).T
    data = Data.from_arrays(x, words=TEXT, sentences=[0] * 6 + [1] * 6)
    (found,) = TopContexts(top=3, words=1).find(data)
    assert [(context.words[-1], context.row) for context in found.contexts] == [("cat", 1), ("the", 9), ("saw", 8)]


def test_the_lowest_activations():
    data = Data.from_arrays(np.array([[3.0], [-2.0], [-7.0]]), words=["a", "b", "c"])
    (found,) = TopContexts(top=2, words=1, sign="negative").find(data)
    assert [(context.words, context.activation) for context in found.contexts] == [(("c",), -7.0), (("b",), -2.0)]


def test_a_row_that_is_left_out_ends_a_context():
    data = Data.from_arrays(np.arange(4.0)[:, None], words=["a", "b", "c", "d"], masked=[False, True, False, False])
    (found,) = TopContexts(top=2, words=4).find(data)
    assert [(context.words, context.row) for context in found.contexts] == [(("c", "d"), 3), (("c",), 2)]


def test_a_mean_that_float32_barely_holds_changes_no_score():
    sixteenths = np.random.default_rng(0).integers(-3, 4, (200, 1)) / 16
    words = [f"word{row % 5}" for row in range(200)]
    (plain,), (raised,) = (TopWords().find(Data.from_arrays(x, words=words)) for x in (sixteenths, 1e6 + sixteenths))
    for one, other in zip(plain.words, raised.words, strict=True):
        assert one.word == other.word
        assert one.score == pytest.approx(other.score, rel=1e-5)


def test_fewer_contexts_than_asked_for():
    (found,) = TopContexts().find(Data.from_arrays(np.ones((3, 1)), words=["a", "a", "a"], sentences=[0, 1, 2]))
    assert [(context.words, context.row) for context in found.contexts] == [(("a",), 0)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6))
def test_contexts_by_definition(seed, length, top):
    draw = np.random.default_rng(seed)
    rows = 60
    words = [str(word) for word in draw.integers(0, 3, rows)]
    sentences = np.sort(draw.integers(0, 12, rows))
    x = draw.integers(-5, 6, (rows, 2)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data_module, "_BLOCK_BYTES", 64)
        found = TopContexts(top=top, words=length).find(Data.from_arrays(x, words=words, sentences=sentences))
    for neuron, column in zip(found, x.T, strict=True):
        best: dict[tuple[str, ...], tuple[float, int]] = {}
        for row in range(rows):
            start = max(row - length + 1, int(np.searchsorted(sentences, sentences[row])))
            context = tuple(words[start : row + 1])
            best[context] = max(best.get(context, (-np.inf, 0)), (float(column[row]), -row))
        wanted = sorted(((-value, -row, context) for context, (value, row) in best.items()))[:top]
        assert [(-c.activation, c.row, c.words) for c in neuron.contexts] == wanted
