"""NeuroX's own functions against ours on the same activations: `NEUROX=folder make bench ARGS=neurox`.

NeuroX is no dependency: `folder` is where it and what it imports were put (`pip install --no-deps --target folder
neurox imbalanced-learn sklearn-compat`). The release on PyPI, 1.0.9, has no Gaussian, IoU and selectivity probes: for
those, take the folder of its repository. What is not there is not measured.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.methods.top_words import TopWords
from patchclamp_analysis.methods.weight_order import entering_mass

from tests.bench.harness import console, in_turn, one_core, ratio, table
from tests.bench.methods_cases import method
from tests.bench.methods_sample import CLASSES, ROWS, WIDTH, Sample
from tests.bench.redundancy import THRESHOLD
from tests.bench.redundancy import sample as redundant

__all__ = ["run"]

SOME = 16
STEPS = 3


@dataclass(frozen=True)
class Race:
    """Two ways; ours does `more` times the work of theirs, which gets the module."""

    module: str
    ours: Callable[[], object]
    theirs: Callable[[Any], object]
    more: float = 1.0
    rounds: int = 3
    note: str = ""


def run(*names: str) -> None:
    """Prints how much longer NeuroX takes, for each of its functions that is there."""
    folder = os.environ.get("NEUROX", "")
    if folder:
        sys.path.append(folder)
    if _module("interpretation.linear_probe") is None:
        where = f"NEUROX={folder}" if folder else "NEUROX names no folder"
        console.print(f"NeuroX cannot be imported ({where}): not measured. tests/bench/neurox.py says how to get it.")
        return
    console.print(f"[bold]NeuroX[/] ({ROWS:,} rows × {WIDTH:,} neurons, {CLASSES} classes, one core each)")
    rows = []
    with one_core(), patch("torch.eig", _eigenvalues):
        sample = Sample.draw()
        races = {**_rankings(sample), **_probes(sample), **_clusterings(), **_words(sample)}
        for name in names or races:
            module = _module(races[name].module)
            if module is None:
                rows.append((name, "—", "—", f"this NeuroX has no {races[name].module}"))
                continue
            rows.append((name, *_measured(races[name], module)))
        table(("", "ours, s", "times as fast", ""), rows)
        if not names:
            _accuracy(sample)


def _measured(race: Race, module: Any) -> tuple[str, str, str]:
    def theirs() -> object:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return race.theirs(module)

    seconds = in_turn({"ours": race.ours, "theirs": theirs}, race.rounds)
    return f"{np.median(seconds['ours']):.2f}", f"{ratio(seconds, 'theirs', 'ours') * race.more:.1f}×", race.note


def _rankings(sample: Sample) -> dict[str, Race]:
    x, y = sample.x, sample.y
    few = x[:, :SOME].copy()
    tried = sum(SOME - step for step in range(STEPS + 1))
    fitted = [module.train_probe(few, y) for module in [_module("interpretation.gaussian_probe")] if module]

    def precision(module: Any) -> None:
        for number in range(CLASSES):
            module.get_neuron_ordering(few.copy(), y == number, 0.05)

    def selectivity(module: Any) -> None:
        for number in range(CLASSES):
            module.get_neuron_ordering(x, y == number)

    return {
        "gaussian": Race(
            "interpretation.gaussian_probe",
            lambda: method("gaussian", count=STEPS + 1, compat="neurox")(sample),
            lambda module: module.get_neuron_ordering(fitted[0], STEPS + 1),
            (STEPS + 1) * WIDTH / tried,
            note=f"a candidate, 0 to {STEPS} chosen; theirs of {SOME} neurons, fitted before. Goal 15×",
        ),
        "average_precision": Race(
            "interpretation.iou_probe",
            lambda: method("average_precision", compat="neurox", threshold=0.05)(sample),
            precision,
            WIDTH / SOME,
            note=f"a neuron, all classes; theirs of {SOME} neurons. Goal 10×",
        ),
        "mean_select": Race(
            "interpretation.selectivity_probe", lambda: method("mean_select")(sample), selectivity, note="all classes"
        ),
        "probeless": Race(
            "interpretation.probeless",
            lambda: method("probeless", compat="neurox")(sample),
            lambda module: module.get_neuron_ordering_for_all_tags(x, y, {at: str(at) for at in range(CLASSES)}),
            note="all classes",
        ),
    }


def _probes(sample: Sample) -> dict[str, Race]:
    weights = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)
    names = {str(number): number for number in range(CLASSES)}
    probe = torch.nn.Linear(WIDTH, CLASSES)
    probe.weight.data = torch.from_numpy(weights)
    return {
        "linear_probe": Race(
            "interpretation.linear_probe",
            lambda: LinearProbe().fit(sample.data),
            lambda module: _trained(module, sample, ROWS),
            note="training. Goal 5×",
        ),
        "order": Race(
            "interpretation.linear_probe",
            lambda: [np.argsort(entering_mass(weights).min(axis=0), kind="stable") for _ in range(20)],
            lambda module: module.get_neuron_ordering(probe, names),
            20,
            5,
            note="of a probe's neurons; ours 20 times. Goal 50×",
        ),
    }


def _clusterings() -> dict[str, Race]:
    sample = redundant(ROWS, WIDTH)
    return {
        "clusters": Race(
            "interpretation.clustering",
            lambda: CorrelationClusters(THRESHOLD).cluster(sample.data),
            lambda module: module.extract_independent_neurons(sample.x, True, THRESHOLD),
            rounds=5,
            note="its variant with numpy. Goal 2×",
        ),
        "clusters, slow": Race(
            "interpretation.clustering",
            lambda: CorrelationClusters(THRESHOLD, absolute=False).cluster(sample.data),
            lambda module: module.scikit_extract_independent_neurons(sample.x, THRESHOLD),
            rounds=1,
            note="its variant with pdist. Goal 50×",
        ),
    }


def _words(sample: Sample) -> dict[str, Race]:
    starts = range(0, ROWS, 20)
    sentences = [sample.x[at : at + 20] for at in starts]
    tokens = {"source": [list(sample.words[at : at + 20]) for at in starts]}
    return {
        "top_words": Race(
            "analysis.corpus",
            lambda: TopWords().find(sample.data),
            lambda module: [module.get_top_words(tokens, sentences, neuron, 20) for neuron in range(SOME)],
            WIDTH / SOME,
            note=f"a neuron; theirs of {SOME} neurons",
        ),
    }


def _trained(module: Any, sample: Sample, rows: int) -> Any:
    """Its linear probe of the first rows."""
    x, y = sample.x[:rows], sample.y[:rows]
    return module.train_logistic_regression_probe(x, y, lambda_l1=1e-5, lambda_l2=1e-5)


def _accuracy(sample: Sample) -> None:
    """Trained on four fifths, judged on the rest."""
    data, cut = sample.data, ROWS * 4 // 5
    test = data.take(np.arange(cut, ROWS))
    ours = LinearProbe().fit(data.take(np.arange(cut))).score(test).accuracy
    module = _module("interpretation.linear_probe")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        trained = _trained(module, sample, cut)
    found = trained(torch.from_numpy(sample.x[cut:])).argmax(dim=1).numpy()
    console.print(f"  held-out accuracy of the linear probe   ours {ours:.4f}, NeuroX {np.mean(found == test.y):.4f}")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"neurox.{name}")
    except ImportError:
        return None


def _eigenvalues(square: torch.Tensor) -> SimpleNamespace:
    """What its Gaussian probe asks torch for when it is fitted: gone since 1.13."""
    return SimpleNamespace(eigenvalues=torch.linalg.eigvals(square).real[:, None])
