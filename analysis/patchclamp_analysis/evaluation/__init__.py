"""How good a ranking is: by probes, by a control task, by information, and by what other methods say."""

from __future__ import annotations

from .evaluate import Evaluation, compare_rankings, evaluate_ranking
from .reports import Comparison, RankingEvaluation
from .scores import Score

__all__ = ["Comparison", "Evaluation", "RankingEvaluation", "Score", "compare_rankings", "evaluate_ranking"]
