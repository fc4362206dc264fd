"""What commands read: activation sets, and files of NeuroX, which become one for as long as the command runs."""

from __future__ import annotations

import inspect
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import Annotated, TypeAlias, get_type_hints

import typer

from ..corpora.corpus import Corpus
from ..data.rows import Data
from ..errors import BadData
from ..extraction.extractors import Report
from ..files.hdf5_files import is_hdf5, opened
from ..neurox.exchange import import_neurox
from ..sets.activation_sets import ActivationSet
from ..sets.activation_writer import Finished
from .corpus import Columns, CorpusInput, FormatName, Labels, NoLabel, SentenceLabels, WordColumn, corpus_directory

__all__ = [
    "Input",
    "Label",
    "Memory",
    "NeuroxOptions",
    "SetPath",
    "Sites",
    "convert_neurox",
    "is_neurox",
    "opened_rows",
    "opened_set",
    "reads_neurox",
]

SetPath: TypeAlias = Annotated[Path, typer.Argument(metavar="SET", help="An activation set, or a file of NeuroX.")]
Label: TypeAlias = Annotated[str, typer.Option("--label", "-l", metavar="LAYER", help="The layer of labels.")]
Sites: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--site", "-s", metavar="SITE", help="Only this site; 'layers.*.residual': all. Repeatable."),
]
Memory: TypeAlias = Annotated[int, typer.Option(help="Memory bound, in MiB.", min=16)]


@dataclass(frozen=True, slots=True)
class NeuroxOptions:
    """What a file of NeuroX does not say: each field is an option of the commands that `reads_neurox` extends."""

    corpus: Annotated[
        Path | None, typer.Option(help="Of a NeuroX file: its words, in a file of sentences or a corpus that is kept.")
    ] = None
    format_name: FormatName = None
    labels: Labels = None
    sentence_labels: SentenceLabels = None
    column: Columns = None
    word_column: WordColumn = 0
    no_label: NoLabel = ""
    layer: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Of a NeuroX file: the number of a layer in it. Repeatable.",
            show_default="as noted in the file, else 0, 1, 2, …",
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether any of them is."""
        return self != NeuroxOptions()

    def corpus_input(self) -> CorpusInput | None:
        """The files of words and labels. BadData for labels of no corpus."""
        if self.corpus is None:
            if self.labels or self.sentence_labels or self.column:
                raise BadData("labels are of a corpus: say which with --corpus")
            return None
        return CorpusInput(
            self.corpus,
            self.format_name,
            tuple(self.labels or ()),
            tuple(self.sentence_labels or ()),
            tuple(self.column or ()),
            self.word_column,
            self.no_label,
        )

    def of_test(self, corpus: Path | None, labels: list[str] | None) -> NeuroxOptions:
        """The same for the set to judge by, which has other sentences."""
        return replace(self, corpus=corpus, labels=labels, sentence_labels=None)


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """Rows of a set, and one line for people on what they are."""

    data: Data
    about: str


def reads_neurox(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `NeuroxOptions`, and their values as its argument `neurox`."""
    hints = get_type_hints(command, include_extras=True)
    options = get_type_hints(NeuroxOptions, include_extras=True)
    added = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(NeuroxOptions)
    ]
    own = [each for name, each in inspect.signature(command).parameters.items() if name != "neurox"]
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=(hints | options)[each.name])
        for each in (*own, *added)
    ]

    def run(**arguments: object) -> None:
        neurox = NeuroxOptions(**{each.name: arguments.pop(each.name) for each in added})  # type: ignore[arg-type]
        command(**arguments, neurox=neurox)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def is_neurox(path: Path) -> bool:
    """Whether a file is NeuroX's, by what HDF5 has in it, else by its name. OSError if it cannot be read."""
    if not is_hdf5(path):
        return path.suffix == ".json"
    with opened(path) as file:
        return "sentence_to_index" in file


def convert_neurox(source: Path, target: Path, neurox: NeuroxOptions, model: str = "") -> Finished:
    """Makes an activation set of a NeuroX file, with the words and labels that the options name."""
    if (given := neurox.corpus_input()) is None:
        return import_neurox(source, target, layers=neurox.layer, model=model)
    with corpus_directory(given, target) as directory:
        return import_neurox(source, target, corpus=Corpus.open(directory), layers=neurox.layer, model=model)


@contextmanager
def opened_set(path: Path, neurox: NeuroxOptions, report: Report) -> Iterator[ActivationSet]:
    """Opens a set. A file of NeuroX is converted into a temporary one, which is removed at the end.

    Raises:
        BadData: It is neither, or damaged; or the options are of a NeuroX file, and this is none.
        OSError: It cannot be read, or the disk has no room for the temporary set.
    """
    if not is_neurox(path):
        if neurox.given:
            raise BadData("is no file of NeuroX: it has its words and labels, leave the options out", where=str(path))
        with ActivationSet.open(path) as stored:
            yield stored
        return
    report(f"read {path.name}", 0, 0)
    with _removed_when_terminated(), tempfile.TemporaryDirectory(prefix="patchclamp-") as folder:
        converted = Path(folder) / f"{path.stem}.h5"
        convert_neurox(path, converted, neurox)
        with ActivationSet.open(converted) as stored:
            yield stored


@contextmanager
def opened_rows(
    path: Path,
    label: str,
    neurox: NeuroxOptions,
    report: Report,
    *,
    sites: Sequence[str] | None = None,
    memory: int,
    supervised: bool = False,
) -> Iterator[Input]:
    """Rows of a set with a layer of labels ("": none, unless what is to come is `supervised`), of sites (None: all; `*`
    stands for any layer). `memory` is the bound in MiB.

    Raises:
        BadData: As `opened_set`; there is no such layer of labels or site; no layer is named, and one is needed.
        OSError: As `opened_set`.
    """
    with opened_set(path, neurox, report) as stored:
        layers = [name for name, _ in stored.description.layers]
        if label not in layers if label else supervised:
            raise BadData(_no_layer(path, label, layers), where=str(path))
        chosen = None if sites is None else _matching(sites, list(stored.sites))
        data = Data.from_activation_set(stored, label, sites=chosen, memory_bytes=memory * 2**20)
        model = f" of {stored.description.model}" if stored.description.model else ""
        yield Input(data, f"{path.name}: {len(data):,} rows, {len(data.neurons):,} neurons{model}")


def _no_layer(path: Path, label: str, layers: Sequence[str]) -> str:
    if layers or not is_neurox(path):
        there = ", ".join(layers) or "none"
        if not label:
            return f"the method needs a class for each row: choose a layer of labels with --label; there are {there}"
        return f"there is no layer of labels {label!r}; there are {there}"
    name = label or "LAYER"
    return (
        f"a file of NeuroX has no labels: give its words with --corpus FILE, and their labels with "
        f"--labels {name}=FILE (one a word) or --column {name}=N{'' if label else ', and choose them with --label'}"
    )


def _matching(patterns: Sequence[str], sites: Sequence[str]) -> list[str]:
    """The sites that patterns name, each once, in the order of the patterns."""
    found: dict[str, None] = {}
    for pattern in patterns:
        expression = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
        matching = [site for site in sites if expression.fullmatch(site)]
        if not matching:
            raise BadData(f"the set has no such site; it has {', '.join(sites)}", where=pattern)
        found |= dict.fromkeys(matching)
    return list(found)


@contextmanager
def _removed_when_terminated() -> Iterator[None]:
    """Ends by an exception on SIGTERM too, so that what is temporary goes."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
