"""Efficient features, chosen on training sentences and judged on others."""

from __future__ import annotations

import time

import numpy as np
from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation.accuracy import ProbingTask, gathered
from patchclamp_analysis.methods.efficient_features import EfficientFeatures
from patchclamp_analysis.methods.linear_probe import LinearProbe

__all__ = ["reduction"]


def reduction(train: Data, test: Data, probe: LinearProbe, loss: float, seeds: int) -> list[dict[str, float | str]]:
    """A row per step: layers and neurons left, the accuracy on the test rows of probes of these that were trained on
    all training rows (mean over seeds), and the processor seconds that training one took.
    """
    found = EfficientFeatures(loss=loss, l1=probe.l1, l2=probe.l2).reduce(train)
    rows: list[dict[str, float | str]] = []
    for stage in found.stages:
        places = np.flatnonzero(np.isin(train.neurons.columns, stage.trial.neurons.columns))
        task = ProbingTask(gathered(train.keep(places)), gathered(test.keep(places)), probe)
        began = time.process_time()
        probes = [task.fit(seed=seed) for seed in range(seeds)]
        seconds = (time.process_time() - began) / seeds
        accuracy = float(np.mean([each.score(task.test).accuracy for each in probes]))
        rows.append(
            {
                "step": stage.step,
                "layers": stage.layers,
                "neurons": len(places),
                "accuracy": accuracy,
                "seconds": seconds,
            }
        )
    return rows
