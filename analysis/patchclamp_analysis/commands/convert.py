"""The command that exchanges activations with the NeuroX toolkit: `convert`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..neurox.exchange import export_neurox, numbered_by_neurox
from .inputs import NeuroxOptions, convert_neurox, opened_set, reads_neurox
from .progress import bar

__all__ = ["convert"]


@reads_neurox
def convert(
    source: Annotated[Path, typer.Argument(help="An activation set, or a file of NeuroX.")],
    target: Annotated[Path, typer.Argument(help="The other: .h5 is a set; .hdf5 and .json are NeuroX's.")],
    neurox: NeuroxOptions,
    site: Annotated[
        list[str] | None,
        typer.Option(
            "--site",
            "-s",
            metavar="SITE",
            help="To NeuroX: a site. Repeatable.",
            show_default="embeddings and residuals",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="From NeuroX: the model, to be noted.", show_default=False)] = "",
) -> None:
    """Turn a NeuroX file into an activation set, or a set into one.

    NeuroX's layer 0 is `embeddings`, its layer i + 1 is `layers.{i}.residual`. A file with other sites counts them
    from 0, and notes their names, so that they come back as they were.

    \b
    patchclamp-analysis convert dev.h5 dev.hdf5
    patchclamp-analysis convert activations.json dev.h5 --corpus dev.words --labels upos=dev.upos
    """
    if target.suffix != ".h5":
        with bar() as report, opened_set(source, neurox, report) as stored:
            sites = export_neurox(stored, target, sites=site)
        if numbered_by_neurox(sites):
            sys.stdout.write(f"{target}: layers {', '.join(sites)}\n")
        else:
            numbers = ", ".join(f"{number} = {site}" for number, site in enumerate(sites))
            sys.stdout.write(f"{target}: layers {numbers} (NeuroX counts what is in the file)\n")
        return
    with bar() as report:
        report(f"read {source.name}", 0, 0)
        done = convert_neurox(source, target, neurox, model)
    sys.stdout.write(f"{done.path}: {done.rows:,} rows of {done.sentences:,} sentences\n")
