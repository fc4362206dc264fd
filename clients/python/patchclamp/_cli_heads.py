"""The commands that ask a model's head: `classify` and `fill-mask`."""

from __future__ import annotations

from typing import Annotated

import typer

from patchclamp._classification import Classification, ClassScore
from patchclamp._cli_options import AsJson, Edit, Edits, Model, Sets, Target, Timeout, read_edits
from patchclamp._cli_output import print_json, print_receipt, print_table
from patchclamp._sentences import Pair, SentenceLike
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = ["classify", "fill_mask"]


def classify(
    texts: Annotated[list[str], typer.Argument(help="What to classify.")],
    second: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The second text of pairs, the same for each.")
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="Texts are words with blanks between.")] = False,
    top: Annotated[int, typer.Option(metavar="N", help="The N most probable classes; 0: all.", min=0)] = 0,
    model: Model = "",
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the classes of texts, or of their words, by the model's classification head.

    \b
    patchclamp classify "It was a great film." "Never again." -m models/sentiment
    patchclamp classify "The nurse said that" --top 1 -m models/tagger --edit "ablate layers.3.neurons[7]"
    """
    interventions = read_edits(edits, edit)
    sentences = [_sentence(text, second, words) for text in texts]
    with Client(target, timeout=timeout) as client:
        found = client.classify(
            sentences, model=model, top=top, interventions=interventions, intervention_sets=sets or []
        )
    if as_json:
        print_json({"results": found, "applied": found.applied})
        return
    rows = [row for text, result in zip(texts, found, strict=True) for row in _rows(text, result)]
    print_table(["text", "class", "p", "logit"], rows)
    print_receipt(interventions, found.applied)


def fill_mask(
    texts: Annotated[list[str], typer.Argument(help="Texts with the model's mask token in them.")],
    top: Annotated[int, typer.Option(metavar="N", help="The N most probable tokens; 0: 5.", min=0)] = 0,
    token: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN", help="This token too, whatever its rank. Repeatable.")
    ] = None,
    model: Model = "",
    edit: Edit = None,
    edits: Edits = None,
    sets: Sets = None,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print what may stand in place of mask tokens.

    \b
    patchclamp fill-mask "Paris is the [MASK] of France." -m models/bert
    patchclamp fill-mask "The nurse said that [MASK] was late." --token she --token he -m models/bert
    """
    interventions = read_edits(edits, edit)
    with Client(target, timeout=timeout) as client:
        found = client.fill_mask(
            texts,
            model=model,
            top=top,
            targets=token or [],
            interventions=interventions,
            intervention_sets=sets or [],
        )
    if as_json:
        print_json({"results": found, "applied": found.applied})
        return
    rows = [
        [text, str(mask.position), repr(token.text), f"{token.logprob:.4f}"]
        for text, masks in zip(texts, found, strict=True)
        for mask in masks
        for token in (*mask.top, *mask.targets)
    ]
    print_table(["text", "position", "token", "log p"], rows)
    print_receipt(interventions, found.applied)


def _sentence(text: str, second: str | None, words: bool) -> SentenceLike:
    if second is not None:
        return Pair(text, second)
    return text.split() if words else text


def _rows(text: str, result: Classification) -> list[list[str]]:
    """A row a class; where words are classified, under each word."""
    if not result.words:
        return [_row(text, score) for score in result.classes]
    return [_row(word.word, score) for word in result.words for score in word.classes]


def _row(text: str, score: ClassScore) -> list[str]:
    return [text, score.label, f"{score.probability:.4f}", f"{score.logit:.4f}"]
