"""Accuracies, control tasks, information and code lengths of planted neurons, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.data import Data
from patchclamp_analysis.errors import BadData, Cancelled
from patchclamp_analysis.evaluation.accuracy import ProbingTask, ablation_accuracies, gathered, majority
from patchclamp_analysis.evaluation.classes import f1, neurons_needed
from patchclamp_analysis.evaluation.code_length import online_code_length
from patchclamp_analysis.evaluation.control import control_labels, control_task
from patchclamp_analysis.evaluation.selections import neuron_counts, random_places, select
from patchclamp_analysis.evaluation.subset_information import subset_information
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.probeless import Probeless
from patchclamp_analysis.progress import Progress

from tests.analysis.methods.planted import INFORMATIVE, NEURONS, SILENT, planted

PROBE = LinearProbe(epochs=15)


@pytest.fixture(scope="module")
def splits() -> tuple[Data, Data]:
    return planted(1500).split(0.3)


def test_counts_are_numbers_and_parts():
    assert neuron_counts((10, 50, 100, 0.01, 0.1), 2304) == (10, 23, 50, 100, 230)
    assert neuron_counts((0.01, 1, 20), 20) == (1, 20)
    assert neuron_counts((5, 50), 20) == (5,)


@pytest.mark.parametrize("wrong", [(), (0,), (-1,), (1.5,), (30,)])
def test_counts_that_cannot_be(wrong):
    with pytest.raises(BadData, match="counts"):
        neuron_counts(wrong, 20)


def test_more_neurons_than_there_are():
    with pytest.raises(BadData, match="counts: 5,000 of 2,304 neurons: there are not as many"):
        neuron_counts([9999, 5000], 2304)


def test_ends_of_an_order():
    order = np.array([3, 1, 0, 2])
    assert select(order, "top", 1).tolist() == [3]
    assert select(order, "bottom", 2).tolist() == [0, 2]


@given(st.integers(1, 50), st.integers(0, 9))
def test_random_places_are_nested(neurons, seed):
    places = random_places(neurons, neurons, seed)
    assert sorted(places.tolist()) == list(range(neurons))
    assert random_places(neurons, 1, seed).tolist() == places[:1].tolist()


def test_accuracy_of_informative_and_dead_neurons(splits: tuple[Data, Data]):
    task = ProbingTask(*splits, PROBE)
    assert task.accuracy(np.array(INFORMATIVE + SILENT)) > 0.97
    assert task.accuracy(np.array([NEURONS["dead"], NEURONS["constant"]])) == majority(*splits)


def test_majority_is_of_the_training_rows():
    train = Data.from_arrays(np.zeros((3, 1)), ["a", "a", "b"])
    test = Data.from_arrays(np.zeros((4, 1)), ["a", "b", "b", "c"])
    assert majority(train, test) == 0.25


def test_rows_of_unknown_classes_are_wrong():
    x = np.array([[0.0], [1.0]] * 20)
    train, test = Data.from_arrays(x, ["a", "b"] * 20), Data.from_arrays(x, ["a", "c"] * 20)
    assert ProbingTask(train, test, LinearProbe(dev_share=0.0, epochs=200)).accuracy() == 0.5


def test_other_neurons_are_refused(splits: tuple[Data, Data]):
    with pytest.raises(BadData, match="other neurons"):
        ProbingTask(splits[0], splits[1].keep([1, 2]), PROBE)


def test_gathered_is_the_same_data(splits: tuple[Data, Data]):
    chosen = splits[0].keep([3, 5]).take(np.arange(7, 90))
    found = gathered(chosen)
    assert np.array_equal(found.matrix(), chosen.matrix())
    assert np.array_equal(found.y, chosen.y)
    assert np.array_equal(found.take([5]).matrix(), chosen.take([5]).matrix())


@pytest.mark.parametrize("value", ["mean", "zero"])
def test_ablation_of_many_is_that_of_each(splits: tuple[Data, Data], value):
    probe = ProbingTask(*splits, PROBE).fit()
    kept = [random_places(40, count, count) for count in (0, 1, 7, 39, 40)]
    # Little memory: one choice at a time.
    small = replace(splits[1], memory_bytes=2**24)
    expected = [probe.ablated(places, value).score(splits[1]).accuracy for places in kept]
    assert ablation_accuracies(probe, splits[1], kept, value) == expected
    assert ablation_accuracies(probe, small, kept, value) == expected


def test_control_labels_belong_to_words(splits: tuple[Data, Data]):
    tasks = control_task(*splits, seed=3)
    labels: dict[str, int] = {}
    for task, split in zip(tasks, splits, strict=True):
        assert task.classes == splits[0].classes
        assert np.array_equal(task.rows, split.rows)
        assert split.words is not None
        for word, y in zip(split.words, task.y, strict=True):
            assert labels.setdefault(word, y) == y


def test_control_labels_have_the_frequencies_of_the_classes():
    words = np.array([f"word{number}" for number in range(20000)], dtype=object)
    data = Data.from_arrays(np.zeros((20000, 1)), ["a"] * 4000 + ["b"] * 16000, words=words)
    assert np.mean(control_labels(data)[0]) == pytest.approx(0.8, abs=0.01)
    assert np.mean(control_labels(data, uniform=True)[0]) == pytest.approx(0.5, abs=0.01)


def test_control_task_needs_words():
    with pytest.raises(BadData, match="needs the word"):
        control_task(Data.from_arrays(np.zeros((2, 1)), ["a", "b"]))


def two_gaussians(rows: int, seed: int) -> Data:
    """Two classes a distance of 2 deviations apart in the first neuron, by 1 in the second; a constant third."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, rows)
    x = draw.standard_normal((rows, 3)) + y[:, None] * np.array([2.0, 1.0, 0.0])
    x[:, 2] = 5.0
    return Data.from_arrays(x.astype(np.float32), y)


