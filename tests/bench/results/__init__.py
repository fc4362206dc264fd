"""`python -m tests.bench.results`: docs/results.md with its plots, measured on UD English Web Treebank."""

from __future__ import annotations

from tests.bench.results.measured import measure
from tests.bench.results.page import write_page
from tests.bench.results.plans import MODELS

__all__ = ["run"]


def run() -> None:
    """Computes what is not kept yet (an hour or two on two cores, if nothing is), and writes the page."""
    write_page([measure(model) for model in MODELS])
