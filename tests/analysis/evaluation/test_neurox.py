"""Control tasks and ablation against what NeuroX itself did; see golden/neurox/ORIGIN.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from patchclamp_analysis.data import Data
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.evaluation.accuracy import ablation_accuracies
from patchclamp_analysis.evaluation.control import control_labels
from patchclamp_analysis.probe import Probe

GOLDEN = Path(__file__).parents[1] / "golden" / "neurox"
CONTROL = json.loads((GOLDEN / "control_task.json").read_text())
WORDS = json.loads((GOLDEN / "control_words.json").read_text())
RANKINGS = json.loads((GOLDEN / "linear_probe_rankings.json").read_text())
# In the order of the numbers that the toolkit gave them.
CLASSES = ("NOUN", "VERB", "ADJ", "OTHER")


def split(first: int, last: int) -> Data:
    words = [word for sentence in WORDS["source"][first:last] for word in sentence]
    labels = [label for sentence in WORDS["target"][first:last] for label in sentence] or ["NOUN"] * len(words)
    x = np.zeros((len(words), 1))
    return Data.from_arrays(x, labels, words=np.array(words, dtype=object), classes=CLASSES)


def flat(sentences: list[list[int]]) -> list[int]:
    return [number for sentence in sentences for number in sentence]


def test_control_labels():
    found = control_labels(split(0, 60), split(60, 70), split(70, 80), seed=0)
    assert [labels.tolist() for labels in found] == [flat(part) for part in CONTROL["targets"]]


def test_control_labels_uniform_and_without_case():
    words = flat(CONTROL["uniform_ci_source"])
    labels = flat(WORDS["target"][: len(CONTROL["uniform_ci_source"])])
    data = Data.from_arrays(np.zeros((len(words), 1)), labels, words=np.array(words, dtype=object), classes=CLASSES)
    (found,) = control_labels(data, seed=0, uniform=True, fold_case=True)
    assert found.tolist() == flat(CONTROL["uniform_ci_target"])


@pytest.mark.parametrize(("key", "kept"), [("filter_keep", True), ("filter_remove", False)])
def test_columns_that_stay(key, kept):
    with np.load(GOLDEN / "ablation.npz") as stored:
        data = Data.from_arrays(stored["X"])
        others = np.setdiff1d(np.arange(data.shape[1]), stored["neurons"])
        chosen, expected = np.sort(stored["neurons"]) if kept else others, stored[key]
        order = np.argsort(stored["neurons"], kind="stable") if kept else slice(None)
        assert np.array_equal(data.keep(chosen).matrix(), expected[:, order])


@pytest.mark.parametrize(("key", "kept"), [("zero_keep", True), ("zero_remove", False)])
def test_columns_at_zero(key, kept):
    with np.load(GOLDEN / "ablation.npz") as stored:
        x, neurons, expected = stored["X"], stored["neurons"], stored[key]
    width = x.shape[1]
    # Its logits are what it sees.
    eye, zeros = np.eye(width, dtype=np.float32), np.zeros(width, np.float32)
    names = tuple(f"{number:02}" for number in range(width))
    probe = Probe(Neurons.all_of([Site("neurons", width)]), names, eye, zeros, zeros, np.ones(width, np.float32))
    chosen = neurons if kept else np.setdiff1d(np.arange(width), neurons)
    assert np.array_equal(probe.ablated(chosen, "zero").logits(Data.from_arrays(x)), expected)


@pytest.mark.parametrize("kind", RANKINGS)
def test_ablation_of_many_choices_at_once(kind):
    order, expected = np.array(RANKINGS[kind]["ordering"]), RANKINGS[kind]["ablation_zero_out"]
    with np.load(GOLDEN / "linear_probe_weights.npz") as weights, np.load(GOLDEN / "inputs.npz") as inputs:
        test = Data.from_arrays(inputs["X"][1500:], inputs["y"][1500:])
        unscaled = np.zeros(256, np.float32), np.ones(256, np.float32)
        probe = Probe(test.neurons, test.classes, weights[f"{kind}_W"], weights[f"{kind}_b"], *unscaled)
    kept = [order[:25], order[-25:], order[:51], order[-51:]]
    names = [f"keep_{which}_{percent}pct_zero_out" for percent in (10, 20) for which in ("top", "bottom")]
    assert ablation_accuracies(probe, test, kept, "zero") == [expected[name] for name in names]
