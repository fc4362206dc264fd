"""The commands about files of activations: `activations …`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from patchclamp._activation_sets import ActivationSet, ActivationStatistics, TokenFilter
from patchclamp._activations import AggregationName
from patchclamp._cli_operations import result_of
from patchclamp._cli_options import (
    AsJson,
    Edit,
    Edits,
    Model,
    NewId,
    Seed,
    Sets,
    Sites,
    SpecialTokens,
    Target,
    Timeout,
    Wait,
    read_edits,
)
from patchclamp._cli_output import label_counts, print_json, print_receipt, print_table
from patchclamp._neurons import Neurons
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client
from patchclamp._tensors import DTypeName

__all__ = ["activations"]

SetName: TypeAlias = Annotated[str, typer.Argument(metavar="SET", help="As 'activationSets/dev'.")]

activations = typer.Typer(
    name="activations", no_args_is_help=True, rich_markup_mode=None, help="Files of activations on the server."
)


@activations.command()
def create(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="As 'corpora/dev'.")],
    site: Sites,
    id: NewId = "",
    model: Model = "",
    aggregation: Annotated[
        AggregationName | None,
        typer.Option(help="How subwords make a row.", show_default="average for words, none for text"),
    ] = None,
    dtype: Annotated[DTypeName, typer.Option(help="Element type in the file.")] = "float32",
    layer: Annotated[
        str, typer.Option(metavar="LAYER", help="The labels that the next options are about.", show_default=False)
    ] = "",
    labelled_only: Annotated[bool, typer.Option("--labelled-only", help="Only words with a label in --layer.")] = False,
    label: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only this label. Repeatable.")] = None,
    per_label: Annotated[int, typer.Option(metavar="N", help="At most N words of each label; 0: all.", min=0)] = 0,
    per_word_type: Annotated[int, typer.Option(metavar="N", help="At most N times the same word; 0: all.", min=0)] = 0,
    seed: Seed = 0,
    special_tokens: SpecialTokens = False,
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    wait: Wait = True,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Extract the activations of a corpus to a file on the server.

    The work goes on when the command is interrupted: `patchclamp operations wait` goes on waiting.

    \b
    patchclamp activations create corpora/dev -s 'layers.*.residual' --id dev
    patchclamp activations create corpora/dev -s layers.3.neurons --layer upos --label NOUN --per-label 1000
    patchclamp activations create corpora/dev -s embeddings --dtype float16 --no-wait
    """
    wanted = TokenFilter(
        layer=layer,
        labelled_only=labelled_only,
        labels=label or [],
        per_label=per_label,
        per_word_type=per_word_type,
        seed=seed,
    )
    interventions = read_edits(edits, edit)
    with Client(target, timeout=timeout) as client:
        operation = client.activation_sets.create(
            corpus,
            site,
            id=id,
            model=model,
            aggregation=aggregation,
            dtype=dtype,
            filter=None if wanted == TokenFilter(seed=seed) else wanted,
            interventions=interventions,
            intervention_sets=sets or [],
            include_special_tokens=special_tokens,
            progress=True,
        )
        if not wait:
            print_json({"operation": operation.name}) if as_json else typer.echo(operation.name)
            return
        made = result_of(operation)
    _print(made, as_json)
    if not as_json:
        print_receipt(interventions, made.applied)


@activations.command(name="list")
def list_(as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """List the activation sets of the server.

    \b
    patchclamp activations list --json
    """
    with Client(target, timeout=timeout) as client:
        found = client.activation_sets.list()
    print_json(found) if as_json else _print_all(found)


@activations.command()
def get(
    activation_set: SetName,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print what a set has: its rows, its sites and its labels.

    \b
    patchclamp activations get activationSets/dev
    """
    with Client(target, timeout=timeout) as client:
        found = client.activation_sets.get(activation_set)
    _print(found, as_json)


@activations.command()
def download(
    activation_set: SetName,
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; a folder: under the set's id.")
    ] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = float("inf"),
) -> None:
    """Fetch the file of a set (HDF5); goes on where an earlier try was interrupted.

    \b
    patchclamp activations download activationSets/dev -o dev.h5
    """
    with Client(target, timeout=timeout) as client:
        path = client.activation_sets.download(activation_set, out, overwrite=force, progress=True, timeout=timeout)
    typer.echo(path)


@activations.command()
def stats(
    activation_set: SetName,
    neurons: Annotated[str, typer.Argument(metavar="NEURONS", help="As 'layers.3.residual[17,40]'.")],
    layer: Annotated[str, typer.Option(metavar="LAYER", help="The layer of --label.", show_default=False)] = "",
    label: Annotated[str, typer.Option(metavar="LABEL", help="Only over rows of this label.", show_default=False)] = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print mean, variance and range of neurons.

    \b
    patchclamp activations stats activationSets/dev 'layers.3.residual[0:8]' --label NOUN
    """
    chosen = Neurons.parse(neurons)
    with Client(target, timeout=timeout) as client:
        found = client.activation_sets.statistics(activation_set, chosen, layer=layer, label=label)
    print_json(found) if as_json else _print_statistics(chosen, found)


@activations.command()
def delete(activation_set: SetName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Remove an activation set.

    \b
    patchclamp activations delete activationSets/dev
    """
    with Client(target, timeout=timeout) as client:
        client.activation_sets.delete(activation_set)


def _print(found: ActivationSet, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    _print_all([found])
    print_table(["site", "width"], [[site, str(width)] for site, width in found.sites.items()])
    rows = [
        [layer.name, *each] for layer in found.layers.values() for each in label_counts(layer.counts, layer.unlabelled)
    ]
    if rows:
        print_table(["layer", "label", "rows"], rows)


def _print_all(sets: Iterable[ActivationSet]) -> None:
    rows = [
        [
            found.name,
            found.corpus,
            found.model,
            f"{found.row_count:,}",
            f"{found.masked_count:,}",
            str(len(found.sites)),
            found.dtype,
            f"{found.size_bytes / 1e6:,.1f} MB",
        ]
        for found in sets
    ]
    print_table(["activation set", "corpus", "model", "rows", "masked", "sites", "type", "size"], rows)


def _print_statistics(neurons: Neurons, found: ActivationStatistics) -> None:
    indices = neurons.indices or range(len(found.mean))
    columns = zip(indices, found.mean, found.variance, found.min, found.max, strict=True)
    rows = [[str(index), *(f"{value:.6g}" for value in values)] for index, *values in columns]
    print_table([f"neuron of {neurons.site}", "mean", "variance", "min", "max"], rows)
    typer.echo(f"over {found.count:,} rows")
