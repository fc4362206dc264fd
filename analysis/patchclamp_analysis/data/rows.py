"""What methods read: rows of activations with their labels, in blocks that fit into a memory bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import BadData
from .blocks import Blocks, steps
from .labels import annotation, encoded, encoded_as, words_of
from .matrices import empty_matrix
from .neurons import Neurons, Site
from .sources import Arrays, arrays_of, not_finite
from .splits import second_part

if TYPE_CHECKING:
    import pandas as pd

    from ..sets.activation_sets import ActivationSet

__all__ = ["Data"]

GIB = 2**30
LEAST_MEMORY = 2**24
# Larger blocks fall out of the caches; of wide ones a few more rows pay. Sums do not depend on the memory bound.
_BLOCK_BYTES, _LARGEST_BLOCK = 2**20, 2**21
_FEW_ROWS = 64
_LARGEST_COLUMNS = 2**26
# Sums over more rows lose too much in float32.
_MOST_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """N rows (words, tokens or sentences) of D neurons, and for each row its class or its target value.

    Masked and unlabelled rows are not among the rows. `y` [N] numbers the classes in sorted order; −1 is a label that
    `classes` does not have. Without labels `classes` is empty and `y` is all −1. For regression there are `targets`
    [N] instead. `annotations` has every layer of labels there is, the chosen one too: codes [N], −1 where a row is
    unlabelled, and the names they are places in. Activations are read when asked for and never written to.
    """

    source: Arrays
    neurons: Neurons
    rows: NDArray[np.int64]
    y: NDArray[np.int32]
    classes: tuple[str, ...] = ()
    targets: NDArray[np.float64] | None = None
    label: str = ""
    words: NDArray[np.object_] | None = None
    sentences: NDArray[np.int64] | None = None
    masked: int = 0
    unlabelled: int = 0
    memory_bytes: int = GIB
    annotations: Mapping[str, tuple[NDArray[np.int32], tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.memory_bytes < LEAST_MEMORY:
            raise BadData(f"memory_bytes = {self.memory_bytes} is too little: at least {LEAST_MEMORY}")
        if not len(self.rows):
            raise BadData(
                f"no row is left: of {self.source.rows}, {self.masked} are masked and {self.unlabelled} unlabelled",
                where=self.label,
            )
        if not len(self.neurons):
            raise BadData("no neuron is left")

    @classmethod
    def from_arrays(
        cls,
        x: ArrayLike | Mapping[str, ArrayLike],
        labels: ArrayLike | None = None,
        *,
        targets: ArrayLike | None = None,
        sites: Sequence[Site] | None = None,
        words: ArrayLike | None = None,
        sentences: ArrayLike | None = None,
        masked: ArrayLike | None = None,
        classes: Sequence[str] | None = None,
        label: str = "labels",
        annotations: Mapping[str, ArrayLike] | None = None,
        memory_bytes: int = GIB,
    ) -> Data:
        """From `x` [R, D], or [R, width] per site, and for each row a label (strings; "" or None is unlabelled;
        integers are ordered as numbers), or a target (NaN is unlabelled). `sites` cuts one `x` into sites. `classes`
        are those of other data, in their order, to compare with. `annotations` are layers of further labels. BadData
        if the shapes disagree, a row that counts has no word, or sentences are no integers.
        """
        source = arrays_of(x, sites)
        layers = dict(annotations or {})
        given = {"labels": labels, "targets": targets, "words": words, "sentences": sentences, "masked": masked} | {
            f"annotations.{name}": values for name, values in layers.items()
        }
        for name, values in given.items():
            if values is not None and np.shape(values) != (source.rows,):
                raise BadData(f"has shape {np.shape(values)}; there are {source.rows} rows", where=name)
        for name, numbers, kinds in (("sentences", sentences, "iu"), ("masked", masked, "biu")):
            if numbers is not None and np.asarray(numbers).dtype.kind not in kinds:
                raise BadData(f"must be integers, not {np.asarray(numbers).dtype}", where=name)
        kept = np.ones(source.rows, bool) if masked is None else ~np.asarray(masked, bool)
        y, values, names, labelled = encoded(labels, targets, source.rows)
        rows = np.flatnonzero(kept & labelled)
        data = cls(
            source,
            Neurons.all_of(source.sites),
            rows,
            y[rows],
            names,
            None if values is None else values[rows],
            label if labels is not None or targets is not None else "",
            None if words is None else words_of(words, rows),
            None if sentences is None else np.asarray(sentences, dtype=np.int64)[rows],
            int(np.sum(~kept)),
            int(np.sum(kept & ~labelled)),
            memory_bytes,
            {name: annotation(values, rows, name) for name, values in layers.items()},
        )
        return data if classes is None else data.with_classes(classes)

    @classmethod
    def from_activation_set(
        cls,
        stored: ActivationSet,
        label: str = "",
        *,
        sites: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        memory_bytes: int = GIB,
    ) -> Data:
        """From a set on disk, which must stay open: a layer of labels ("": none) and some of its sites (None: all)."""
        chosen = list(stored.sites) if sites is None else list(sites)
        for site in chosen:
            if site not in stored.sites:
                raise BadData(f"the set has no such site; it has {', '.join(stored.sites)}", where=site)
        codes, names = stored.codes(label) if label else (np.zeros(stored.rows, np.int32), ())
        if label and not names:
            raise BadData("no row has a label of this layer", where=label)
        kept, labelled = ~stored.masked, codes >= 0
        rows = np.flatnonzero(kept & labelled)
        data = cls(
            Arrays(
                tuple(Site(site, stored.sites[site]) for site in chosen),
                tuple(stored.site(site) for site in chosen),
                stored.description.dtype == "bfloat16",
            ),
            Neurons.all_of([Site(site, stored.sites[site]) for site in chosen]),
            rows,
            codes[rows].astype(np.int32) if label else np.full(len(rows), -1, np.int32),
            tuple(names),
            None,
            label,
            stored.words[rows],
            stored.sentences[rows],
            int(np.sum(~kept)),
            int(np.sum(kept & ~labelled)),
            memory_bytes,
            {layer: (stored.codes(layer)[0][rows], names) for layer, names in stored.description.layers},
        )
        return data if classes is None else data.with_classes(classes)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, label: str, *, word: str = "", memory_bytes: int = GIB) -> Data:
        """From a DataFrame: a column of labels, maybe one of words, and the other columns of numbers as neurons."""
        for column in filter(None, (label, word)):
            if column not in frame.columns:
                raise BadData(f"the frame has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
        numbers = frame.drop(columns=[column for column in (label, word) if column]).select_dtypes("number")
        return cls.from_arrays(
            numbers.to_numpy(),
            # What pandas has made floats of, for want of a label, are integers.
            frame[label].convert_dtypes().astype(object).to_numpy(),
            words=frame[word].to_numpy(dtype=object) if word else None,
            label=label,
            memory_bytes=memory_bytes,
        )

    @classmethod
    def from_neurox(
        cls,
        activations: Sequence[NDArray[Any]],
        tokens: Mapping[str, Sequence[Sequence[str]]],
        *,
        layers: int = 1,
        memory_bytes: int = GIB,
    ) -> Data:
        """From what NeuroX's loaders return: per sentence [words, layers × hidden], and "source" and "target" words.
        Of several layers, the first is taken for the embeddings.
        """
        from ..neurox.exchange import site_of_layer

        lengths = [len(sentence) for sentence in activations]
        for side in ("source", "target"):
            for number, (length, words) in enumerate(zip(lengths, tokens[side], strict=True)):
                if length != len(words):
                    raise BadData(f"{length} rows for {len(words)} words", where=f"{side}, sentence {number}")
        x = np.concatenate(activations)
        width, rest = divmod(x.shape[1], layers)
        if rest:
            raise BadData(f"{x.shape[1]} neurons are not {layers} layers of one width")
        return cls.from_arrays(
            x,
            np.array([word for sentence in tokens["target"] for word in sentence], dtype=object),
            words=np.array([word for sentence in tokens["source"] for word in sentence], dtype=object),
            sentences=np.repeat(np.arange(len(lengths)), lengths),
            sites=[Site(site_of_layer(layer + (layers == 1)), width) for layer in range(layers)],
            label="target",
            memory_bytes=memory_bytes,
        )

    def __repr__(self) -> str:
        what = "targets" if self.targets is not None else f"{len(self.classes):,} classes"
        of = f", {what} of {self.label}" if self.label else ""
        return f"<Data: {len(self):,} rows × {len(self.neurons):,} neurons{of}>"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.rows), len(self.neurons)

    @property
    def counts(self) -> NDArray[np.int64]:
        """[C] rows of each class."""
        return np.bincount(self.y[self.y >= 0], minlength=len(self.classes))

    def require_classes(self) -> None:
        """BadData unless there are rows of at least two classes, and of none but these."""
        if self.targets is not None or not self.classes:
            layers = f"a layer of labels: {', '.join(self.annotations)}" if self.annotations else "labels"
            raise BadData(f"this method needs a class for each row; choose {layers}", where=self.label)
        present = np.flatnonzero(self.counts)
        if len(present) < 2:
            name = self.classes[present[0]] if len(present) else "none of the known classes"
            raise BadData(f"all {len(self)} rows are of one class ({name}): nothing to tell apart", where=self.label)
        if (self.y < 0).any():
            raise BadData(f"{np.sum(self.y < 0)} rows have a label that is not among the classes", where=self.label)

    def take(self, rows: ArrayLike) -> Data:
        """Some rows, by place or by mask, in the order given. They may stand there twice."""
        chosen = np.asarray(rows)
        return replace(
            self,
            rows=self.rows[chosen],
            y=self.y[chosen],
            targets=None if self.targets is None else self.targets[chosen],
            words=None if self.words is None else self.words[chosen],
            sentences=None if self.sentences is None else self.sentences[chosen],
            annotations={name: (codes[chosen], names) for name, (codes, names) in self.annotations.items()},
        )

    def keep(self, neurons: Sequence[int] | NDArray[np.integer]) -> Data:
        """Some neurons, by place or by mask; they stay in the order of the data. BadData for a place out of range."""
        return replace(self, neurons=self.neurons.keep(neurons))

    def of_site(self, name: str) -> Data:
        """The neurons of one site."""
        for number, site in enumerate(self.neurons.sites):
            if site.name == name:
                places = self.neurons.of_site(number)
                return self.keep(np.arange(places.start, places.stop))
        raise BadData(f"no such site; there are {', '.join(site.name for site in self.neurons.sites)}", where=name)

    def with_classes(self, classes: Sequence[str]) -> Data:
        """The same with the classes of other data. Rows of other labels get y = −1."""
        return replace(self, y=encoded_as(self.y, self.classes, classes), classes=tuple(classes))

    def with_labels(self, labels: ArrayLike, label: str = "labels") -> Data:
        """The same rows with other labels [N] (a control task's, say); unlabelled ones fall out."""
        y, _, classes, labelled = encoded(labels, None, len(self))
        changed = replace(self, y=y, classes=classes, targets=None, label=label)
        return changed if labelled.all() else changed.take(labelled)

    def split(self, share: float, seed: int = 0) -> tuple[Data, Data]:
        """Two parts, the second with about `share` of the rows: whole sentences where they are known. Every class
        that there is has a row in the first part.
        """
        groups = np.arange(len(self)) if self.sentences is None else np.unique(self.sentences, return_inverse=True)[1]
        chosen = second_part(groups, self.y, share, seed)
        if chosen.all() or not chosen.any():
            raise BadData(f"{len(self)} rows cannot be split: a share of {share:g} leaves one part empty")
        return self.take(~chosen), self.take(chosen)

    def split_off(self, share: float, seed: int = 0) -> tuple[Data, Data | None]:
        """`split`, or all and None where there are too few rows for two parts, or nothing is wanted."""
        try:
            return self.split(share, seed)
        except BadData:
            return self, None

    def blocks(self, multiple: int = 1) -> Blocks:
        """A pass over the rows, all neurons at once. All blocks but the last have a multiple of some rows."""
        row = 4 * len(self.neurons)
        size = min(max(_BLOCK_BYTES // row, min(_FEW_ROWS, _LARGEST_BLOCK // row)), _MOST_ROWS)
        size = max(size // multiple, 1) * multiple
        return Blocks(steps(0, len(self), size), self.read_rows)

    def columns(self, working_bytes: int = 16) -> Blocks:
        """A pass over the neurons, all rows at once, never across sites. `working_bytes` is what the caller will need
        for each value beside the value; a block has at least one neuron, so N × that is what a pass needs at least.
        """
        width = min(self.memory_bytes // 2, _LARGEST_COLUMNS) // ((4 + working_bytes) * len(self))
        sites = [self.neurons.of_site(number) for number in range(len(self.neurons.sites))]
        return Blocks(tuple(step for site in sites for step in steps(site.start, site.stop, width)), self.read_columns)

    def read_rows(self, rows: slice) -> NDArray[np.float32]:
        """[n, D] of some rows."""
        block = self.source.read_all(self.neurons, self.rows[rows])
        self._check(block, rows.start, 0)
        return block

    def read_columns(self, neurons: slice) -> NDArray[np.float32]:
        """[N, d] of some neurons of one site."""
        chosen = Neurons(self.neurons.sites, self.neurons.columns[neurons])
        ((site, _, indices),) = self.source.parts(chosen)
        block = np.empty((len(indices), len(self)), np.float32)
        for rows in steps(0, len(self), 2**18 // (4 * len(indices))):
            block[:, rows] = self.source.read(site, self.rows[rows], indices).T
        self._check(block.T, 0, neurons.start)
        return block.T

    def matrix(self) -> NDArray[np.float32]:
        """[N, D], for what needs all at once, read-only: a view where the activations lie like that already; else in
        memory if half of the bound holds it, or in a temporary file that is mapped and vanishes with the array.
        """
        blocks = self.blocks()
        # Blocks are read-only where they are views.
        if len(blocks) == 1 or (
            np.all(np.diff(self.rows) == 1) and not self.read_rows(blocks.places[0]).flags.writeable
        ):
            return self.read_rows(slice(0, len(self)))
        whole = empty_matrix(self.shape, self.memory_bytes // 2)
        for rows, block in blocks:
            whole[rows] = block
        whole.flags.writeable = False
        return whole

    def _check(self, block: NDArray[np.float32], first_row: int, first_neuron: int) -> None:
        """BadData that names the first value that is NaN or infinite."""
        if found := not_finite(block):
            row, neuron = first_row + found[0], self.neurons[first_neuron + found[1]]
            word = "" if self.words is None else f" ({self.words[row]!r})"
            raise BadData(f"the activation is {block[found]}", where=f"{neuron}, row {self.rows[row]}{word}")
