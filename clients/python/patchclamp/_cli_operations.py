"""The commands about long-running work: `operations …`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, TypeAlias, TypeVar

import typer

from patchclamp._cli_options import AsJson, Target, Timeout
from patchclamp._cli_output import print_json, print_table
from patchclamp._exceptions import StatusError
from patchclamp._operations import OperationResult
from patchclamp._probes import ProbeEvaluation
from patchclamp._redundancy import Redundancy
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client
from patchclamp._sync.operations import Operation

__all__ = ["operations", "result_of"]

ResultT = TypeVar("ResultT")

OperationName: TypeAlias = Annotated[str, typer.Argument(metavar="OPERATION", help="As 'operations/…'.")]

operations = typer.Typer(
    name="operations", no_args_is_help=True, rich_markup_mode=None, help="Long-running work on the server."
)


@operations.command(name="list")
def list_(
    running: Annotated[bool, typer.Option("--running", help="Only what has not ended.")] = False,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List the operations that the server remembers, the newest first.

    \b
    patchclamp operations list --running
    """
    with Client(target, timeout=timeout) as client:
        found = client.operations.list(done=False if running else None)
        print_json([_described(operation) for operation in found]) if as_json else _print(found)


@operations.command()
def get(
    operation: OperationName,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print how far an operation is.

    \b
    patchclamp operations get operations/…
    """
    with Client(target, timeout=timeout) as client:
        found = client.operations.get(operation)
        print_json(_described(found)) if as_json else _print([found])


@operations.command()
def wait(
    operation: OperationName,
    most: Annotated[float, typer.Option("--for", metavar="SECONDS", help="Wait so long at most.")] = float("inf"),
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Wait for an operation, and print what it made; fails as it failed.

    \b
    patchclamp operations wait operations/… --for 600
    """
    with Client(target, timeout=timeout) as client:
        found = client.operations.get(operation, progress=True)
        made = found.result(most)
    if as_json or isinstance(made, ProbeEvaluation | Redundancy):  # without a name
        print_json(made)
    else:
        typer.echo(made.name)


@operations.command()
def cancel(operation: OperationName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Stop an operation; what it has made so far is thrown away.

    \b
    patchclamp operations cancel operations/…
    """
    with Client(target, timeout=timeout) as client:
        client.operations.cancel(operation)


@operations.command()
def delete(operation: OperationName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Forget an operation that has ended; what it made stays.

    \b
    patchclamp operations delete operations/…
    """
    with Client(target, timeout=timeout) as client:
        client.operations.delete(operation)


def result_of(operation: Operation[ResultT]) -> ResultT:
    """What it makes, once it is there; who does not want to wait is told how to go on."""
    try:
        return operation.result()
    except KeyboardInterrupt:
        sys.stderr.write(f"it goes on: patchclamp operations wait {operation.name}\n")
        raise


def _described(operation: Operation[OperationResult]) -> dict[str, object]:
    error = operation.error
    return {
        "name": operation.name,
        "done": operation.done,
        "metadata": operation.metadata,
        "error": error and _error(error),
        "result": operation.result() if operation.done and error is None else None,
    }


def _error(error: StatusError) -> dict[str, str]:
    return {"code": error.code.name, "message": error.message, "reason": error.reason, "field": error.field}


def _print(operations: Iterable[Operation[OperationResult]]) -> None:
    rows = [
        [
            operation.name,
            operation.metadata.method,
            operation.metadata.target,
            operation.state,
            _time(operation.metadata.create_time),
        ]
        for operation in operations
    ]
    print_table(["operation", "method", "makes", "state", "since"], rows)


def _time(moment: datetime | None) -> str:
    return "–" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
