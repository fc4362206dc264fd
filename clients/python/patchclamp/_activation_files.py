"""Reads the file of an activation set, lazily."""

from __future__ import annotations

import errno
import json
import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from patchclamp._corpus_sources import PathLike
from patchclamp._tensors import widened

if TYPE_CHECKING:
    import h5py
    import pandas

__all__ = ["ActivationSetFile"]

FORMAT, VERSION = "patchclamp activation set", 1
TEXTS = ("model", "model_digest", "corpus", "corpus_digest", "tokenizer", "aggregation", "filter", "interventions")


class ActivationSetFile:
    """A file that `client.activation_sets.download` has fetched; needs h5py: `pip install 'patchclamp[h5]'`.

    >>> with ActivationSetFile("dev.h5") as file:  # doctest: +SKIP
    ...     X, y = file["layers.3.residual"][~file.masked], file.labels("upos")[~file.masked]

    Numbers are read when they are used: `file[site]` is mapped from the disk, and stays valid when the file is closed.

    Attributes:
        path: Where the file is.
        sites: From site to its width, in the order asked for.
        layers: From layer of labels to its labels.
        dtype: Element type in the file: "float32", "float16" or "bfloat16".
        description: What else it was made of: "model", "model_digest", "corpus", "corpus_digest", "tokenizer",
            "aggregation", "filter" (JSON) and "interventions" (their digest); empty: not given.

    Raises:
        ValueError: The file is no activation set, or of a format that is too new.
        ModuleNotFoundError: h5py is not installed.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._file = _opened(self.path)
        try:
            self._read_description()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of rows; of each site the same."""
        return len(self.sentences)

    def __getitem__(self, site: str) -> npt.NDArray[np.floating]:
        """The activations of a site, of shape [rows, width]: float32 or float16 mapped from the disk, read-only;
        bfloat16 read and widened to float32."""
        dataset = self._dataset(site)
        if self.dtype == "bfloat16" or dataset.id.get_offset() is None:
            return self.read(site)
        return np.memmap(self.path, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)

    def read(self, site: str, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Rows `start` to before `stop` of a site, as float32 of shape [rows, width]."""
        values = self._dataset(site)[start:stop]
        return widened(values) if self.dtype == "bfloat16" else values.astype(np.float32, copy=False)

    def labels(self, layer: str) -> npt.NDArray[np.object_]:
        """The label of each row; an empty string stands for none."""
        if layer not in self.layers:
            raise KeyError(f"{self.path.name} has no layer {layer!r}; it has {', '.join(self.layers) or 'none'}")
        names = np.array([*self.layers[layer], ""], object)
        codes: npt.NDArray[np.int32] = self._file["labels"][_member(layer)][:]
        return names[codes]  # −1, no label, is the last

    def to_pandas(self, site: str | None = None) -> pandas.DataFrame:
        """A data frame with a row a row: sentence, place, word, masked and a column a layer of labels.

        Args:
            site: Adds a column for each neuron of this site, from 0.
        """
        import pandas

        columns = {"sentence": self.sentences, "place": self.places, "word": self.words, "masked": self.masked}
        for layer in self.layers:
            columns[f"{layer} (labels)" if layer in columns else layer] = self.labels(layer)
        frame = pandas.DataFrame(columns)
        return frame if site is None else pandas.concat([frame, pandas.DataFrame(self[site])], axis=1)

    @cached_property
    def words(self) -> npt.NDArray[np.object_]:
        """The word (or token, or text) of each row."""
        words: npt.NDArray[np.object_] = self._file["rows/words"].asstr()[:]
        return words

    @cached_property
    def sentences(self) -> npt.NDArray[np.int64]:
        """The number of each row's sentence in the corpus, from 0."""
        sentences: npt.NDArray[np.int64] = self._file["rows/sentence"][:]
        return sentences

    @cached_property
    def places(self) -> npt.NDArray[np.int32]:
        """The place of each row's word in its sentence, from 0."""
        places: npt.NDArray[np.int32] = self._file["rows/word"][:]
        return places

    @cached_property
    def masked(self) -> npt.NDArray[np.bool_]:
        """Rows of words without a subword of their own: their values are NaN and must not be used."""
        masked: npt.NDArray[np.bool_] = self._file["rows/masked"][:]
        return masked

    @cached_property
    def sentence_offsets(self) -> npt.NDArray[np.int64]:
        """The i-th sentence that has rows has those from offsets[i] to before offsets[i + 1]."""
        offsets: npt.NDArray[np.int64] = self._file["sentence_offsets"][:]
        return offsets

    def close(self) -> None:
        """Lets go of the file."""
        self._file.close()

    def _read_description(self) -> None:
        attributes = self._file.attrs
        if attributes.get("format") != FORMAT:
            raise ValueError(f"{str(self.path)!r} is no activation set")
        if (version := int(attributes["format_version"])) > VERSION:
            raise ValueError(
                f"{str(self.path)!r} is of format {version}; this patchclamp reads formats up to {VERSION}"
            )
        self.dtype = str(attributes["dtype"])
        self.sites: dict[str, int] = {name: int(width) for name, width in json.loads(attributes["sites"])}
        self.layers: dict[str, tuple[str, ...]] = {
            layer: tuple(self._file["label_names"][_member(layer)].asstr()[:])
            for layer in json.loads(attributes["layers"])
        }
        self.description = {name: str(attributes[name]) for name in TEXTS}

    def _dataset(self, site: str) -> h5py.Dataset:
        if site not in self.sites:
            raise KeyError(f"{self.path.name} has no site {site!r}; it has {', '.join(self.sites)}")
        return self._file["activations"][_member(site)]


def _opened(path: Path) -> h5py.File:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError("activation sets are HDF5 files: pip install 'patchclamp[h5]'") from None
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{str(path)!r} is no activation set: {error}") from None


def _member(name: str) -> str:
    """What a site or a layer is called in the file, where '/' and a lone '.' mean something."""
    return "%2E" if name == "." else name.replace("%", "%25").replace("/", "%2F")
