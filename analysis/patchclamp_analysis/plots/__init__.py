"""Plots of comparisons, rankings and tables: matplotlib figures that belong to nobody, and the figures they show."""

from __future__ import annotations

from .comparisons import accuracy_plot, comparison_plots, layers_plot, overlap_plot
from .figures import Plot, image, save_plot
from .rankings import ranking_plots
from .tables import table_plots

__all__ = [
    "Plot",
    "accuracy_plot",
    "comparison_plots",
    "image",
    "layers_plot",
    "overlap_plot",
    "ranking_plots",
    "save_plot",
    "table_plots",
]
