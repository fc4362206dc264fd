"""The command line: `patchclamp`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from patchclamp._cli_activations import activations
from patchclamp._cli_analyses import analyses, analyze, evaluate
from patchclamp._cli_analysis import rank, redundant, top_words
from patchclamp._cli_corpora import corpora
from patchclamp._cli_extract import extract
from patchclamp._cli_generate import generate, score
from patchclamp._cli_heads import classify, fill_mask
from patchclamp._cli_methods import methods
from patchclamp._cli_operations import operations
from patchclamp._cli_options import AsJson, Target, Timeout
from patchclamp._cli_output import print_json, print_models, print_modules, print_sites
from patchclamp._cli_probes import probes
from patchclamp._cli_rankings import rankings
from patchclamp._exceptions import PatchclampError, Unavailable
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client
from patchclamp._version import __version__

__all__ = ["main"]

app = typer.Typer(
    name="patchclamp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit code: 0 done, 1 it failed (one line on stderr), 2 wrong usage."""
    try:
        app(arguments, prog_name="patchclamp")
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 0
    except Unavailable as error:
        _complain(f"{error} (is a server running there? `patchclamp serve` starts one, --target names another)")
    except (PatchclampError, ValueError, OSError, ImportError) as error:
        _complain(str(error))
    return 1


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Run language models with edited neurons, and read their activations.

    \b
    patchclamp serve --model smollm2-135m
    patchclamp generate "The nurse said that" --edit "ablate layers.10.neurons[17,40]"

    Every command but `serve` talks to the server that --target or PATCHCLAMP_TARGET names.
    """
    if version:
        typer.echo(f"patchclamp {__version__}")
        raise typer.Exit


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def serve(context: typer.Context) -> None:
    """Start a server; see `patchclamp serve --help`.

    \b
    patchclamp serve --model smollm2-135m
    patchclamp serve --model mine=/models/mine --listen 0.0.0.0:8470
    """
    try:
        from patchclamp_service.__main__ import main as serve_main
    except ModuleNotFoundError:
        sys.stderr.write("patchclamp serve needs the service extra: pip install 'patchclamp[service]'\n")
        raise typer.Exit(1) from None
    raise typer.Exit(serve_main(context.args))


@app.command()
def models(as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """List the models of the server.

    \b
    patchclamp models
    patchclamp models --json | jq -r '.[].name'
    """
    with Client(target, timeout=timeout) as client:
        found = client.models()
    print_json(found) if as_json else print_models(found)


@app.command()
def sites(
    model: Annotated[str, typer.Argument(help="A model; the server's default.", show_default=False)] = "",
    modules: Annotated[bool, typer.Option("--modules", help="List the modules that 'module:…' can name.")] = False,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List where a model can be read and edited.

    \b
    patchclamp sites
    patchclamp sites models/smollm2-135m --modules
    """
    with Client(target, timeout=timeout) as client:
        found = client.model(model)
    if as_json:
        print_json(found)
    elif modules:
        print_modules(found)
    else:
        print_sites(found)


app.command()(generate)
app.command()(score)
app.command()(classify)
app.command()(fill_mask)
app.command()(extract)
app.command()(methods)
app.command()(rank)
app.command()(redundant)
app.command()(top_words)
app.command()(analyze)
app.command()(evaluate)
for group in (corpora, activations, rankings, probes, analyses, operations):
    app.add_typer(group)


def _complain(message: str) -> None:
    sys.stderr.write(f"patchclamp: {' '.join(message.splitlines())}\n")
