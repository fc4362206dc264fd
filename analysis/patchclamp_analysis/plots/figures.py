"""Figures: made without a window or global state, drawn as PNG or SVG, and what several plots have in common."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from ..files.whole_files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Format",
    "Plot",
    "heat_map",
    "image",
    "legend",
    "new_figure",
    "plain",
    "save_plot",
    "site_bars",
    "site_ticks",
    "ticks",
]

Format = Literal["png", "svg"]

_LAYER = re.compile(r"(.*\blayers\.)(\d+)(\..+)")
# More cells than this are too small for a number; longer names stand aslant.
_MOST_NUMBERS = 20
_UPRIGHT = 3
_UNDRAWN = ("Cc", "Cn", "Cs")


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A figure with its name, one line on what it shows, and the figures that are in it."""

    name: str
    title: str
    figure: Figure
    data: pd.DataFrame


def new_figure(width: float = 7.0, height: float = 4.2) -> Figure:
    """An empty figure, of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def image(figure: Figure, kind: Format = "png") -> bytes:
    """As PNG or SVG; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "patchclamp"}), warnings.catch_warnings():
        # Words of any script are to be drawn; the font has not all.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(buffer, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def save_plot(figure: Figure, path: Path | str) -> None:
    """Writes a .png or .svg file, which appears whole or not at all. BadData for another suffix."""
    path = Path(path)
    kinds: dict[str, Format] = {".png": "png", ".svg": "svg"}
    if path.suffix not in kinds:
        raise BadData("a plot is a .png or .svg file", where=str(path))
    write_whole(path, image(figure, kinds[path.suffix]))


def site_ticks(axes: Axes, sites: Sequence[str]) -> None:
    """Names the places 0, 1, … of the x-axis after sites; where they differ by the layer alone, by its number."""
    found = [_LAYER.fullmatch(site) for site in sites]
    kinds = {(match[1], match[3]) for match in found if match}
    names = list(sites)
    if len(kinds) == 1 and sum(match is not None for match in found) > 1:
        ((before, after),) = kinds
        names = [match[2] if match else site for match, site in zip(found, sites, strict=True)]
        axes.set_xlabel(f"{before}*{after}")
    ticks(axes, names)


def ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names the places 0, 1, … of the x-axis: long names aslant, and short ones beside several of them."""
    axes.set_xticks(np.arange(len(names)), list(map(plain, names)), fontsize="small")
    many = sum(len(name) > _UPRIGHT for name in names) > 1
    for label in axes.get_xticklabels():
        if many or len(label.get_text()) > _UPRIGHT:
            label.set(rotation=45, ha="right", rotation_mode="anchor")


def plain(text: str) -> str:
    """Text from the data as it is: a pair of dollars would be read as a formula, and SVG has no control characters."""
    return "".join("\ufffd" if category(each) in _UNDRAWN else each for each in text).replace("$", r"\$")


def site_bars(counts: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """How many neurons each site has, bars side by side for each name."""
    from matplotlib.ticker import MaxNLocator

    sites = list(next(iter(counts.values())))
    figure = new_figure(max(6.0, 0.35 * len(sites), 0.1 * len(sites) * len(counts)), 4.0)
    axes = figure.add_subplot()
    width = 0.8 / len(counts)
    for number, (name, of_sites) in enumerate(counts.items()):
        at = np.arange(len(sites)) + (number + 0.5) * width - 0.4
        axes.bar(at, list(of_sites.values()), width, label=plain(name))
    site_ticks(axes, sites)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel="neurons", title=plain(title))
    legend(axes)
    return figure


def heat_map(values: NDArray[np.float64], names: Sequence[str], title: str, unit: str) -> Figure:
    """Of values [M, M] from 0 to 1, which are of this unit."""
    places = np.arange(len(names))
    numbered = len(names) <= _MOST_NUMBERS
    size = (0.6 if numbered else 0.25) * len(names)
    figure = new_figure(3.2 + size, 2.2 + size)
    axes = figure.add_subplot()
    picture = axes.imshow(values, vmin=0.0, vmax=1.0, cmap="viridis")
    ticks(axes, names)
    axes.set_yticks(places, list(map(plain, names)), fontsize="small")
    if numbered:
        for (row, column), share in np.ndenumerate(values):
            colour = "white" if share < 0.6 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize="small")
    axes.set_title(plain(title))
    figure.colorbar(picture, shrink=0.8, label=unit)
    return figure


def legend(axes: Axes, title: str = "", marker_scale: float = 1.0) -> None:
    """Beside the axes, where it hides nothing."""
    axes.legend(
        fontsize="small",
        title=title or None,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        markerscale=marker_scale,
    )
