"""The commands that make activation sets: `extract` and `merge`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..corpora.corpus import Corpus, Sentence
from ..errors import BadData
from ..extraction.extractors import Extraction, ModelChoice, find_extractor
from ..extraction.ray_extract import Pool, extract_shards
from ..extraction.shard_merge import merge
from ..extraction.shards import Shard, ShardFolder, cut
from ..sets.activation_writer import Finished
from ..sets.row_selection import RowFilter
from .corpus import (
    Columns,
    CorpusInput,
    CorpusPath,
    FormatName,
    Labels,
    NoLabel,
    Rules,
    SentenceLabels,
    WordColumn,
    corpus_directory,
)
from .progress import bar

__all__ = ["extract", "merge_shards"]

Aggregation = Literal[
    "none",
    "first",
    "last",
    "average",
    "sentence_first",
    "sentence_last",
    "sentence_average",
    "sentence_max",
]
ElementType = Literal["float32", "float16", "bfloat16"]
WeightType = Literal["float32", "bfloat16"]
Device = Literal["cpu", "cuda"]

# Of a shard: small enough that every actor has some and little is lost with one, large enough to be worth a file.
_LEAST_WORDS, _MOST_WORDS = 500, 50_000


def extract(
    corpus: CorpusPath,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME[=SOURCE]", help="As `patchclamp serve` takes it.")
    ],
    site: Annotated[
        list[str], typer.Option("--site", "-s", metavar="SITE", help="A site; 'layers.*.residual': all. Repeatable.")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Where to: an .h5 file.")],
    aggregation: Annotated[
        Aggregation | None,
        typer.Option(help="From subwords to rows.", show_default="words: average, text: none, pairs: sentence_average"),
    ] = None,
    dtype: Annotated[ElementType, typer.Option(help="Element type in the file.")] = "float32",
    special_tokens: Annotated[bool, typer.Option("--special-tokens", help="Rows of special tokens too.")] = False,
    edits: Annotated[Path | None, typer.Option("--edits", metavar="FILE", help="A JSON list of edits.")] = None,
    format_name: FormatName = None,
    labels: Labels = None,
    sentence_labels: SentenceLabels = None,
    column: Columns = None,
    word_column: WordColumn = 0,
    no_label: NoLabel = "",
    rule: Rules = None,
    filter_layer: Annotated[str, typer.Option(help="The layer that the filters are about.", show_default=False)] = "",
    filter_labelled_only: Annotated[
        bool, typer.Option("--filter-labelled-only", help="Only rows with a label in it.")
    ] = False,
    filter_label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Only rows with this label. Repeatable.")
    ] = None,
    filter_per_label: Annotated[int, typer.Option(help="At most so many rows a label; 0: all.", min=0)] = 0,
    filter_per_word_type: Annotated[int, typer.Option(help="At most so many rows a word type; 0: all.", min=0)] = 0,
    filter_seed: Annotated[int, typer.Option(help="Seed of the filters' draws.", min=0)] = 0,
    model_dtype: Annotated[WeightType, typer.Option(help="Element type of the weights.")] = "float32",
    device: Annotated[Device, typer.Option(help="What runs the model.")] = "cpu",
    threads: Annotated[int, typer.Option(help="Of a forward pass; 0: as torch finds fit.", min=0)] = 0,
    cache: Annotated[str, typer.Option(help="Where converted models are kept.")] = "~/.cache/patchclamp",
    ray: Annotated[str, typer.Option(metavar="ADDRESS", help="Run on Ray: HOST:PORT of its head, or local.")] = "",
    actors: Annotated[int, typer.Option(help="With --ray: copies of the model; 0: as many as fit.", min=0)] = 0,
    cpus: Annotated[int, typer.Option(help="With --ray: CPUs of each copy.", min=1)] = 1,
    shard_words: Annotated[
        int,
        typer.Option(help="With --ray: words of a shard, about.", show_default="a 16th, 50,000 at most", min=0),
    ] = 0,
    no_merge: Annotated[bool, typer.Option("--no-merge", help="With --ray: leave the shards as they are.")] = False,
) -> None:
    """Write the activations of a corpus to a file, without a server.

    The file appears once it is complete. Run again after a kill, and it goes on.

    \b
    patchclamp-analysis extract dev.txt -m minilm-l6 -s 'layers.*.residual' -o dev.h5
    patchclamp-analysis extract dev.words --labels upos=dev.upos -m smollm2-135m -s layers.10.neurons -o dev.h5
    patchclamp-analysis extract a.txt --format lines -r 'kind=number:regex:[0-9]+' -m minilm-l6 -s embeddings -o a.h5
    patchclamp-analysis extract dev.conllu --column upos=4 -m mine=./model -s embeddings -o dev.h5 --ray 10.0.0.1:6379
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already")
    given = CorpusInput(
        corpus,
        format_name,
        tuple(labels or ()),
        tuple(sentence_labels or ()),
        tuple(column or ()),
        word_column,
        no_label,
        tuple(rule or ()),
    )
    wanted = Extraction(
        sites=tuple(site),
        aggregation=aggregation or "",
        dtype=dtype,
        rule=RowFilter(
            filter_layer,
            filter_labelled_only,
            frozenset(filter_label or ()),
            filter_per_label,
            filter_per_word_type,
            filter_seed,
        ),
        interventions=edits.read_text(encoding="utf-8") if edits else "",
        special_tokens=special_tokens,
        corpus=corpus.name,
    )
    choice = ModelChoice(_absolute(model), model_dtype, device, threads, cache)
    if not ray:
        _tell(_alone(given, choice, wanted, out))
    else:
        pool = Pool(ray, actors, cpus, int(device == "cuda"))
        _tell(_on_ray(given, choice, wanted, out, pool, shard_words, merged=not no_merge))


