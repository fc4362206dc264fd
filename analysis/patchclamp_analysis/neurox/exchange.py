"""Activation sets from NeuroX files, and NeuroX files from activation sets.

NeuroX numbers layers from the embeddings on: its layer 0 is `embeddings`, its layer i + 1 is `layers.{i}.residual`.
A file counts its layers from 0, whichever they are; so one with other sites notes them, and is read back as them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..corpora.sentences import Sentence
from ..errors import BadData
from ..sets.activation_sets import ActivationSet
from ..sets.activation_writer import ActivationSetWriter, Finished
from ..sets.element_types import ELEMENT_TYPES
from ..sets.set_layout import RowBlock, SetDescription
from .files import NeuroxSentence, noted_sites, read_neurox, write_neurox

__all__ = ["export_neurox", "import_neurox", "numbered_by_neurox", "site_of_layer"]

_BATCH_BYTES, _BATCH_SENTENCES = 1 << 24, 1024
_RESIDUAL = re.compile(r"layers\.(\d+)\.residual")


def site_of_layer(layer: int) -> str:
    """The site that a layer of NeuroX is."""
    return f"layers.{layer - 1}.residual" if layer else "embeddings"


def numbered_by_neurox(sites: Sequence[str]) -> bool:
    """Whether sites, as the layers of a file, have the numbers that NeuroX gives them: all from the embeddings on."""
    return all(site == site_of_layer(number) for number, site in enumerate(sites))


def import_neurox(
    source: Path,
    target: Path,
    *,
    corpus: Iterable[Sentence] | None = None,
    layers: Sequence[int] | None = None,
    model: str = "",
    aggregation: str = "",
) -> Finished:
    """Makes an activation set of a NeuroX file, sentence by sentence.

    `corpus` has the labels: a Corpus or a list, as it is read twice, of the same sentences in the same order. `layers`
    are NeuroX's numbers of the layers in the file, for one with some layers only; default: the sites that the file
    notes, else 0, 1, 2, … Words whose activations are all NaN become masked rows.

    Raises:
        BadData: The file is damaged, sentences differ in layers or neurons, the corpus has other sentences, or the
            file notes other sites than `layers`.
        FileExistsError: `target` is there already.
        OSError: The disk cannot hold the set.
    """
    if corpus is not None and iter(corpus) is corpus:
        raise BadData("the corpus is read several times: give a list or a Corpus, not an iterator")
    file = _Source.of(source, corpus)
    sites = file.sites(layers)
    description = SetDescription(
        sites=tuple((site, file.neurons) for site in sites),
        dtype=file.element_type,
        aggregation=aggregation,
        model=model,
        corpus=source.name,
        layers=file.labels(),
    )
    # A partial file of the same description may be of another NeuroX file.
    with ActivationSetWriter.open(target, description, file.rows(description), resume=False) as writer:
        try:
            for block in file.values():
                writer.write(dict(zip(sites, block, strict=True)), np.isnan(block).all(axis=(0, 2)))
            return writer.finish()
        except BaseException:
            writer.discard()
            raise


def export_neurox(stored: ActivationSet, target: Path, *, sites: Sequence[str] | None = None) -> tuple[str, ...]:
    """Writes sites of one width as the layers of a NeuroX file (.hdf5 or .json), sentence by sentence, and returns them
    in the order of the layers. Default: the embeddings and all residual streams, by depth. Where NeuroX numbers them
    otherwise than the file does, their names are noted in it. Masked words are NaN; bfloat16 becomes float32; labels
    are not part of the format.

    Raises:
        BadData: There are no such sites, they differ in width, or `target` ends otherwise.
        FileExistsError: `target` is there already.
        OSError: The disk is full, or the file cannot be written.
    """
    chosen = tuple(_by_depth(stored.sites)) if sites is None else tuple(sites)
    if not chosen:
        raise BadData(f"there is no residual stream, only {', '.join(stored.sites)}; say which sites")
    if unknown := [site for site in chosen if site not in stored.sites]:
        raise BadData(f"there is no site {unknown[0]!r}; there are {', '.join(stored.sites)}", where=stored.path.name)
    if len({stored.sites[site] for site in chosen}) > 1:
        raise BadData(f"a NeuroX file has one width; {', '.join(f'{site}: {stored.sites[site]}' for site in chosen)}")
    write_neurox(target, _exported(stored, chosen), sites=() if numbered_by_neurox(chosen) else chosen)
    return chosen


@dataclass(frozen=True, slots=True)
class _Source:
    """A NeuroX file, with the corpus that its sentences are from."""

    path: Path
    corpus: Iterable[Sentence] | None
    layers: int
    neurons: int
    element_type: str

    @classmethod
    def of(cls, path: Path, corpus: Iterable[Sentence] | None) -> _Source:
        for activations in (sentence.activations for sentence in _read(path, corpus, values=False)):
            half = activations.dtype == np.float16
            return cls(path, corpus, activations.shape[0], activations.shape[2], "float16" if half else "float32")
        raise BadData("has no sentences", where=path.name)

    def sites(self, layers: Sequence[int] | None) -> tuple[str, ...]:
        """Which site each layer is."""
        noted = noted_sites(self.path)
        if noted and len(noted) != self.layers:
            raise BadData(f"the file has {self.layers} layers and notes {len(noted)} sites", where=self.path.name)
        if layers is None:
            return noted or tuple(map(site_of_layer, range(self.layers)))
        if len(layers) != self.layers:
            raise BadData(f"the file has {self.layers} layers, not {len(layers)}", where=self.path.name)
        told = tuple(map(site_of_layer, layers))
        if noted and told != noted:
            raise BadData(
                f"the file notes that its layers are {', '.join(noted)}, not {', '.join(told)}; leave the numbers out",
                where=self.path.name,
            )
        return told

    def labels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The layers of the corpus with their labels."""
        found: dict[str, set[str]] = {}
        for sentence in self.corpus or ():
            for layer, labels in sentence.labels.items():
                found.setdefault(layer, set()).update(labels)
            for layer, label in sentence.sentence_labels.items():
                found.setdefault(layer, set()).add(label)
        return tuple((layer, tuple(sorted(labels - {""}))) for layer, labels in sorted(found.items()))

    def rows(self, description: SetDescription) -> Iterator[RowBlock]:
        """Where rows come from; the labels of a sentence are those of its words."""
        words = (each.words for each in _read(self.path, self.corpus, values=False))
        sentences = (
            map(Sentence, words)
            if self.corpus is None
            else (sentence for sentence, _ in zip(self.corpus, words, strict=True))
        )
        numbered = enumerate(sentences)
        while batch := list(islice(numbered, _BATCH_SENTENCES)):
            counts = [len(sentence.words) for _, sentence in batch]
            yield RowBlock(
                np.repeat(np.array([number for number, _ in batch], np.int64), counts),
                np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
                [word for _, sentence in batch for word in sentence.words],
                {
                    layer: [label for _, sentence in batch for label in _labels(sentence, layer)]
                    for layer, _ in description.layers
                },
            )

    def values(self) -> Iterator[NDArray[Any]]:
        """[layers, n, neurons] of all words of some sentences at a time."""
        pending: list[NDArray[Any]] = []
        size = 0
        for number, sentence in enumerate(_read(self.path, self.corpus, values=True)):
            layers, _, neurons = sentence.activations.shape
            if (layers, neurons) != (self.layers, self.neurons):
                raise BadData(
                    f"has {layers} layers of {neurons}, those before {self.layers} of {self.neurons}",
                    where=f"{self.path.name}, sentence {number}",
                )
            with np.errstate(over="ignore"):  # what becomes infinite is refused as such
                pending.append(sentence.activations.astype(ELEMENT_TYPES[self.element_type], copy=False))
            size += pending[-1].nbytes
            if size >= _BATCH_BYTES:
                yield np.concatenate(pending, axis=1)
                pending, size = [], 0
        if pending:
            yield np.concatenate(pending, axis=1)


