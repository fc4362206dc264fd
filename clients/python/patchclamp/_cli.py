"""The command line: `patchclamp`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from patchclamp import _cli_output as output
from patchclamp._activations import AggregationName
from patchclamp._batches import Sentence, batches
from patchclamp._cli_options import AsJson, Edit, Edits, Model, Sets, Target, Timeout, read_edits
from patchclamp._exceptions import PatchclampError, Unavailable
from patchclamp._files import Writer, writing
from patchclamp._interventions import Intervention
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client
from patchclamp._sync.streams import GenerationStream
from patchclamp._tensors import DTypeName
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
    """Start a server; `patchclamp serve --help` lists its options.

    \b
    patchclamp serve --model smollm2-135m
    patchclamp serve --model mine=/models/mine --listen 0.0.0.0:8470
    """
    try:
        from patchclamp_service.__main__ import main as serve_main
    except ModuleNotFoundError:
        _complain("patchclamp serve needs the service extra: pip install 'patchclamp[service]'", prefix="")
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
    output.print_json(found) if as_json else output.print_models(found)


@app.command()
def sites(
    model: Annotated[str, typer.Argument(help="A model; the server's default.", show_default=False)] = "",
    modules: Annotated[bool, typer.Option("--modules", help="List the modules that 'module:…' can name.")] = False,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List where a model's activations can be read and edited.

    \b
    patchclamp sites
    patchclamp sites models/smollm2-135m --modules
    """
    with Client(target, timeout=timeout) as client:
        found = client.model(model)
    if as_json:
        output.print_json(found)
    elif modules:
        output.print_modules(found)
    else:
        output.print_sites(found)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    model: Model = "",
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens to generate; 0: 128.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(help="0: the most probable token always.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Only the k most probable tokens; 0: all.", min=0)] = 0,
    top_p: Annotated[float, typer.Option(help="Only the most probable tokens up to this probability.")] = 1.0,
    min_p: Annotated[float, typer.Option(help="Only tokens this times as probable as the first.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: less repetition.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.", min=0)] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this string. Repeatable.")] = None,
    top_logprobs: Annotated[int, typer.Option(help="With --json: as many probable tokens at each place.", min=0)] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a user's message; use the chat template.")] = False,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Continue a text, with edited neurons if you like; what was edited is said on standard error.

    \b
    patchclamp generate "The nurse said that"
    patchclamp generate "The nurse said that" --edit "ablate layers.10.neurons[17,40]"
    patchclamp generate "Once" --temperature 0.8 --seed 1 --edit "scale layers.3.heads[0:64] 0.5 @generated"
    """
    text = sys.stdin.read() if prompt == "-" else prompt
    interventions = read_edits(edits, edit)
    with Client(target, timeout=timeout) as client:
        stream = client.generate(
            None if chat else text,
            messages=[{"role": "user", "content": text}] if chat else None,
            model=model,
            interventions=interventions,
            intervention_sets=sets or [],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop or [],
            top_logprobs=top_logprobs,
        )
        with stream:
            output.print_json(stream.result()) if as_json else _print_stream(stream, interventions)


@app.command()
def score(
    prompt: Annotated[str, typer.Argument(help="The text before.")],
    continuations: Annotated[list[str], typer.Argument(help="What may follow; mind the leading blank.")],
    model: Model = "",
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print how probable each continuation is after the prompt.

    \b
    patchclamp score "The nurse said that" " she" " he"
    patchclamp score "The nurse said that" " she" " he" --edit "ablate layers.10.neurons[17]"
    """
    interventions = read_edits(edits, edit)
    pairs = [(prompt, continuation) for continuation in continuations]
    with Client(target, timeout=timeout) as client:
        scores = client.score(pairs, model=model, interventions=interventions, intervention_sets=sets or [])
    if as_json:
        items = [{"continuation": after, **output.fields(one)} for after, one in zip(continuations, scores, strict=True)]
        output.print_json({"prompt": prompt, "scores": items, "applied": scores.applied})
        return
    output.print_scores(continuations, scores)
    output.print_receipt(interventions, scores.applied)


@app.command()
def extract(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Sentences, one a line, in UTF-8.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Where to: .npz, .h5 or .jsonl.")],
    site: Annotated[list[str], typer.Option("--site", "-s", help="A site; 'layers.*.residual': all. Repeatable.")],
    model: Model = "",
    words: Annotated[bool, typer.Option("--words", help="Lines are words with blanks between: a row a word.")] = False,
    aggregation: Annotated[str | None, typer.Option(help="With --words: average, first, last or none.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    special_tokens: Annotated[bool, typer.Option("--special-tokens", help="Rows of special tokens too.")] = False,
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Write the activations of sentences to a file, which appears once it is complete.

    \b
    patchclamp extract sentences.txt -s layers.10.neurons -o activations.npz
    patchclamp extract corpus.txt --words -s 'layers.*.residual' --dtype float16 -o activations.h5
    echo "A short sentence." | patchclamp extract - -s embeddings -o one.jsonl
    """
    sentences = _read_sentences(file, words)
    interventions = read_edits(edits, edit)
    wanted = cast("DTypeName", dtype)
    with Client(target, timeout=timeout) as client, writing(out) as writer, _progress() as progress:
        task = progress.add_task("sentences", total=len(sentences))
        for batch in batches(sentences, client.model(model), site, wanted):
            extraction = client.extract(
                cast("list[str]", sentences[batch.start : batch.stop]),
                site,
                model=model,
                aggregation=cast("AggregationName | None", aggregation),
                dtype=wanted,
                interventions=interventions,
                intervention_sets=sets or [],
                include_special_tokens=special_tokens,
            )
