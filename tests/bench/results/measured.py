"""All figures of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from patchclamp_analysis.data import Data
from patchclamp_analysis.evaluation import Comparison, Evaluation, compare_rankings
from patchclamp_analysis.evaluation.classes import ClassNeed, neurons_needed
from patchclamp_analysis.methods.correlation_clusters import CorrelationClusters
from patchclamp_analysis.methods.linear_probe import LinearProbe
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.sets.activation_sets import SetDescription

from tests.bench.results.choice import choose
from tests.bench.results.plans import COUNTS, GRID, LOSSES, MODELS, THRESHOLDS, Plan, methods_of
from tests.bench.results.reduction import reduction
from tests.bench.results.stored import kept, kept_comparison, kept_ranking, open_sets

__all__ = ["Measured", "measure"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Measured:
    """What was found of a model. `choice` is `Choice` as JSON has it; `reductions` are by the loss that was allowed;
    `redundant` is the redundant part of the neurons by threshold, of all layers together.
    """

    model: str
    plan: Plan
    description: SetDescription
    choice: Mapping[str, Any]
    comparison: Comparison
    needs: Sequence[ClassNeed]
    reductions: Mapping[str, Rows]
    redundant: Mapping[str, float]
    settings: Mapping[str, Mapping[str, object]]


def measure(model: str) -> Measured:
    """Computes what is not kept yet."""
    plan = MODELS[model]
    with open_sets(model, plan.dtype) as (train, test, description):
        choice = kept(f"{model}.choice", lambda: asdict(choose(train, GRID, plan.choice_share)))
        judge = LinearProbe(l1=choice["judge"][0], l2=choice["judge"][1])
        rankings = [
            kept_ranking(model, method, _part(train, plan.shares.get(name, 1.0)))
            for name, method in methods_of(plan, *choice["ranker"]).items()
        ]
        how = Evaluation(seeds=plan.seeds, l1=judge.l1, l2=judge.l2)
        names = [each.method for each in rankings]
        comparison = kept_comparison(
            model, names, lambda progress: compare_rankings(rankings, train, test, how, progress=progress)
        )
        needs = kept(f"{model}.needs", lambda: _needs(rankings[0], train, test, judge), f"{model}.linear_probe.npz")
        reductions = {
            f"{loss:g}": kept(
                f"{model}.reduction-{loss:g}",
                partial(reduction, train, test, judge, loss, plan.seeds),
                f"{model}.choice.json",
            )
            for loss in LOSSES
        }
        redundant = kept(f"{model}.clusters", lambda: _redundant(train, plan.cluster_rows))
    return Measured(
        model,
        plan,
        description,
        choice,
        comparison,
        [ClassNeed(**need) for need in needs],
        reductions,
        redundant,
        {each.method: each.parameters for each in rankings},
    )


def _part(train: Data, share: float) -> Data:
    return train if share == 1.0 else train.split(share)[1]


def _needs(ranking: Ranking, train: Data, test: Data, judge: LinearProbe) -> list[dict[str, object]]:
    return [asdict(need) for need in neurons_needed(ranking, train, test, counts=COUNTS, probe=judge)]


def _redundant(train: Data, rows: int) -> dict[str, float]:
    chosen = np.random.default_rng(0).permutation(len(train))[: rows or None]
    data = replace(train.take(np.sort(chosen)), memory_bytes=5 * 2**30)
    return {f"{threshold:g}": CorrelationClusters(threshold).cluster(data).redundant_share for threshold in THRESHOLDS}
