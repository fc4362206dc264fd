"""Reports of tables and rankings: well-formed, self-contained, with all text as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.report import ranking_report, tables_report
from patchclamp_analysis.results import Ranking
from patchclamp_analysis.tables import Tables

from tests.analysis.pages import Page

BAD = "</td><script>alert('&')</script>"


def test_a_report_of_tables():
    frame = pd.DataFrame({"site": ["layers.0.mlp", BAD], "index": [1, 2], "score": [0.00001, np.nan]})
    tables = Tables("top_words", {BAD: frame}, BAD, {"top": 3, "losses": (0.1, 0.2)}, (BAD,))
    page = Page.of(tables_report(tables, run={"activations": BAD}))
    assert page.headings == ["top_words", BAD, "Notes"]
    run, cells = page.cells[:6], page.cells[6:]
    assert run == ["activations", BAD, "labels", BAD, "parameters", "top = 3, losses = 0.1 0.2"]
    assert cells == ["site", "index", "score", "layers.0.mlp", "1", "1e-05", BAD, "2", ""]
    assert page.pictures == []


def test_long_tables_are_cut_and_say_so():
    frame = pd.DataFrame({"word": [f"w{number}" for number in range(250)]})
    page = Page.of(tables_report(Tables("top_words", {"words": frame})))
    assert page.headings == ["top_words", "words: the first 100 of 250 rows"]
    assert page.cells[-1] == "w99"


def test_tables_with_a_plot():
    frame = pd.DataFrame({"one": ["a"], "other": [BAD], "similarity": [0.5]})
    page = Page.of(tables_report(Tables("representation_similarity", {"similarity": frame}), title="<i>"))
    assert page.headings == ["<i>", "How much alike each two are", "similarity"]
    assert page.pictures == ["How much alike each two are"]


def test_a_report_of_a_ranking():
    neurons = Neurons.all_of([Site("embeddings", 3), Site("layers.0.residual", 3)])
    scores = np.arange(6.0)
    found = Ranking("probeless", neurons, scores, (BAD, "NOUN"), np.stack([scores, -scores]), "upos", {"scale": True})
    page = Page.of(ranking_report(found, 2))
    assert page.headings[0] == "probeless: upos"
    assert page.headings[3:] == ["The best neurons", "The best of each class"]
    assert len(page.pictures) == 2
    place = page.cells.index("NOUN")
    assert page.cells[place - 2] == BAD
    assert page.cells[place + 1].startswith("embeddings[0] -0, embeddings[1] -1")
