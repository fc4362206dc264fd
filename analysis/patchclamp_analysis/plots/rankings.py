"""Plots of rankings: which layers the best neurons are in, how far rankings agree, how many neurons a class takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..evaluation.compatibility import distributedness, overlaps, top_places
from ..results import Ranking
from .figures import Plot, heat_map, legend, new_figure, plain, site_bars, ticks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["ranking_plots"]

_MOST_CLASSES = 60


def ranking_plots(rankings: Mapping[str, Ranking], count: int) -> tuple[Plot, ...]:
    """ "layers" of the best `count` neurons; of two rankings or more "overlap", how many of these each two share; and
    "classes" where there are some: how many neurons have half of what a ranking gives to each.

    BadData if the rankings are of different neurons, or have fewer than `count`.
    """
    given = list(rankings.values())
    tops = top_places(given, count)
    counts = {name: ranking.distribution(count) for name, ranking in rankings.items()}
    title = f"the top {count:,} neurons"
    plots = [Plot("layers", f"Layers of the top {count:,}", site_bars(counts, title), _of_layers(counts))]
    if len(given) > 1:
        shares = overlaps(tops)
        figure = heat_map(shares, list(rankings), f"overlap of the top {count:,}", "share of the neurons")
        plots.append(Plot("overlap", f"Agreement on the top {count:,}", figure, _of_pairs(list(rankings), shares)))
    if spreads := {name: distributedness(ranking) for name, ranking in rankings.items() if ranking.classes}:
        figure = _classes(spreads)
        plots.append(
            Plot("classes", "Neurons with half of what a ranking gives to a class", figure, _of_classes(spreads))
        )
    return tuple(plots)


def _classes(spreads: Mapping[str, Mapping[str, int]]) -> Figure:
    """Bars of each class, those that take the fewest neurons first, by the first ranking."""
    first = next(iter(spreads.values()))
    names = sorted({name: None for spread in spreads.values() for name in spread}, key=lambda name: first.get(name, 0))
    names = names[:_MOST_CLASSES]
    figure = new_figure(max(6.0, 0.35 * len(names), 0.1 * len(names) * len(spreads)) + 1.0, 4.0)
    axes = figure.add_subplot()
    width = 0.8 / len(spreads)
    for number, (ranking, spread) in enumerate(spreads.items()):
        at = np.arange(len(names)) + (number + 0.5) * width - 0.4
        axes.bar(at, [spread.get(name, 0) for name in names], width, label=plain(ranking))
    ticks(axes, names)
    axes.set(xlabel="class", ylabel="neurons", title="neurons with half of what a class is given")
    legend(axes)
    return figure


def _of_layers(counts: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    import pandas as pd

    rows = [(name, site, number) for name, of_sites in counts.items() for site, number in of_sites.items()]
    return pd.DataFrame(rows, columns=["ranking", "site", "neurons"])


def _of_pairs(names: Sequence[str], shares: NDArray[np.float64]) -> pd.DataFrame:
    import pandas as pd

    rows = [(names[row], names[column], share) for (row, column), share in np.ndenumerate(shares)]
    return pd.DataFrame(rows, columns=["one", "other", "share"])


def _of_classes(spreads: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    import pandas as pd

    rows = [(ranking, name, number) for ranking, spread in spreads.items() for name, number in spread.items()]
    return pd.DataFrame(rows, columns=["ranking", "class", "neurons"])
