"""What the survey says, beside what was found."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from patchclamp_analysis.evaluation import Comparison

from tests.bench.results.measured import Measured
from tests.bench.results.plans import CLOSED, COUNTS, OPEN, SHARES
from tests.bench.results.tables import needed

__all__ = ["echo"]


def echo(found: Measured) -> Iterator[str]:
    """A sentence or two on each claim."""
    yield _top(found.comparison)
    for share in SHARES:
        yield _kinds(found, share)
    yield _reduced(found)
    yield _clusters(found)


def _top(comparison: Comparison) -> str:
    first, count = comparison.evaluations[0], comparison.counts[-1]
    shares = {
        each.method: each.score("accuracy", "top", count).mean / first.oracle.mean for each in comparison.evaluations
    }
    best = max(shares, key=shares.__getitem__)
    enough = [f"`{name}`" for name, share in shares.items() if share >= 0.97]
    random = first.score("accuracy", "random", count).mean / first.oracle.mean
    worse = [f"`{name}`" for name, share in shares.items() if share <= random]
    return (
        f"*≥ 97 % of the performance with ≤ 10 % of the neurons*: {', '.join(enough) or 'not reached'}. Best is "
        f"`{best}`, {100 * shares[best]:.1f} % of the oracle with {count:,} neurons "
        f"({100 * count / first.neurons:.1f} %). Random ones have {100 * random:.1f} %; no better are "
        f"{', '.join(worse) or 'none'}."
    )


def _kinds(found: Measured, share: float) -> str:
    closed, open_ = (
        pd.Series([needed(need, share) for need in found.needs if need.name in names]).median()
        for names in (CLOSED, OPEN)
    )
    shown = [f"over {COUNTS[-1]}" if median == float("inf") else f"{median:g}" for median in (closed, open_)]
    return (
        f"*Closed classes need fewer neurons than open ones*: {'yes' if closed < open_ else 'not here'}; for "
        f"{100 * share:.0f} % of the oracle's F1 closed ones {shown[0]}, open ones {shown[1]} (medians)."
    )


def _reduced(found: Measured) -> str:
    texts = []
    for rows in found.reductions.values():
        removed, left = 1.0 - rows[-1]["neurons"] / rows[0]["neurons"], rows[-1]["accuracy"] / rows[0]["accuracy"]
        texts.append(f"without {100 * removed:.1f} % of them {100 * left:.1f} % of the oracle's accuracy stays")
    return f"*At least 92 % of the neurons can be removed for a task*: {'; '.join(texts)}."


def _clusters(found: Measured) -> str:
    enough = next((threshold for threshold, share in found.redundant.items() if share >= 0.85), None)
    text = "at no threshold that was tried" if enough is None else f"from a threshold of {enough} on"
    return (
        f"*85 % of the neurons are redundant*: here {text} ({_redundant(found, enough)}); at 0.3, where neurons of a "
        f"cluster have a mean |ρ| of 0.7 or more, {_redundant(found, '0.3')} are."
    )


def _redundant(found: Measured, threshold: str | None) -> str:
    return f"{100 * found.redundant[threshold or max(found.redundant, key=float)]:.1f} %"
