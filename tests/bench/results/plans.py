"""What is measured: models, methods with their settings, numbers of neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchclamp_analysis.methods import RANKING_METHODS, build
from patchclamp_analysis.methods.method import RankingMethod

__all__ = [
    "CLOSED",
    "COUNTS",
    "GRID",
    "LOSSES",
    "MODELS",
    "OPEN",
    "SHARES",
    "THRESHOLDS",
    "TRAIN_SENTENCES",
    "Plan",
    "methods_of",
]

TRAIN_SENTENCES = 4000
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 400, 800)
SHARES = (0.9, 0.97)
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.8)
"""Of the correlation clusters: distances 1 − |ρ|."""
GRID = tuple((l1, l2) for l1 in (1e-5, 3e-4, 1e-3) for l2 in (1e-4, 1e-2))
"""Weights of Σ|W| and ΣW² that are tried, for the probes that judge and for the one that ranks."""
LOSSES = (0.01, 0.03)
"""Of the oracle's accuracy, which efficient features may cost."""
CLOSED = frozenset({"ADP", "AUX", "CCONJ", "DET", "NUM", "PART", "PRON", "SCONJ"})
OPEN = frozenset({"ADJ", "ADV", "INTJ", "NOUN", "PROPN", "VERB"})
_METHODS = (
    "linear_probe",
    "probeless",
    "iou",
    "average_precision",
    "gaussian",
    "mean_select",
    "random_forest",
    "latent_variable",
    "mutual_information",
    "variance",
)


@dataclass(frozen=True)
class Plan:
    """How a model is measured. `settings` are those of methods that differ from the default. What is dear of many
    neurons is done with fewer rows: `shares` has the part of the training sentences that a method ranks by, penalties
    are chosen with a `choice_share` of the sentences that there are for it, and clusters' correlations are over
    `cluster_rows` random words (0: all).
    """

    dtype: str
    seeds: int
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    choice_share: float = 1.0
    cluster_rows: int = 0


MODELS = {
    "minilm-l6": Plan("float32", 3, {"random_forest": {"trees": 50, "leaf": 5}}),
    "smollm2-135m": Plan(
        "float16",
        1,
        {"random_forest": {"trees": 20, "leaf": 5}, "gaussian": {"count": 20}},
        {"random_forest": 0.25, "gaussian": 0.25},
        0.4,
        4096,
    ),
}


def methods_of(plan: Plan, l1: float, l2: float) -> dict[str, RankingMethod]:
    """Those of the table, by name; the linear probe has the penalties that were chosen for it."""
    settings = {"linear_probe": {"l1": l1, "l2": l2}, **plan.settings}
    return {name: build(RANKING_METHODS[name], settings.get(name, {})) for name in _METHODS}
