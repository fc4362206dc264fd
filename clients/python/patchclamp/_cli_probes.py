"""The commands about probes: `probes …`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import typer

from patchclamp._cli_analysis import Label, OnlySites, Parameters, SetName, parameter_values
from patchclamp._cli_operations import result_of
from patchclamp._cli_options import AsJson, NewId, Target, Timeout, Wait
from patchclamp._cli_output import print_json, print_table
from patchclamp._probes import Probe, ProbeEvaluation
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = ["probes"]

ProbeName: TypeAlias = Annotated[str, typer.Argument(metavar="PROBE", help="As 'probes/upos'.")]

probes = typer.Typer(name="probes", no_args_is_help=True, rich_markup_mode=None, help="Linear probes on the server.")


@probes.command()
def train(
    activation_set: SetName,
    label: Label = "",
    parameter: Parameters = None,
    site: OnlySites = None,
    ranking: Annotated[
        str, typer.Option(metavar="RANKING", help="Only the best neurons of a ranking.", show_default=False)
    ] = "",
    top: Annotated[int, typer.Option(metavar="N", help="How many of the ranking.", min=0)] = 0,
    id: NewId = "",
    wait: Wait = True,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Train a probe on an activation set.

    \b
    patchclamp probes train activationSets/train --label upos --id upos
    patchclamp probes train activationSets/train --ranking rankings/upos --top 50
    """
    with Client(target, timeout=timeout) as client:
        operation = client.analysis.train_probe(
            activation_set,
            label=label,
            parameters=parameter_values(parameter),
            sites=site or [],
            ranking=ranking,
            top=top,
            id=id,
            progress=True,
        )
        if not wait:
            print_json({"operation": operation.name}) if as_json else typer.echo(operation.name)
            return
        made = result_of(operation)
    _print(made, as_json)


@probes.command()
def evaluate(
    probe: ProbeName,
    activation_set: SetName,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Judge a probe on an activation set.

    \b
    patchclamp probes evaluate probes/upos activationSets/dev
    """
    with Client(target, timeout=timeout) as client:
        found = result_of(client.analysis.evaluate_probe(probe, activation_set, progress=True))
    print_json(found) if as_json else _print_evaluation(found)


@probes.command(name="list")
def list_(as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """List the probes of the server.

    \b
    patchclamp probes list --json
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.probes.list()
    print_json(found) if as_json else _print_all(found)


@probes.command()
def get(
    probe: ProbeName, as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """Print what a probe is.

    \b
    patchclamp probes get probes/upos
    """
    with Client(target, timeout=timeout) as client:
        found = client.analysis.probes.get(probe)
    _print(found, as_json)


@probes.command()
def delete(probe: ProbeName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Remove a probe.

    \b
    patchclamp probes delete probes/upos
    """
    with Client(target, timeout=timeout) as client:
        client.analysis.probes.delete(probe)


def _print(probe: Probe, as_json: bool) -> None:
    if as_json:
        print_json(probe)
        return
    _print_all([probe])
    print_table(["site", "neurons"], [[site, f"{count:,}"] for site, count in probe.sites.items()])
    for note in probe.notes:
        sys.stderr.write(f"{note}\n")


def _print_all(probes: Iterable[Probe]) -> None:
    rows = [
        [
            probe.name,
            probe.label,
            str(len(probe.classes)),
            probe.activation_set,
            f"{probe.row_count:,}",
            f"{probe.neuron_count:,}",
            f"{probe.development_accuracy:.4f}",
        ]
        for probe in probes
    ]
    print_table(["probe", "labels", "classes", "activation set", "rows", "neurons", "accuracy kept aside"], rows)


def _print_evaluation(found: ProbeEvaluation) -> None:
    rows = [
        [label, f"{each.precision:.4f}", f"{each.recall:.4f}", f"{each.f1:.4f}", f"{each.count:,}"]
        for label, each in found.classes.items()
    ]
    print_table(["class", "precision", "recall", "F1", "rows"], rows)
    typer.echo(f"accuracy {found.accuracy:.4f} (guessing: {found.majority:.4f}), macro F1 {found.macro_f1:.4f}")
    typer.echo(f"over {found.row_count:,} rows")
