"""The commands that run a model on a prompt: `generate` and `score`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from patchclamp._cli_options import AsJson, Edit, Edits, Model, Sets, Target, Timeout, read_edits
from patchclamp._cli_output import print_json, print_receipt, print_scores
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = ["generate", "score"]


def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from standard input.")],
    model: Model = "",
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens to generate; 0: 128.", min=0)] = 0,
    temperature: Annotated[float, typer.Option(metavar="X", help="0: the most probable token always.")] = 0.0,
    top_k: Annotated[int, typer.Option(metavar="K", help="Only the k most probable tokens; 0: all.", min=0)] = 0,
    top_p: Annotated[float, typer.Option(metavar="P", help="Only the most probable tokens up to this sum.")] = 1.0,
    min_p: Annotated[float, typer.Option(metavar="P", help="Only tokens this times as probable as the first.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(metavar="X", help="Above 1: less repetition.")] = 1.0,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Makes sampling repeatable.", min=0)] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this string. Repeatable.")] = None,
    top_logprobs: Annotated[
        int, typer.Option(metavar="N", help="With --json: the N most probable tokens at each place.", min=0)
    ] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a message to a chat model.")] = False,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Continue a text.

    What was edited is said on standard error.

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
            for token in stream:
                if not as_json:
                    sys.stdout.write(token.text)
                    sys.stdout.flush()
            generation = stream.result()
    if as_json:
        print_json(generation)
        return
    sys.stdout.write("\n")
    print_receipt(interventions, generation.applied)


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
    """Print how probable continuations are.

    \b
    patchclamp score "The nurse said that" " she" " he"
    patchclamp score "The nurse said that" " she" " he" --edit "ablate layers.10.neurons[17]"
    """
    interventions = read_edits(edits, edit)
    pairs = [(prompt, continuation) for continuation in continuations]
    with Client(target, timeout=timeout) as client:
        scores = client.score(pairs, model=model, interventions=interventions, intervention_sets=sets or [])
    if as_json:
        named = dict(zip(continuations, scores, strict=False))
        print_json({"prompt": prompt, "scores": named, "applied": scores.applied})
        return
    print_scores(continuations, scores)
    print_receipt(interventions, scores.applied)
