"""Small activation sets, and random ones for hypothesis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, Finished
from patchclamp_analysis.sets.element_types import ELEMENT_TYPES, widened
from patchclamp_analysis.sets.set_layout import RowBlock, SetDescription

__all__ = ["Example", "example", "examples", "write"]


@dataclass(frozen=True, eq=False)
class Example:
    """All that goes into a set."""

    description: SetDescription
    sentences: NDArray[np.int64]
    places: NDArray[np.int32]
    words: list[str]
    labels: dict[str, list[str]]
    masked: NDArray[np.bool_]
    values: dict[str, NDArray[Any]]

    @property
    def rows(self) -> int:
        return len(self.words)

    def blocks(self, cuts: Sequence[int] = ()) -> Iterator[RowBlock]:
        """Metadata, cut at some rows."""
        for rows in slices(self.rows, cuts):
            labels = {layer: labels[rows] for layer, labels in self.labels.items()}
            yield RowBlock(self.sentences[rows], self.places[rows], self.words[rows], labels)

    def part(self, rows: slice) -> tuple[Mapping[str, NDArray[Any]], NDArray[np.bool_]]:
        """What `write` takes."""
        return {site: values[rows] for site, values in self.values.items()}, self.masked[rows]

    def stored(self, site: str) -> NDArray[np.float32]:
        """What is to be read back: NaN where it is masked."""
        values = np.array(widened(self.values[site], self.description.dtype))
        values[self.masked] = np.nan
        return values


def slices(rows: int, cuts: Sequence[int]) -> list[slice]:
    edges = sorted({0, rows, *(cut % (rows + 1) for cut in cuts)})
    return [slice(left, right) for left, right in pairwise(edges)]


def write(example: Example, path: Path, *, cuts: Sequence[int] = ()) -> Finished:
    """Writes a whole set."""
    with ActivationSetWriter.open(path, example.description, example.blocks(cuts)) as writer:
        for rows in slices(example.rows, cuts):
            writer.write(*example.part(rows))
        return writer.finish()


def example(
    rows: int = 50,
    widths: Mapping[str, int] | None = None,
    dtype: str = "float32",
    layers: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    words: Sequence[str] = (),
) -> Example:
    """Random numbers and labels; about a tenth of the rows masked and of the labels missing."""
    draw = np.random.default_rng(seed)
    widths = widths or {"layers.0.residual": 3, "layers.1.residual": 5}
    layers = {"upos": ("ADJ", "NOUN", "VERB")} if layers is None else layers
    sentences = np.sort(draw.integers(0, 3 * rows, rows))
    labels = {
        layer: np.where(draw.random(rows) < 0.1, "", draw.choice(names, rows) if names else "").tolist()
        for layer, names in layers.items()
    }
    return Example(
        SetDescription(
            sites=tuple(widths.items()),
            dtype=dtype,
            model="models/tiny",
            corpus="corpora/dev",
            layers=tuple((layer, tuple(names)) for layer, names in layers.items()),
        ),
        sentences,
        (np.arange(rows) - np.searchsorted(sentences, sentences)).astype(np.int32),
        list(words) or [f"wörd{number % 7}" for number in range(rows)],
        labels,
        draw.random(rows) < 0.1,
        {site: numbers(draw, (rows, width), dtype) for site, width in widths.items()},
    )


def numbers(draw: np.random.Generator, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    wide = (draw.standard_normal(shape) * 10.0 ** draw.integers(-3, 4)).astype(np.float32)
    return (wide.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else wide.astype(ELEMENT_TYPES[dtype])


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    rows = draw(st.integers(1, 40))
    layers = draw(st.dictionaries(_text, st.sets(_text, max_size=5).map(sorted), max_size=3))
    return example(
        rows,
        draw(st.dictionaries(_text, st.integers(1, 9), min_size=1, max_size=3)),
        draw(st.sampled_from(list(ELEMENT_TYPES))),
        layers,
        draw(st.integers(0, 99)),
        draw(
            st.lists(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=rows, max_size=rows
            )
        ),
    )
