"""The commands that find neurons: `rank`, `redundant`, `top-words`."""

from __future__ import annotations

import json
from typing import Annotated, TypeAlias

import typer

from patchclamp._cli_operations import result_of
from patchclamp._cli_options import (
    AsJson,
    Edit,
    NewId,
    Seed,
    Target,
    Text,
    TextModel,
    TextWords,
    Timeout,
    Wait,
    named,
    read_edits,
    read_text,
)
from patchclamp._cli_output import print_json, print_table
from patchclamp._cli_rankings import print_ranking
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = [
    "CompareWith",
    "Label",
    "OnlySites",
    "Parameters",
    "SetName",
    "parameter_values",
    "rank",
    "redundant",
    "top_words",
]

SetName: TypeAlias = Annotated[str, typer.Argument(metavar="SET", help="As 'activationSets/dev'.")]
Label: TypeAlias = Annotated[
    str, typer.Option("--label", "-l", metavar="LAYER", help="The layer of labels; the set's only one.")
]
OnlySites: TypeAlias = Annotated[
    list[str] | None, typer.Option("--site", "-s", metavar="SITE", help="Only neurons of this site. Repeatable.")
]
CompareWith: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="SET", help="For a method that compares: another set of the same words. Repeatable."),
]
Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A hyper-parameter, as 'l1=0.001'. Repeatable."),
]


def rank(
    activation_set: SetName,
    method: Annotated[str, typer.Option("--method", "-m", metavar="METHOD", help="One of `patchclamp methods`.")],
    label: Label = "",
    parameter: Parameters = None,
    site: OnlySites = None,
    top: Annotated[int, typer.Option(metavar="N", help="How many neurons the ranking holds.", min=1)] = 100,
    compare_with: CompareWith = None,
    id: NewId = "",
    wait: Wait = True,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Rank the neurons of an activation set.

    \b
    patchclamp rank activationSets/dev -m probeless --label upos --id upos
    patchclamp rank activationSets/dev -m linear_probe -p l1=0.001 -p l2=0 -s 'layers.*.residual'
    patchclamp rank activationSets/dev -m cross_model --compare-with activationSets/dev-other
    """
    with Client(target, timeout=timeout) as client:
        operation = client.analysis.rank(
            activation_set,
            method=method,
            label=label,
            parameters=parameter_values(parameter),
            sites=site or [],
            top=top,
            compare_with=compare_with or [],
            id=id,
            progress=True,
        )
        if not wait:
            print_json({"operation": operation.name}) if as_json else typer.echo(operation.name)
            return
        made = result_of(operation)
    print_json(made) if as_json else print_ranking(made)


def redundant(
    activation_set: SetName,
    site: OnlySites = None,
    threshold: Annotated[float, typer.Option(metavar="DISTANCE", help="Neurons join up to this distance.")] = 0.3,
    ranking: Annotated[
        str, typer.Option(metavar="RANKING", help="Keep its best neuron of each group.", show_default=False)
    ] = "",
    seed: Seed = 0,
    wait: Wait = True,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Find neurons that say the same.

    \b
    patchclamp redundant activationSets/dev -s layers.3.neurons --threshold 0.2
    """
    with Client(target, timeout=timeout) as client:
        operation = client.analysis.find_redundant(
            activation_set, sites=site or [], threshold=threshold, ranking=ranking, seed=seed, progress=True
        )
        if not wait:
            print_json({"operation": operation.name}) if as_json else typer.echo(operation.name)
            return
        found = result_of(operation)
    if as_json:
        print_json(found)
        return
    sizes = [sum(len(neurons.indices) for neurons in cluster) for cluster in found.clusters]
    rows = [[f"{size:,}", " ".join(map(str, cluster))] for size, cluster in zip(sizes, found.clusters, strict=True)]
    print_table(["neurons", "that say the same"], rows)
    typer.echo(f"{found.redundant_share:.1%} of {found.neuron_count:,} neurons can be left out")


def top_words(
    neurons: Annotated[
        list[str],
        typer.Argument(
            metavar="[SET] NEURONS…",
            help="'activationSets/dev', unless there is a --text; then neurons: 'layers.3.neurons[17,40]'.",
        ),
    ],
    top: Annotated[int, typer.Option(metavar="N", help="How many words a neuron.", min=1)] = 20,
    threshold: Annotated[float, typer.Option(metavar="SCORE", help="Only words above this score.")] = 0.1,
    min_count: Annotated[int, typer.Option(metavar="N", help="Leave out words that occur fewer times.", min=1)] = 1,
    text: Text = None,
    words: TextWords = False,
    model: TextModel = "",
    edit: Edit = None,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the words that drive neurons most, in a set or in a text that is read at once.

    \b
    patchclamp top-words activationSets/dev 'layers.3.neurons[17,40]' --min-count 5
    patchclamp top-words --text "The nurse said that she was late" 'layers.3.neurons[17]'
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.top_words(
            neurons[0] if text is None else None,
            neurons[1:] if text is None else neurons,
            top=top,
            threshold=threshold,
            min_count=min_count,
            text=read_text(text, words),
            model=model,
            interventions=read_edits(None, edit),
        )
    if as_json:
        print_json(found)
        return
    rows = [
        [f"{each.site}[{each.index}]", word.word, f"{word.score:.4f}", f"{word.count:,}"]
        for each in found
        for word in each.words
    ]
    print_table(["neuron", "word", "score", "times"], rows)


def parameter_values(texts: list[str] | None) -> dict[str, object]:
    """The values of NAME=VALUE: numbers, true, false and lists as in JSON; anything else is a string."""
    return {name: _value(text) for name, text in named("--parameter", texts).items()}


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
