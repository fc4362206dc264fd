"""The commands about annotated text: `corpora …`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from patchclamp._cli_corpus_files import FormatName, read_rules, source_of
from patchclamp._cli_options import AsJson, NewId, Seed, Target, Timeout, named
from patchclamp._cli_output import label_counts, print_json, print_table
from patchclamp._corpora import AnnotatedSentence, Corpus
from patchclamp._sync.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, Client

__all__ = ["corpora"]

# A corpus takes as long as it takes.
NO_TIMEOUT = float("inf")

CorpusName: TypeAlias = Annotated[str, typer.Argument(metavar="CORPUS", help="As 'corpora/dev'.")]

corpora = typer.Typer(name="corpora", no_args_is_help=True, rich_markup_mode=None, help="Annotated text on the server.")


@corpora.command()
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Sentences, in UTF-8.")],
    id: NewId = "",
    form: Annotated[
        FormatName | None,
        typer.Option("--format", help="How it is written.", show_default="by its name; lines with --labels, else text"),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=FILE", help="lines: a file of labels, one a word. Repeatable."),
    ] = None,
    sentence_labels: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=FILE", help="lines: a file of labels, one a line. Repeatable."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=N[:KEY]", help="conllu, tsv: a column of labels, from 1. Repeatable."),
    ] = None,
    word_column: Annotated[
        int | None, typer.Option(metavar="N", help="conllu, tsv: the column of words.", show_default="2; 1", min=1)
    ] = None,
    no_label: Annotated[
        str, typer.Option(metavar="LABEL", help="A label that stands for none, as '_'.", show_default=False)
    ] = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = NO_TIMEOUT,
) -> None:
    """Store a corpus.

    \b
    text      running text, a sentence a line
    lines     words with blanks between, a sentence a line; labels in files of the same shape
    conllu    CoNLL-U; columns by their number, FEATS and MISC by a key too
    tsv       a word a line, labels in columns, an empty line after each sentence
    jsonl     {"words": […]} or {"text": "…"}, with {"labels": …, "sentence_labels": …}

    \b
    patchclamp corpora upload sentences.txt --id mine
    patchclamp corpora upload dev.words --labels upos=dev.upos --sentence-labels genre=dev.genre
    patchclamp corpora upload dev.conllu --column upos=4 --column number=6:Number
    """
    source = source_of(file, form, labels, sentence_labels, column, word_column)
    with Client(target, timeout=timeout) as client:
        corpus = client.corpora.upload(source, id=id, no_label=no_label, progress=True, timeout=timeout)
    _print(corpus, as_json)


@corpora.command()
def annotate(
    corpus: CorpusName,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", "-r", metavar="RULE", help="As 'kind=number:regex:[0-9]+'. Repeatable."),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=LABEL:FILE", help="Words of a file, one a line; before --rule. Repeatable."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON list of rules, before those of the other options.")
    ] = None,
    id: NewId = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make a corpus with further labels, by rules.

    A rule is LAYER=LABEL:KIND[/i][/word][/sentence][:ARGUMENT]. Of a layer's rules the first that fits a word wins.

    \b
    kind=number:regex:[0-9]+       all of the word matches a pattern of RE2
    kind=digits:search:[0-9]       a part of the word does
    colour=yes:words:red,green     one of these words
    form=ing:affix:-ing            ends so; un- begins so; several: un-,in-,-able
    size=long:length:8-            so many characters: 4, 3-5, 8-, -2
    place=last:position:0,-1       places in the sentence, from 0; negative: from its end
    case=caps:casing:upper         lower, upper, title, mixed or none
    kind=other:otherwise           no earlier rule of the layer fits

    /i, for words and affixes: upper and lower case are the same. /sentence labels whole sentences. A rule with ':' in
    its label or ',' in a word is written in the JSON file: a list of such texts and of AnnotationRule messages.

    \b
    patchclamp corpora annotate corpora/mine -r 'kind=number:regex:[0-9]+' -r kind=other:otherwise --id mine-kinds
    patchclamp corpora annotate corpora/mine --vocabulary person=yes:names.txt
    """
    given = read_rules(rules, vocabulary, rule)
    with Client(target, timeout=timeout) as client:
        annotated = client.corpora.annotate(corpus, given, id=id)
    _print(annotated, as_json)


