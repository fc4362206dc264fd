"""A report of a comparison: one HTML file with its tables and plots inside, that loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from .evaluation.reports import Comparison, RankingEvaluation
from .plots import accuracy_plot, image, layers_plot, overlap_plot

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["html_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% }
"""


def html_report(comparison: Comparison, *, title: str = "") -> str:
    """The whole page. All text from the data is escaped; the page allows itself neither scripts nor requests."""
    first, count = comparison.evaluations[0], comparison.counts[-1]
    heading = escape(title or f"Neurons for {first.label}")
    parts = [
        f"<h1>{heading}</h1>",
        f"<p>{first.neurons:,} neurons; {first.train_rows:,} rows to train on, {first.test_rows:,} to judge by. "
        f"All neurons: <b>{first.oracle.mean:.3f}</b>; majority: {first.majority:.3f}.</p>",
        "<h2>Accuracy of a probe of the top neurons</h2>",
        _picture(accuracy_plot(comparison), "accuracy against the number of neurons"),
        _table(_accuracies(comparison)),
        f"<h2>Layers of the top {count:,}</h2>",
        _picture(layers_plot(comparison, count), "distribution over layers"),
    ]
    if len(comparison.methods) > 1:
        parts += [f"<h2>Agreement on the top {count:,}</h2>", _picture(overlap_plot(comparison, count), "overlap")]
    parts += ["<h2>All figures</h2>", _table(comparison.to_pandas())]
    parts += [_spread(evaluation) for evaluation in comparison.evaluations if evaluation.spread]
    parts += _notes(comparison.evaluations)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{heading}</title><style>{_STYLE}</style></head>\n<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def _accuracies(comparison: Comparison) -> pd.DataFrame:
    import pandas as pd

    first = comparison.evaluations[0]
    rows: list[dict[str, object]] = [
        {"method": each.method}
        | {f"top {count:,}": each.score("accuracy", "top", count).mean for count in comparison.counts}
        for each in comparison.evaluations
    ]
    random = {f"top {count:,}": first.score("accuracy", "random", count).mean for count in comparison.counts}
    return pd.DataFrame([*rows, {"method": "random neurons"} | random])


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    rows = ["".join(f"<td>{escape(_shown(value))}</td>" for value in row) for row in frame.to_numpy(dtype=object)]
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _picture(figure: Figure, text: str) -> str:
    data = base64.b64encode(image(figure)).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def _spread(evaluation: RankingEvaluation) -> str:
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{count}</td></tr>" for name, count in evaluation.spread.items())
    heading = f"Neurons with half of what {escape(evaluation.method)} gives to each class"
    return f"<h2>{heading}</h2><table>{cells}</table>"


def _notes(evaluations: Sequence[RankingEvaluation]) -> list[str]:
    notes = {note: None for evaluation in evaluations for note in evaluation.notes}
    return ["<h2>Notes</h2>", *(f"<p>{escape(note)}</p>" for note in notes)] if notes else []
