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
from tests.bench.redundancy import activations as redundant

__all__ = ["run"]

SOME = 16
STEPS = 3


@dataclass(frozen=True)
class Race:
    """Two ways; ours does `more` times the work. Returns are kept out of the way's time."""

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
        where = f"in NEUROX={folder}" if folder else "and NEUROX names no folder"
        console.print(f"NeuroX cannot be imported ({where}): not measured. See {__file__}")
        return
    console.print(f"[bold]NeuroX[/] ({ROWS:,} rows × {WIDTH:,} neurons, {CLASSES} classes, one core each)")
    rows = []
    with one_core(), patch("torch.eig", _eigenvalues):
        races = _races(Sample.draw())
        for name in names or races:
            module = _module(races[name].module)
            if module is None:
                rows.append((name, "—", "—", f"this NeuroX has no {races[name].module}"))
                continue
            rows.append((name, *_measured(races[name], module)))
        table(("", "ours, s", "times as fast", ""), rows)
        if not names:
            _accuracy(Sample.draw())


def _measured(race: Race, module: Any) -> tuple[str, str, str]:
    def theirs() -> object:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return race.theirs(module)

    seconds = in_turn({"ours": race.ours, "theirs": theirs}, race.rounds)
    return f"{np.median(seconds['ours']):.2f}", f"{ratio(seconds, 'theirs', 'ours') * race.more:.1f}×", race.note


def _races(sample: Sample) -> dict[str, Race]:
    x, y, data = sample.x, sample.y, sample.data
    few, names = x[:, :SOME].copy(), {str(number): number for number in range(CLASSES)}
    clustered = redundant(ROWS, WIDTH)
    weights = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float32)
    probe = torch.nn.Linear(WIDTH, CLASSES)
    probe.weight.data = torch.from_numpy(weights)
    tried = sum(SOME - step for step in range(STEPS + 1))
    sentences = [x[at : at + 20] for at in range(0, ROWS, 20)]
    tokens = {"source": [list(sample.words[at : at + 20]) for at in range(0, ROWS, 20)]}

    def precision(module: Any) -> None:
        for number in range(CLASSES):
            module.get_neuron_ordering(few.copy(), y == number, 0.05)

    def selectivity(module: Any) -> None:
        for number in range(CLASSES):
            module.get_neuron_ordering(x, y == number)

    def gaussian(module: Any) -> None:
        module.get_neuron_ordering(fitted[0], STEPS + 1)

    fitted = [module.train_probe(few, y) for module in [_module("interpretation.gaussian_probe")] if module]
    return {
        "gaussian": Race(
            "interpretation.gaussian_probe",
            lambda: method("gaussian", count=STEPS + 1, compat="neurox")(sample),
            gaussian,
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
        ),
        "linear_probe": Race(
            "interpretation.linear_probe",
            lambda: LinearProbe().fit(data),
            lambda module: module.train_logistic_regression_probe(x, y, lambda_l1=1e-5, lambda_l2=1e-5),
            note="training; accuracy below. Goal 5×",
        ),
        "order": Race(
            "interpretation.linear_probe",
            lambda: [np.argsort(entering_mass(weights).min(axis=0), kind="stable") for _ in range(20)],
            lambda module: module.get_neuron_ordering(probe, names),
            20,
            5,
            note="of a probe's neurons; ours 20 times. Goal 50×",
        ),
        "clusters": Race(
            "interpretation.clustering",
            lambda: CorrelationClusters(THRESHOLD).cluster(Sample.of(clustered).data),
            lambda module: module.extract_independent_neurons(clustered, True, THRESHOLD),
            rounds=5,
            note="its variant with numpy. Goal 2×",
        ),
        "clusters, slow": Race(
            "interpretation.clustering",
            lambda: CorrelationClusters(THRESHOLD, absolute=False).cluster(Sample.of(clustered).data),
            lambda module: module.scikit_extract_independent_neurons(clustered, THRESHOLD),
            rounds=1,
            note="its variant with pdist. Goal 50×",
        ),
        "top_words": Race(
            "analysis.corpus",
            lambda: TopWords().find(data),
            lambda module: [module.get_top_words(tokens, sentences, neuron, 20) for neuron in range(SOME)],
            WIDTH / SOME,
            note=f"a neuron; theirs of {SOME} neurons",
        ),
    }


def _accuracy(sample: Sample) -> None:
    """Trained on four fifths, judged on the rest."""
    data, cut = sample.data, ROWS * 4 // 5
    test = data.take(np.arange(cut, ROWS))
    ours = LinearProbe().fit(data.take(np.arange(cut))).score(test).accuracy
    module = _module("interpretation.linear_probe")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        trained = module.train_logistic_regression_probe(sample.x[:cut], sample.y[:cut], lambda_l1=1e-5, lambda_l2=1e-5)
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
