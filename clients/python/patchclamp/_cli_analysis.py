"""The commands about methods: `methods`, `rank`, `redundant`, `top-words`."""

from __future__ import annotations

import json
from typing import Annotated, TypeAlias

import typer

from patchclamp._cli_operations import result_of
from patchclamp._cli_options import AsJson, NewId, Seed, Target, Timeout, Wait, named
from patchclamp._cli_output import print_json, print_table
from patchclamp._cli_rankings import print_ranking
from patchclamp._methods import Method
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = [
    "Label",
    "OnlySites",
    "Parameters",
    "SetName",
    "methods",
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
Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A hyper-parameter, as 'l1=0.001'. Repeatable."),
]


def methods(
    name: Annotated[str, typer.Argument(metavar="METHOD", help="Only this one, in full.", show_default=False)] = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List the methods that rank neurons, or describe one.

    \b
    patchclamp methods
    patchclamp methods linear_probe
    """
    with Client(target, timeout=timeout) as client:
        found = [method for method in client.analysis.methods() if name in ("", method.name)]
    if not found:
        raise ValueError(f"there is no method {name!r}; `patchclamp methods` lists them")
    if as_json:
        print_json(found)
    elif name:
        _describe(found[0])
    else:
        rows = [[method.name, "yes" if method.supervised else "no", method.summary] for method in found]
        print_table(["method", "labels", "what it does"], rows)


def rank(
    activation_set: SetName,
    method: Annotated[str, typer.Option("--method", "-m", metavar="METHOD", help="One of `patchclamp methods`.")],
    label: Label = "",
    parameter: Parameters = None,
    site: OnlySites = None,
    top: Annotated[int, typer.Option(metavar="N", help="How many neurons the ranking holds.", min=1)] = 100,
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
    """
    with Client(target, timeout=timeout) as client:
        operation = client.analysis.rank(
            activation_set,
            method=method,
            label=label,
            parameters=parameter_values(parameter),
            sites=site or [],
            top=top,
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
    activation_set: SetName,
    neurons: Annotated[list[str], typer.Argument(metavar="NEURONS…", help="As 'layers.3.neurons[17,40]'.")],
    top: Annotated[int, typer.Option(metavar="N", help="How many words a neuron.", min=1)] = 20,
    threshold: Annotated[float, typer.Option(metavar="SCORE", help="Only words above this score.")] = 0.1,
    min_count: Annotated[int, typer.Option(metavar="N", help="Leave out words that occur fewer times.", min=1)] = 1,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the words that drive neurons most.

    \b
    patchclamp top-words activationSets/dev 'layers.3.neurons[17,40]' --min-count 5
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.top_words(activation_set, neurons, top=top, threshold=threshold, min_count=min_count)
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


def _describe(method: Method) -> None:
    typer.echo(f"{method.name}: {method.description}\n\n{method.reference}\n{method.complexity}\n")
    rows = [
        [
            parameter.name,
            parameter.type,
            json.dumps(parameter.default),
            _bounds(parameter.min, parameter.max) or ", ".join(map(repr, parameter.choices)),
            parameter.description,
        ]
        for parameter in method.parameters
    ]
    if rows:
        print_table(["parameter", "type", "default", "values", "what it does"], rows)


def _bounds(least: float | None, most: float | None) -> str:
    if least is None and most is None:
        return ""
    return f"{'–∞' if least is None else f'{least:g}'} to {'∞' if most is None else f'{most:g}'}"