def merge_shards(
    shards: Annotated[Path, typer.Argument(help="The directory that `extract --ray … --no-merge` left.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Where to: an .h5 file.")],
) -> None:
    """Make one activation set of shards, which stay.

    \b
    patchclamp-analysis merge dev.h5.shards -o dev.h5
    """
    with bar() as report:
        _tell(merge(shards, ShardFolder.open(shards).manifest(), out, report))


def _alone(given: CorpusInput, model: ModelChoice, wanted: Extraction, out: Path) -> Finished:
    open_extractor = find_extractor()
    with corpus_directory(given, out) as directory, bar() as report:
        report("load", 0, 0)
        with open_extractor(model) as extractor:
            written = extractor.extract(Corpus.open(directory), wanted, out, report)
    if written is None:
        raise BadData("the filter keeps no row of this corpus")
    return written.finished


def _on_ray(
    given: CorpusInput, model: ModelChoice, wanted: Extraction, out: Path, pool: Pool, words: int, *, merged: bool
) -> Finished | Path:
    find_extractor()
    place = out.with_name(f"{out.name}.shards")
    with corpus_directory(given, out) as directory, bar() as report:
        corpus = Corpus.open(directory)
        folder = ShardFolder.create(place, _plan(corpus, model, wanted), _shards(corpus, words))
        extract_shards(pool, folder, directory, model, wanted, report)
        report("check", 0, 0)
        records = folder.complete()
        if not merged:
            return place
        finished = merge(place, records, out, report)
    folder.remove()
    return finished


def _absolute(model: str) -> str:
    """NAME=DIRECTORY, wherever the worker that loads it may run."""
    name, _, source = model.partition("=")
    return f"{name}={Path(source).resolve()}" if source.startswith(".") else model


def _plan(corpus: Corpus, model: ModelChoice, wanted: Extraction) -> dict[str, object]:
    chosen = asdict(model)
    return {
        "corpus_digest": corpus.summary.digest,
        "model": {key: chosen[key] for key in ("spec", "dtype")},
        **wanted.canonical(),
    }


def _shards(corpus: Iterable[Sentence], words: int) -> list[Shard]:
    """Shards of so many words; of running text five characters count as one."""
    sizes = [len(each.words) or 1 + (len(each.text) + len(each.second)) // 5 for each in corpus]
    return list(cut(sizes, words or max(_LEAST_WORDS, min(_MOST_WORDS, sum(sizes) // 16))))


def _tell(result: Finished | Path) -> None:
    if isinstance(result, Path):
        sys.stdout.write(f"{result}: shards, complete; `patchclamp-analysis merge` makes one file of them\n")
        return
    masked = f", {result.masked_rows:,} of them masked" if result.masked_rows else ""
    sys.stdout.write(f"{result.path}: {result.rows:,} rows of {result.sentences:,} sentences{masked}\n")
