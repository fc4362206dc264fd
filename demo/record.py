"""What the demo saves as JSON."""

import json
from pathlib import Path

import numpy as np

from demo.clamp import interventions
from demo.data import HELD_OUT
from demo.evaluate import Evaluation

__all__ = ["figures", "save"]


def save(path: Path, evaluation: Evaluation, seconds: float) -> None:
    """Writes the figures."""
    path.write_text(json.dumps(figures(evaluation, seconds), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def figures(evaluation: Evaluation, seconds: float) -> dict[str, object]:
    """The held-out figures; `interventions` can be sent with any request as they are."""
    before, after = evaluation.before, evaluation.after
    return {
        "gap_std_before": before.spread,
        "gap_std_after": after.spread,
        "gap_std_random": evaluation.random_spread,
        "gap_std_random_draws": [outcome.spread for outcome in evaluation.random],
        "gap_std_correlated": evaluation.correlated.spread,
        "gap_std_with_templates_before": before.spread_with_templates,
        "gap_std_with_templates_after": after.spread_with_templates,
        "gap_mean_before": before.mean,
        "gap_mean_after": after.mean,
        "gendered_gap_before": evaluation.gendered[0],
        "gendered_gap_after": evaluation.gendered[1],
        "perplexity_before": before.perplexity,
        "perplexity_after": after.perplexity,
        "perplexity_random": evaluation.random_perplexity,
        "neighbour_difference": evaluation.neighbour,
        "neurons": [str(clamp) for clamp in evaluation.clamps],
        "interventions": [str(edit) for edit in interventions(evaluation.clamps)],
        "occupations": by_occupation(evaluation),
        "continuations": [vars(each) for each in evaluation.continuations],
        "seconds": round(seconds, 1),
    }


def by_occupation(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """Mean gap of each held-out occupation."""
    sides = {"before": evaluation.before.gaps, "after": evaluation.after.gaps}
    return {
        occupation: {side: float(np.mean(gaps[place])) for side, gaps in sides.items()}
        for place, occupation in enumerate(HELD_OUT.occupations)
    }
