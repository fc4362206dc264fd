"""The command that lists the methods: `methods`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from patchclamp._cli_options import AsJson, Target, Timeout
from patchclamp._cli_output import print_json, print_table
from patchclamp._methods import Method, MethodAnswer, MethodKind
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = ["methods"]

QUESTIONS = {
    MethodKind.CONCEPT_TO_NEURONS: "Which neurons carry a concept",
    MethodKind.UNSUPERVISED: "What the model itself says about its neurons",
    MethodKind.NEURON_TO_CONCEPTS: "What a neuron stands for",
    MethodKind.REDUNDANCY: "Which neurons can be left out",
    MethodKind.UNKNOWN: "Other questions",
}
COMMANDS = {MethodAnswer.RANKING: "rank", MethodAnswer.TABLES: "analyze", MethodAnswer.UNKNOWN: "–"}


def methods(
    name: Annotated[str, typer.Argument(metavar="METHOD", help="Only this one, in full.", show_default=False)] = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List the methods by what they answer, or describe one.

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
        _print_by_kind(found)


def _print_by_kind(found: Sequence[Method]) -> None:
    kinds = [kind for kind in QUESTIONS if any(method.kind is kind for method in found)]
    for kind in kinds:
        typer.echo(f"{QUESTIONS[kind]}:" if kind is kinds[0] else f"\n{QUESTIONS[kind]}:")
        rows = [
            [method.name, COMMANDS[method.answer], "yes" if method.supervised else "no", method.summary]
            for method in found
            if method.kind is kind
        ]
        print_table(["method", "run by", "labels", "what it does"], rows)


def _describe(method: Method) -> None:
    typer.echo(f"{method.name}: {method.description}\n\n{method.reference}\n{method.complexity}")
    others = " --compare-with SET" if method.compares else ""
    typer.echo(f"patchclamp {COMMANDS[method.answer]} SET{others} -m {method.name}\n")
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
