"""The command that writes activations to a file: `extract`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from patchclamp._activations import AggregationName
from patchclamp._batches import Sentence, batches
from patchclamp._cli_options import Edit, Edits, Model, Sets, Sites, SpecialTokens, Target, Timeout, read_edits
from patchclamp._cli_output import print_receipt
from patchclamp._files import writing
from patchclamp._receipts import Applied, AppliedEdit
from patchclamp._sync.client import DEFAULT_TARGET, Client
from patchclamp._tensors import DTypeName

__all__ = ["extract"]

# A request is up to a thousand sentences, and nobody waits at the screen for each.
REQUEST_TIMEOUT = 3600.0


def extract(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Sentences, one a line, in UTF-8.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Where to: .npz, .h5 or .jsonl.")],
    site: Sites,
    model: Model = "",
    words: Annotated[bool, typer.Option("--words", help="Lines are words with blanks between: a row a word.")] = False,
    aggregation: Annotated[
        AggregationName | None, typer.Option(help="With --words: how subwords make a word.", show_default="average")
    ] = None,
    dtype: Annotated[DTypeName, typer.Option(help="Element type on the wire.")] = "float32",
    special_tokens: SpecialTokens = False,
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = REQUEST_TIMEOUT,
) -> None:
    """Write activations of sentences to a file.

    The file appears once it is complete; an error leaves what was there before.

    \b
    patchclamp extract sentences.txt -s layers.10.neurons -o activations.npz
    patchclamp extract corpus.txt --words -s 'layers.*.residual' --dtype float16 -o activations.h5
    echo "A short sentence." | patchclamp extract - -s embeddings -o one.jsonl
    """
    sentences = _sentences(file, words)
    interventions = read_edits(edits, edit)
    receipts = []
    with Client(target, timeout=timeout) as client, writing(out) as writer, _progress() as progress:
        task = progress.add_task("sentences", total=len(sentences))
        for batch in batches(sentences, client.model(model), site, dtype):
            extraction = client.extract(
                [sentences[number] for number in batch],
                site,
                model=model,
                aggregation=aggregation,
                dtype=dtype,
                interventions=interventions,
                intervention_sets=sets or [],
                include_special_tokens=special_tokens,
            )
            with extraction:
                for sentence in extraction:
                    writer.write(dataclasses.replace(sentence, index=batch[sentence.index]))
                    progress.advance(task)
            receipts.append(extraction.applied)
    print_receipt(interventions, _added_up(receipts))


def _sentences(file: str, words: bool) -> list[Sentence]:
    """The lines of the file; a blank one would shift the numbers of all that follow, so it is refused."""
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(f"{file}, line {number} is blank; every line is a sentence")
    return [line.split() if words else line for line in lines]


def _progress() -> Progress:
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _added_up(receipts: Sequence[Applied]) -> Applied:
    """One receipt for all requests: the same edits, applied to one batch of sentences after the other."""
    if not receipts:
        return Applied()
    columns = zip(*(receipt.edits for receipt in receipts), strict=True)
    edits = (
        AppliedEdit(sum(edit.positions_edited for edit in column), sum(edit.gate_firings for edit in column))
        for column in columns
    )
    return dataclasses.replace(receipts[0], edits=tuple(edits))
