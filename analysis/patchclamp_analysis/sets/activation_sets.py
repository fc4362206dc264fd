"""Reads activation sets, lazily: nothing but the description is in memory until it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadData
from .element_types import widened
from .set_file import SetFile, all_rows, by_label, measured
from .set_layout import SetDescription, group_table, member
from .statistics import Statistics

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ActivationSet", "SetDescription", "Statistics"]

_PIECE_BYTES = 1 << 20
_STRINGS = 1 << 16


class ActivationSet:
    """An activation set; a context manager. Reads may come from several threads. Arrays that it gave stay valid after
    it is closed.
    """

    def __init__(self, file: SetFile) -> None:
        self.path = file.path
        self.description: SetDescription = file.description
        self.rows = file.rows
        self.sites: Mapping[str, int] = file.sites
        """Name → width."""
        self._file = file

    @classmethod
    def open(cls, path: Path | str) -> ActivationSet:
        """Opens a set that is whole.

        Raises:
            BadData: It is something else, not whole, damaged, or of a newer version.
            OSError: It cannot be opened.
        """
        file = SetFile(Path(path))
        try:
            file.check_whole()
        except BaseException:
            file.close()
            raise
        return cls(file)

    def __enter__(self) -> ActivationSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file. May be called again."""
        self._file.close()

    @cached_property
    def words(self) -> NDArray[np.object_]:
        """[rows]: the word, token or sentence of each; equal ones are one string in memory."""
        dataset = self._file.file["rows/words"]
        words = np.empty(self.rows, object)
        known: dict[bytes, str] = {}
        for start in range(0, self.rows, _STRINGS):
            for row, word in enumerate(dataset[start : start + _STRINGS].tolist(), start):
                words[row] = known.get(word) or known.setdefault(word, word.decode())
        return words

    @cached_property
    def sentences(self) -> NDArray[np.int64]:
        """[rows]: number of the sentence in the corpus."""
        return self._array("rows/sentence")

    @cached_property
    def places(self) -> NDArray[np.int32]:
        """[rows]: place of the word (or token) in its sentence."""
        return self._array("rows/word")

    @cached_property
    def masked(self) -> NDArray[np.bool_]:
        """[rows]: which must not be used; their values are NaN."""
        return self._array("rows/masked")

    @cached_property
    def sentence_offsets(self) -> NDArray[np.int64]:
        """[sentences with rows + 1]: the i-th sentence that has rows has those from offsets[i] to offsets[i + 1]."""
        return self._array("sentence_offsets")

    def labels(self, layer: str) -> NDArray[np.object_]:
        """[rows]; "": unlabelled."""
        codes, labels = self.codes(layer)
        return np.array([*labels, ""], object)[codes]

    def codes(self, layer: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """[rows] places in the labels, −1: unlabelled; and the labels in sorted order."""
        self._check_layer(layer)
        return self._array(f"labels/{member(layer)}"), self._file.layers[layer]

    def label_counts(self, layer: str) -> Mapping[str, int]:
        """Rows of each label, masked ones too, in the order of the labels."""
        self._check_layer(layer)
        return self._file.label_counts(layer)

    def site(self, name: str) -> NDArray[Any]:
        """[rows, width] as stored (bfloat16: its bits as uint16); memory-mapped, read-only. All in memory if another
        program has rewritten the file in chunks.
        """
        self._check_site(name)
        place = self._file.places[name]
        if place is None:
            return self._file.raw(name, 0, self.rows)
        return np.memmap(self.path, place.dtype, "r", place.offset, place.shape)

    def read(self, site: str, rows: slice | NDArray[np.integer] = slice(None)) -> NDArray[np.float32]:
        """[n, width] as float32, of consecutive or of any rows, in the order given."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.rows)
            if step == 1:
                self._check_site(site)
                return self._file.values(site, start, max(start, stop))
        return widened(np.array(self.site(site)[rows]), self.description.dtype)

    def blocks(
        self, sites: Sequence[str] | None = None, *, memory_bytes: int
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Consecutive rows, [n, Σ widths] with the sites side by side (None: all). Two blocks fit into the memory
        bound, since the caller still has the one before; a block has at least one row.
        """
        chosen = list(self.sites) if sites is None else list(sites)
        for site in chosen:
            self._check_site(site)
        edges = np.cumsum([0, *(self.sites[site] for site in chosen)]).tolist()
        step = max(1, (memory_bytes - _PIECE_BYTES) // (8 * edges[-1]))
        for start in range(0, self.rows, step):
            stop = min(start + step, self.rows)
            block = np.empty((stop - start, edges[-1]), np.float32)
            for site, left, right in zip(chosen, edges[:-1], edges[1:], strict=True):
                self._fill(block[:, left:right], site, start)
            yield slice(start, stop), block

    def statistics(self, site: str, label: str = "", layer: str = "") -> Statistics:
        """Over all rows, or those of a label, masked ones left out; from the file if they are in it, else by a pass
        over the site. `layer` may be left out when only one has the label.
        """
        self._check_site(site)
        group = self._group(label, layer)
        table = group_table(self.description)
        if group in table and "statistics" in self._file.file:
            number = table.index(group)
            values = self._file.file["statistics"]["values"][member(site)][:, number]
            return Statistics(int(self._file.file["statistics"]["count"][number]), *values)
        rows = by_label(self._file, group[0], group[1]) if group[1] else all_rows()
        (moments,) = measured(self._file, site, [rows])
        return moments.statistics()

    def to_pandas(self) -> pd.DataFrame:
        """A row per row: sentence, place, word, masked, and each layer as a categorical column (missing: unlabelled).
        A layer of one of these names gets "_label" appended.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "sentence": self.sentences,
            "place": self.places,
            "word": self.words,
            "masked": self.masked,
        }
        for layer in self._file.layers:
            codes, labels = self.codes(layer)
            name = f"{layer}_label" if layer in columns else layer
            columns[name] = pd.Categorical.from_codes(codes.tolist(), pd.Index(labels, dtype=object))
        return pd.DataFrame(columns)

    def _array(self, name: str) -> NDArray[Any]:
        values: NDArray[Any] = self._file.file[name][()]
        values.flags.writeable = False
        return values

    def _fill(self, block: NDArray[np.float32], site: str, row: int) -> None:
        step = max(1, _PIECE_BYTES // (8 * block.shape[1]))
        for start in range(0, len(block), step):
            stop = min(start + step, len(block))
            block[start:stop] = self._file.values(site, row + start, row + stop)

    def _group(self, label: str, layer: str) -> tuple[str, str]:
        """Layer and label, checked; ("", "") for all rows."""
        layers = self._file.layers
        if layer:
            self._check_layer(layer)
            if label not in layers[layer]:
                known = ", ".join(layers[layer][:50])
                raise BadData(f"the layer {layer} has no label {label!r}; it has {known}", where=self.path.name)
            return layer, label
        if not label:
            return "", ""
        holders = [name for name, labels in layers.items() if label in labels]
        if len(holders) != 1:
            held = f"in several layers, {', '.join(holders)}: choose one" if holders else "in no layer"
            raise BadData(f"the label {label!r} is {held}", where=self.path.name)
        return holders[0], label

    def _check_site(self, site: str) -> None:
        if site not in self.sites:
            raise BadData(f"there is no site {site!r}; there are {', '.join(self.sites)}", where=self.path.name)

    def _check_layer(self, layer: str) -> None:
        if layer not in self._file.layers:
            known = ", ".join(self._file.layers) or "none"
            raise BadData(f"there is no layer {layer!r}; there are {known}", where=self.path.name)