def information(distance: float) -> float:
    """Of two equally frequent Gaussians of deviation 1 at this distance, in bits; by quadrature."""
    at = np.linspace(-12, 12 + distance, 20001)
    one, other = (np.exp(-0.5 * (at - mean) ** 2) / np.sqrt(2 * np.pi) for mean in (0.0, distance))
    mixed = 0.5 * (one + other)
    step = at[1] - at[0]
    parts = (
        np.where(p > 0, p * np.log2(np.where(p > 0, p, 1) / np.where(mixed > 0, mixed, 1)), 0) for p in (one, other)
    )
    return float(sum(0.5 * part.sum() * step for part in parts))


@pytest.mark.parametrize(("places", "distance"), [([0], 2.0), ([1], 1.0), ([1, 0], 5**0.5), ([2, 0], 2.0)])
def test_information_of_gaussians_is_the_true_one(places, distance):
    found = subset_information(two_gaussians(20000, 0), two_gaussians(20000, 1), np.array(places))
    assert found.mi == pytest.approx(information(distance), abs=0.015)
    assert found.normalised == pytest.approx(found.mi, rel=1e-3)


def test_constant_neurons_tell_nothing():
    assert subset_information(two_gaussians(50, 0), two_gaussians(50, 1), np.array([2])).mi == 0.0


def test_code_length_by_hand():
    data = two_gaussians(400, 0)
    found = online_code_length(data, PROBE, seed=4)
    order = np.random.default_rng(4).permutation(400)
    ends = [end for end, _ in found.portions]
    # Rows go by their place in the permutation.
    shuffled = data.take(np.argsort(order, kind="stable"))
    assert ends[-1] == 400
    assert ends[-4:-1] == [50, 100, 200]
    assert found.portions[0][1] == ends[0]
    begin, end = 200, 400
    logits = replace(PROBE, seed=4).fit(shuffled.take(np.arange(begin))).logits(shuffled.take(np.arange(begin, end)))
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    expected = -np.log2(chances[np.arange(end - begin), shuffled.y[begin:end]]).sum()
    assert found.portions[-1][1] == pytest.approx(expected, rel=1e-4)
    assert found.bits_per_row == pytest.approx(sum(bits for _, bits in found.portions) / 400)
    assert found.compression == pytest.approx(400 / found.bits)


@pytest.mark.parametrize(("rows", "first"), [(10, 10), (300, 19), (40, 20), (20_000, 20)])
def test_no_probe_is_trained_on_a_handful_of_rows(rows, first):
    found = online_code_length(two_gaussians(rows, 3), LinearProbe(epochs=1))
    assert found.portions[0] == (first, first)


def test_what_is_known_is_sent_in_fewer_bits():
    data = planted(1500)
    draw = np.random.default_rng(0)
    noise = data.with_labels(np.array(data.classes, dtype=object)[draw.integers(0, 3, len(data))])
    assert online_code_length(data, PROBE).compression > 4
    assert online_code_length(noise, PROBE).compression < 1.05


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=40).filter(lambda labels: len(set(labels)) == 2))
def test_every_row_is_sent_once(labels):
    data = Data.from_arrays(np.arange(len(labels))[:, None], labels)
    found = online_code_length(data, LinearProbe(epochs=2))
    ends = [end for end, _ in found.portions]
    assert ends == sorted(set(ends))
    assert ends[-1] == len(labels)
    assert all(bits > 0 for _, bits in found.portions)


def test_neurons_needed(splits: tuple[Data, Data]):
    needs = neurons_needed(Probeless().rank(splits[0]), *splits, counts=(1, 2, 5, 20), probe=PROBE)
    assert [need.name for need in needs] == list(splits[0].classes)
    for need in needs:
        assert need.oracle > 0.95
        assert need.needed in (0, 1, 2, 5, 20)
        reached = dict(need.reached)
        assert need.needed == 0 or reached[need.needed] >= 0.97 * need.oracle
        assert all(reached[count] < 0.97 * need.oracle for count in (1, 2, 5, 20) if count < (need.needed or 99))


def test_f1_by_hand():
    assert f1(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 1], bool)) == pytest.approx(0.4)
    assert f1(np.zeros(3, bool), np.zeros(3, bool)) == 0.0


@pytest.mark.parametrize("job", ["code", "needs"])
def test_a_cancelled_computation_stops(splits: tuple[Data, Data], job):
    seen: list[float] = []
    progress = Progress(seen.append, lambda: len(seen) > 3)
    with pytest.raises(Cancelled):
        if job == "code":
            online_code_length(splits[0], PROBE, progress=progress)
        else:
            neurons_needed(Probeless().rank(splits[0]), *splits, probe=PROBE, progress=progress)
    assert len(seen) < 10
