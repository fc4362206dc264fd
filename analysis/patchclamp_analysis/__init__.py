"""Analyses of neurons, offline: corpora, activation sets, methods, evaluation.

The names below are what most scripts need; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .corpora.corpus import Corpus
    from .data import Data
    from .evaluation import Evaluation, compare_rankings, evaluate_ranking
    from .methods import METHODS
    from .progress import Progress
    from .results import Ranking
    from .sets.activation_sets import ActivationSet

__all__ = [
    "METHODS",
    "ActivationSet",
    "Corpus",
    "Data",
    "Evaluation",
    "Progress",
    "Ranking",
    "compare_rankings",
    "evaluate_ranking",
]

_HOMES = {
    "METHODS": "methods",
    "ActivationSet": "sets.activation_sets",
    "Corpus": "corpora.corpus",
    "Data": "data",
    "Evaluation": "evaluation",
    "Progress": "progress",
    "Ranking": "results",
    "compare_rankings": "evaluation",
    "evaluate_ranking": "evaluation",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