def _read(path: Path, corpus: Iterable[Sentence] | None, *, values: bool) -> Iterator[NeuroxSentence]:
    words = None if corpus is None else (sentence.words for sentence in corpus)
    return read_neurox(path, words=words, values=values)


def _labels(sentence: Sentence, layer: str) -> Sequence[str]:
    """One a word."""
    return sentence.labels.get(layer) or [sentence.sentence_labels.get(layer, "")] * len(sentence.words)


def _by_depth(sites: Iterable[str]) -> list[str]:
    """The embeddings and the residual streams among some sites."""
    depths = {site: int(found[1]) + 1 for site in sites if (found := _RESIDUAL.fullmatch(site))}
    depths |= {site: 0 for site in sites if site == "embeddings"}
    return sorted(depths, key=depths.__getitem__)


def _exported(stored: ActivationSet, sites: Sequence[str]) -> Iterator[NeuroxSentence]:
    """Sentences in order, read some megabytes at a time."""
    offsets = stored.sentence_offsets
    row_bytes = 4 * sum(stored.sites[site] for site in sites)
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + _BATCH_BYTES // row_bytes, side="right")) - 1
        last = min(max(last, first + 1), len(offsets) - 1)
        rows = slice(int(offsets[first]), int(offsets[last]))
        block = np.stack([stored.read(site, rows) for site in sites])
        if stored.description.dtype == "float16":
            block = block.astype(np.float16)
        for start, stop in pairwise((offsets[first : last + 1] - rows.start).tolist()):
            words = stored.words[rows.start + start : rows.start + stop]
            yield NeuroxSentence(tuple(words.tolist()), block[:, start:stop])
        first = last
