"""Reports: one HTML file each with tables and plots inside, that loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from .evaluation.reports import Comparison
from .plots import Plot, comparison_plots, image, ranking_plots, table_plots
from .results import Ranking
from .tables import Tables

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["html_report", "ranking_report", "tables_report"]

_MOST_ROWS = 100
_BEST = 30
_MEASURES = (
    "accuracy: of a probe of these neurons alone. kept, removed: of the probe of all neurons when only these are left, "
    "or when these are taken away. selectivity: accuracy less that on a control task. information: what the neurons "
    "tell about the class, as a part of its entropy. code_length: bits a row; compression: how many times shorter that "
    "is than the uniform code. average_overlap, neuron_vote: agreement with the other methods. Means over seeds."
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child, td.text, th.text { text-align: left }
table.run { font-size: 90%; color: #555 }
table.run td { white-space: normal; text-align: left; vertical-align: top }
img { max-width: 100% }
"""


def html_report(comparison: Comparison, *, title: str = "", run: Mapping[str, str] | None = None) -> str:
    """The page of an evaluation. `run` says what was run: name → value, above the rest. All text from the data is
    escaped; the page allows itself neither scripts nor requests.
    """
    first = comparison.evaluations[0]
    parts = [
        f"<p>{first.neurons:,} neurons; {first.train_rows:,} rows to train on, {first.test_rows:,} to judge by. "
        f"All neurons: <b>{first.oracle.mean:.3f}</b>; majority: {first.majority:.3f}.</p>",
        _run(_parameters(comparison.parameters), run),
    ]
    for plot in comparison_plots(comparison):
        parts.append(_picture(plot))
        if plot.name == "accuracy":
            parts.append(_table(_accuracies(comparison)))
    parts += ["<h2>All figures</h2>", f"<p>{escape(_MEASURES)}</p>", _table(comparison.to_pandas())]
    parts.append(_spreads({each.method: each.spread for each in comparison.evaluations if each.spread}))
    return _page(title or f"Neurons for {first.label}", parts, comparison.all_notes)


def tables_report(tables: Tables, *, title: str = "", run: Mapping[str, str] | None = None) -> str:
    """The page of what a method answered with: its plots, and the first rows of its tables."""
    about = ({"labels": tables.label} if tables.label else {}) | _parameters(tables.parameters)
    parts = [_run(about, run), *map(_picture, table_plots(tables))]
    for name, table in tables.tables.items():
        more = f": the first {_MOST_ROWS} of {len(table):,} rows" if len(table) > _MOST_ROWS else ""
        parts += [f"<h2>{escape(name)}{more}</h2>", _table(table.head(_MOST_ROWS))]
    return _page(title or tables.method, parts, tables.notes)


def ranking_report(ranking: Ranking, count: int, *, title: str = "", run: Mapping[str, str] | None = None) -> str:
    """The page of a ranking: the layers of its best `count` neurons, and the very best, overall and per class."""
    about = ({"labels": ranking.label} if ranking.label else {}) | _parameters(ranking.parameters)
    parts = [_run(about, run), *map(_picture, ranking_plots({ranking.method: ranking}, count))]
    parts += ["<h2>The best neurons</h2>", _table(ranking.to_pandas().head(_BEST))]
    if ranking.classes:
        parts += ["<h2>The best of each class</h2>", _best(ranking)]
    return _page(title or f"{ranking.method}: {ranking.label or 'all rows'}", parts, ranking.notes)


def _page(title: str, parts: Iterable[str], notes: Sequence[str]) -> str:
    heading = escape(title)
    body = [f"<h1>{heading}</h1>", *filter(None, parts)]
    if notes:
        body += ["<h2>Notes</h2>", *(f"<p>{escape(note)}</p>" for note in notes)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{heading}</title><style>{_STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _parameters(values: Mapping[str, object]) -> dict[str, str]:
    shown = ", ".join(f"{name} = {_value(value)}" for name, value in values.items() if value != "")
    return {"parameters": shown} if shown else {}


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _run(about: Mapping[str, str], run: Mapping[str, str] | None) -> str:
    rows = [
        f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in {**(run or {}), **about}.items()
    ]
    return f'<table class="run">{"".join(rows)}</table>' if rows else ""


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


def _best(ranking: Ranking) -> str:
    names = {name: ranking.top(5, name) for name in ranking.classes}
    rows = [
        f'<tr><td>{escape(name)}</td><td class="text">'
        + escape(", ".join(f"{each.site}[{each.index}] {each.score:.3g}" for each in best))
        + "</td></tr>"
        for name, best in names.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _table(frame: pd.DataFrame) -> str:
    texts = [' class="text"' if frame[column].dtype.kind not in "fiub" else "" for column in frame.columns]
    head = "".join(f"<th{text}>{escape(str(name))}</th>" for text, name in zip(texts, frame.columns, strict=True))
    rows = [
        "".join(f"<td{text}>{escape(_shown(value))}</td>" for text, value in zip(texts, row, strict=True))
        for row in frame.to_numpy(dtype=object)
    ]
    return f"<table><tr>{head}</tr>\n" + "\n".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.3f}" if 1e-3 <= abs(value) < 1e6 or not value else f"{value:.3g}"
    return str(value)


def _picture(plot: Plot) -> str:
    data = base64.b64encode(image(plot.figure)).decode()
    heading = escape(plot.title)
    return f'<h2>{heading}</h2>\n<img alt="{heading}" src="data:image/png;base64,{data}">'


def _spreads(spreads: Mapping[str, Mapping[str, int]]) -> str:
    """A row per class, a column per ranking that knows classes."""
    import pandas as pd

    if not spreads:
        return ""
    names = list(dict.fromkeys(name for spread in spreads.values() for name in spread))
    columns = {method: [spread.get(name, 0) for name in names] for method, spread in spreads.items()}
    frame = pd.DataFrame({"class": names, **columns})
    return f"<h2>Neurons with half of what a ranking gives to each class</h2>{_table(frame)}"