@corpora.command()
def sample(
    corpus: CorpusName,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A layer of labels.")],
    per_label: Annotated[
        int, typer.Option(metavar="N", help="How many of each; 0: as many as the rarest has.", min=0)
    ] = 0,
    label: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only this label. Repeatable.")] = None,
    seed: Seed = 0,
    id: NewId = "",
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make a corpus with the same number of each label.

    \b
    patchclamp corpora sample corpora/dev upos --label NOUN --label VERB --per-label 500
    """
    with Client(target, timeout=timeout) as client:
        sampled = client.corpora.sample_balanced(
            corpus, layer, per_label=per_label, labels=label or [], seed=seed, id=id
        )
    _print(sampled, as_json)


@corpora.command()
def split(
    corpus: CorpusName,
    part: Annotated[list[str], typer.Argument(metavar="ID=SHARE…", help="Parts, as 'train=0.8'; 1 at most in all.")],
    seed: Seed = 0,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Make a corpus of each part of a split by sentences.

    \b
    patchclamp corpora split corpora/dev dev-train=0.8 dev-test=0.2 --seed 1
    """
    shares = {id: _share(id, text) for id, text in named("split", part).items()}
    with Client(target, timeout=timeout) as client:
        parts = client.corpora.split(corpus, list(shares.values()), seed=seed, ids=list(shares))
    print_json(parts) if as_json else _print_all(parts)


@corpora.command(name="list")
def list_(as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """List the corpora of the server.

    \b
    patchclamp corpora list --json
    """
    with Client(target, timeout=timeout) as client:
        found = client.corpora.list()
    print_json(found) if as_json else _print_all(found)


@corpora.command()
def get(
    corpus: CorpusName, as_json: AsJson = False, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT
) -> None:
    """Print what a corpus has: its size, its layers and how often each label occurs.

    \b
    patchclamp corpora get corpora/dev
    """
    with Client(target, timeout=timeout) as client:
        found = client.corpora.get(corpus)
    _print(found, as_json)


@corpora.command()
def show(
    corpus: CorpusName,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="So many sentences; 0: all.", min=0)] = 10,
    as_json: AsJson = False,
    target: Target = DEFAULT_TARGET,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Print the first sentences of a corpus with their labels.

    \b
    patchclamp corpora show corpora/dev -n 3
    """
    with Client(target, timeout=timeout) as client:
        sentences = client.corpora.sentences(corpus, page_size=min(count, 1000))
        for sentence in itertools.islice(sentences, count or None):
            print_json(sentence) if as_json else typer.echo(_line(sentence))


@corpora.command()
def delete(corpus: CorpusName, target: Target = DEFAULT_TARGET, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """Remove a corpus; activation sets made from it stay.

    \b
    patchclamp corpora delete corpora/dev
    """
    with Client(target, timeout=timeout) as client:
        client.corpora.delete(corpus)


def _share(id: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"split {id}={text}: a share is a number above 0, 1 at most") from None


def _print(corpus: Corpus, as_json: bool) -> None:
    if as_json:
        print_json(corpus)
        return
    _print_all([corpus])
    rows = [
        [layer.name, str(layer.level), *each]
        for layer in corpus.layers.values()
        for each in label_counts(layer.counts, layer.unlabelled)
    ]
    if rows:
        print_table(["layer", "labels each", "label", "count"], rows)


def _print_all(corpora: Iterable[Corpus]) -> None:
    rows = [
        [
            corpus.name,
            str(corpus.content),
            f"{corpus.sentence_count:,}",
            f"{corpus.word_count:,}" if corpus.word_count else "–",
            " ".join(corpus.layers) or "–",
            corpus.source or "uploaded",
        ]
        for corpus in corpora
    ]
    print_table(["corpus", "content", "sentences", "words", "layers", "from"], rows)


def _line(sentence: AnnotatedSentence) -> str:
    """The/DET nurse/NOUN, a '-' for no label; labels of the sentence before it."""
    layers = list(sentence.labels.values())
    words = [
        "/".join([word, *(labels[place] or "-" for labels in layers)]) for place, word in enumerate(sentence.words)
    ]
    whole = [f"[{layer}={label}]" for layer, label in sentence.sentence_labels.items() if label]
    texts = [" || ".join(text for text in (sentence.text, sentence.second) if text)] if sentence.text else []
    return " ".join([*whole, *texts, *words])
