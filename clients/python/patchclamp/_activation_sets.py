"""Activation sets as the server describes them, and which rows they keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from patchclamp._activations import AggregationName, aggregation_name
from patchclamp._corpora import LabelLayer
from patchclamp._exceptions import ProtocolError
from patchclamp._generation import check_counts
from patchclamp._receipts import Applied
from patchclamp._resources import time_of
from patchclamp._tensors import DTypeName, dtype_name, to_array
from patchclamp.v1 import activations_pb2, common_pb2

__all__ = ["ActivationSet", "ActivationStatistics", "TokenFilter"]


@dataclass(frozen=True, slots=True, init=False)
class TokenFilter:
    """Which rows to keep: those of words that fit all that is said here.

    >>> TokenFilter(layer="upos", labels=["NOUN", "VERB"], per_label=1000).labels
    ('NOUN', 'VERB')

    Attributes:
        layer: The layer of labels that the rest is about; needed with `labels` and `per_label`.
        labelled_only: Only words with a label in the layer.
        labels: Only words with one of these labels.
        per_label: At most so many of each label; 0: all.
        per_word_type: At most so many of each word as it is written; 0: all.
        seed: Seed of what is drawn.
    """

    layer: str
    labelled_only: bool
    labels: tuple[str, ...]
    per_label: int
    per_word_type: int
    seed: int

    def __init__(
        self,
        *,
        layer: str = "",
        labelled_only: bool = False,
        labels: Iterable[str] = (),
        per_label: int = 0,
        per_word_type: int = 0,
        seed: int = 0,
    ) -> None:
        if isinstance(labels, str):
            raise TypeError(f"labels is the string {labels!r}; give a list: [{labels!r}]")
        check_counts(per_label=per_label, per_word_type=per_word_type, seed=seed)
        object.__setattr__(self, "layer", layer)
        object.__setattr__(self, "labelled_only", labelled_only)
        object.__setattr__(self, "labels", tuple(labels))
        object.__setattr__(self, "per_label", per_label)
        object.__setattr__(self, "per_word_type", per_word_type)
        object.__setattr__(self, "seed", seed)

    @classmethod
    def from_proto(cls, message: activations_pb2.TokenFilter) -> TokenFilter:
        """From the wire's form."""
        return cls(**{name: getattr(message, name) for name in cls.__dataclass_fields__})

    def to_proto(self) -> activations_pb2.TokenFilter:
        """The wire's form."""
        return activations_pb2.TokenFilter(**{name: getattr(self, name) for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class ActivationSet:
    """A file of activations on the server.

    Attributes:
        name: "activationSets/dev-minilm".
        create_time: When it was complete, in UTC.
        corpus: Name of the corpus it was made from.
        corpus_digest: Digest of that corpus, as in `Corpus.digest`.
        model: Name of the model: "models/minilm-l6".
        model_digest: Digest of the model, as in `Model.digest`.
        sites: From site to its width, in the order asked for.
        aggregation: From subwords to rows.
        dtype: Element type in the file.
        row_count: Number of rows; of each site the same.
        sentence_count: Number of sentences that rows come from.
        masked_count: Number of rows of words without a subword of their own; their values are NaN.
        layers: Layers of labels, by their names, with the number of rows of each label.
        size_bytes: Size of the file.
        sha256: Checksum of the file (lowercase hex).
        applied: What was done to the activations.
        filter: Which rows were kept; None: all.
    """

    name: str
    create_time: datetime
    corpus: str
    corpus_digest: str
    model: str
    model_digest: str
    sites: dict[str, int]
    aggregation: AggregationName | None
    dtype: DTypeName
    row_count: int
    sentence_count: int
    masked_count: int
    layers: dict[str, LabelLayer]
    size_bytes: int
    sha256: str
    applied: Applied
    filter: TokenFilter | None

    @classmethod
    def from_proto(cls, message: activations_pb2.ActivationSet) -> ActivationSet:
        """From the wire's form."""
        return cls(
            name=message.name,
            create_time=time_of(message.create_time),
            corpus=message.corpus,
            corpus_digest=message.corpus_digest,
            model=message.model,
            model_digest=message.model_digest,
            sites={site.site: site.width for site in message.sites},
            aggregation=aggregation_name(message.aggregation),
            dtype=dtype_name(message.dtype),
            row_count=message.row_count,
            sentence_count=message.sentence_count,
            masked_count=message.masked_count,
            layers={layer.name: LabelLayer.from_proto(layer) for layer in message.layers},
            size_bytes=message.size_bytes,
            sha256=message.sha256,
            applied=Applied.from_proto(message.applied),
            filter=TokenFilter.from_proto(message.filter) if message.HasField("filter") else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ActivationStatistics:
    """Statistics of neurons over rows, without those that are masked; arrays are float32 of shape [neurons].

    Attributes:
        count: Number of rows.
        mean: Mean of each neuron.
        variance: Variance (divided by the number of rows).
        min: Smallest value.
        max: Largest value.
    """

    count: int
    mean: npt.NDArray[np.float32]
    variance: npt.NDArray[np.float32]
    min: npt.NDArray[np.float32]
    max: npt.NDArray[np.float32]

    @classmethod
    def from_proto(cls, message: activations_pb2.ActivationStatistics) -> ActivationStatistics:
        """From the wire's form.

        Raises:
            ProtocolError: The arrays are not of one length.
        """
        parts = [_vector(part) for part in (message.mean, message.variance, message.min, message.max)]
        if len({part.shape for part in parts}) > 1:
            raise ProtocolError(f"the statistics have the shapes {[list(part.shape) for part in parts]}")
        return cls(message.count, *parts)


def _vector(tensor: common_pb2.Tensor) -> npt.NDArray[np.float32]:
    array = to_array(tensor)
    if array.ndim != 1:
        raise ProtocolError(f"a statistic has the shape {list(array.shape)}; it is one number a neuron")
    return array.astype(np.float32, copy=False)
