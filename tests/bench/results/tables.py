"""The tables of the page, as pandas has them and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from patchclamp_analysis.evaluation import Comparison, RankingEvaluation
from patchclamp_analysis.evaluation.classes import ClassNeed

from tests.bench.results.plans import CLOSED, COUNTS, OPEN, SHARES

__all__ = ["accuracies", "choices", "markdown", "needed", "of_classes", "others", "redundancy", "steps"]


def markdown(frame: pd.DataFrame) -> str:
    """With its index as the first column."""
    lines = [["", *map(str, frame.columns)], ["---"] * (len(frame.columns) + 1)]
    lines += [[str(name), *map(str, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def accuracies(comparison: Comparison) -> pd.DataFrame:
    """Of the top neurons by each method, and of random ones; in brackets the percentage of the oracle's."""
    first = comparison.evaluations[0]

    def row(each: RankingEvaluation, which: Any) -> list[str]:
        means = [each.score("accuracy", which, count).mean for count in comparison.counts]
        return [f"{mean:.3f} ({100 * mean / first.oracle.mean:.1f})" for mean in means]

    rows = {each.method: row(each, "top") for each in comparison.evaluations} | {"random": row(first, "random")}
    names = [f"{count:,} ({100 * count / first.neurons:.1f} %)" for count in comparison.counts]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def others(comparison: Comparison) -> pd.DataFrame:
    """Selectivity of the smallest and the largest number of neurons, information of the largest that memory allowed,
    and agreement on the largest.
    """
    few, many = comparison.counts[0], comparison.counts[-1]
    informative = max(score.count for score in comparison.evaluations[0].scores if score.measure == "information")
    rows = {
        each.method: [
            each.score("selectivity", "top", few).mean,
            each.score("selectivity", "top", many).mean,
            each.score("information", "top", informative).mean,
            comparison.average_overlap[-1][number],
            comparison.neuron_vote[-1][number],
        ]
        for number, each in enumerate(comparison.evaluations)
    }
    columns = [f"selectivity of {few:,}", f"of {many:,}", f"MI/H of {informative:,}"]
    columns += [f"AvgOverlap of {many:,}", f"NeuronVote of {many:,}"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).map("{:.3f}".format)


def choices(tried: Sequence[tuple[Sequence[float], float, float]]) -> pd.DataFrame:
    """The penalties that were tried, and what they reached."""
    rows = {f"{l1:g}, {l2:g}": [f"{of_all:.4f}", f"{of_tenth:.4f}"] for (l1, l2), of_all, of_tenth in tried}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["judge: all neurons", "ranker: its top 10 %"])


def needed(need: ClassNeed, share: float) -> float:
    """The fewest neurons that reach a part of the oracle's F1; infinite where none of the numbers does."""
    return next((count for count, score in need.reached if score >= share * need.oracle), float("inf"))


def of_classes(needs: Sequence[ClassNeed]) -> pd.DataFrame:
    """How many neurons each class needs."""
    rows = []
    for need in needs:
        kind = "closed" if need.name in CLOSED else "open" if need.name in OPEN else "other"
        counts = [needed(need, share) for share in SHARES]
        shown = [f"over {COUNTS[-1]}" if count == float("inf") else str(count) for count in counts]
        rows.append(((kind, counts, need.name), [need.name, kind, need.rows, f"{need.oracle:.3f}", *shown]))
    columns = ["", "kind", "test words", "oracle F1", *(f"for {share:.0%}" for share in SHARES)]
    return pd.DataFrame([row for _, row in sorted(rows)], columns=columns).set_index("")


def steps(reductions: Mapping[str, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """What each step of efficient features leaves, for each loss."""
    rows = [_step(found[0], row, loss) for loss, found in reductions.items() for row in found[1:]]
    oracle = next(iter(reductions.values()))[0]
    rows.insert(0, ["oracle", *_step(oracle, oracle, "0")[1:]])
    return pd.DataFrame(rows, columns=["", "layers", "neurons", "accuracy", "training"]).set_index("")


def _step(oracle: Mapping[str, Any], row: Mapping[str, Any], loss: str) -> list[str]:
    return [
        f"{row['step']}, loss {100 * float(loss):g} %",
        str(row["layers"]),
        f"{row['neurons']:,} ({100 * row['neurons'] / oracle['neurons']:.1f} %)",
        f"{row['accuracy']:.3f} ({100 * row['accuracy'] / oracle['accuracy']:.1f})",
        f"{oracle['seconds'] / row['seconds']:.1f}×",
    ]


def redundancy(redundant: Mapping[str, float]) -> pd.DataFrame:
    """The part of the neurons that can go, by the correlation within clusters."""
    columns = [f"d ≤ {threshold}" for threshold in redundant]
    return pd.DataFrame([[f"{100 * share:.1f} %" for share in redundant.values()]], ["redundant"], columns)
