"""The command that exchanges activations with the NeuroX toolkit: `convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..corpora.corpus import Corpus
from ..errors import BadData
from ..neurox.exchange import export_neurox, import_neurox, numbered_by_neurox
from ..sets.activation_sets import ActivationSet
from ..sets.activation_writer import Finished
from .corpus import (
    Columns,
    CorpusInput,
    FormatName,
    Labels,
    NoLabel,
    SentenceLabels,
    WordColumn,
    corpus_directory,
)

__all__ = ["convert"]


def convert(
    source: Annotated[Path, typer.Argument(help="An activation set, or a file of NeuroX.")],
    target: Annotated[Path, typer.Argument(help="The other: .h5 is a set; .hdf5 and .json are NeuroX's.")],
    site: Annotated[
        list[str] | None,
        typer.Option("--site", "-s", help="To NeuroX: a site. Repeatable.", show_default="embeddings and residuals"),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="From NeuroX: the corpus of these sentences, for labels.")] = None,
    format_name: FormatName = None,
    labels: Labels = None,
    sentence_labels: SentenceLabels = None,
    column: Columns = None,
    word_column: WordColumn = 0,
    no_label: NoLabel = "",
    layer: Annotated[
        list[int] | None,
        typer.Option(
            help="From NeuroX: the number of a layer in the file. Repeatable.",
            show_default="as noted in the file, else 0, 1, 2, …",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="From NeuroX: the model, to be noted.", show_default=False)] = "",
) -> None:
    """Make an activation set of a NeuroX file, or a NeuroX file of an activation set.

    NeuroX's layer 0 is `embeddings`, its layer i + 1 is `layers.{i}.residual`. A file with other sites counts them
    from 0, and notes their names, so that they come back as they were.

    \b
    patchclamp-analysis convert dev.h5 dev.hdf5
    patchclamp-analysis convert activations.json dev.h5 --corpus dev.words --labels upos=dev.upos
    """
    if target.suffix != ".h5":
        with ActivationSet.open(source) as stored:
            sites = export_neurox(stored, target, sites=site)
        if numbered_by_neurox(sites):
            sys.stdout.write(f"{target}: layers {', '.join(sites)}\n")
        else:
            numbers = ", ".join(f"{number} = {site}" for number, site in enumerate(sites))
            sys.stdout.write(f"{target}: layers {numbers} (NeuroX counts what is in the file)\n")
        return
    given = None
    if corpus:
        of_words, of_sentences, columns = tuple(labels or ()), tuple(sentence_labels or ()), tuple(column or ())
        given = CorpusInput(corpus, format_name, of_words, of_sentences, columns, word_column, no_label)
    elif labels or sentence_labels or column:
        raise BadData("labels are of a corpus: say which with --corpus")
    done = _imported(source, target, given, layer, model)
    sys.stdout.write(f"{done.path}: {done.rows:,} rows of {done.sentences:,} sentences\n")


def _imported(source: Path, target: Path, given: CorpusInput | None, layers: list[int] | None, model: str) -> Finished:
    if given is None:
        return import_neurox(source, target, layers=layers, model=model)
    with corpus_directory(given, target) as directory:
        return import_neurox(source, target, corpus=Corpus.open(directory), layers=layers, model=model)
