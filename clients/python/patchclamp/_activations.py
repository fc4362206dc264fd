"""What `extract` answers: sentences, put together again from the messages they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from patchclamp._exceptions import ProtocolError
from patchclamp._tensors import Array, captured_arrays
from patchclamp.v1 import activations_pb2

__all__ = ["AggregationName", "Assembler", "SentenceActivations", "aggregation_value", "to_sentence"]

AggregationName: TypeAlias = Literal["none", "first", "last", "average"]
AGGREGATIONS = {
    None: activations_pb2.AGGREGATION_UNSPECIFIED,
    "none": activations_pb2.NONE,
    "first": activations_pb2.FIRST,
    "last": activations_pb2.LAST,
    "average": activations_pb2.AVERAGE,
}


@dataclass(frozen=True, slots=True, eq=False)
class SentenceActivations:
    """Activations of one sentence.

    Attributes:
        index: Its place in the request, from 0.
        tokens: The word or subword of each row.
        activations: From site to values of shape [rows, width], in the order asked for; bfloat16 comes as float32.
        masked: Rows of words that have no subword of their own; bool of shape [rows]. Their values mean nothing.
    """

    index: int
    tokens: tuple[str, ...]
    activations: dict[str, Array]
    masked: npt.NDArray[np.bool_]


class Assembler:
    """Takes the messages of a stream and gives back each sentence once its last row is there."""

    def __init__(self) -> None:
        self._first = activations_pb2.ExtractActivationsResponse()
        self._parts: list[dict[str, Array]] = []
        self._rows = 0

    def add(self, message: activations_pb2.ExtractActivationsResponse) -> SentenceActivations | None:
        """The sentence that this message completes, if it does.

        Raises:
            ProtocolError: Rows or sites are missing, or there are more rows than tokens.
        """
        if not self._parts:
            self._first = message
        values = captured_arrays(message.captured)
        self._check(message, values)
        self._parts.append(values)
        self._rows += _rows(values)
        return self._take() if self._rows == len(self._first.tokens) else None

    def finish(self) -> None:
        """Says that the stream has ended.

        Raises:
            ProtocolError: A sentence is incomplete.
        """
        if self._parts:
            raise ProtocolError(
                f"sentence {self._first.sentence} ended after {self._rows} of {len(self._first.tokens)} rows"
            )

    def _check(self, message: activations_pb2.ExtractActivationsResponse, values: dict[str, Array]) -> None:
        place = f"sentence {message.sentence}, row {message.row_offset}"
        if message.sentence != self._first.sentence or message.row_offset != self._rows:
            raise ProtocolError(f"{place} came after sentence {self._first.sentence}, row {self._rows}")
        if any(array.ndim != 2 or len(array) != _rows(values) for array in values.values()):
            shapes = {site: list(array.shape) for site, array in values.items()}
            raise ProtocolError(f"{place}: the shapes are not [rows, width] with equal rows: {shapes}")
        if self._parts and values.keys() != self._parts[0].keys():
            raise ProtocolError(f"{place} has the sites {list(values)} and began with {list(self._parts[0])}")
        if self._rows + _rows(values) > len(self._first.tokens):
            raise ProtocolError(f"{place}: more rows than the sentence's {len(self._first.tokens)} tokens")

    def _take(self) -> SentenceActivations:
        first, parts = self._first, self._parts
        self._parts, self._rows = [], 0
        masked = np.zeros(len(first.tokens), np.bool_)
        if any(row >= len(masked) for row in first.masked):
            raise ProtocolError(f"sentence {first.sentence} masks rows {list(first.masked)} of {len(masked)}")
        masked[list(first.masked)] = True
        return SentenceActivations(first.sentence, tuple(first.tokens), _joined(parts), masked)


def to_sentence(sentence: str | Sequence[str]) -> activations_pb2.Sentence:
    """Running text, or words where it is a sequence of them."""
    if isinstance(sentence, str):
        return activations_pb2.Sentence(text=sentence)
    return activations_pb2.Sentence(words=activations_pb2.Words(words=sentence))


def aggregation_value(name: AggregationName | None) -> activations_pb2.Aggregation.ValueType:
    """The wire's value for an aggregation; None leaves it to the server.

    Raises:
        ValueError: There is no such aggregation.
    """
    if name not in AGGREGATIONS:
        raise ValueError(f"aggregation is {name!r}; it can be 'none', 'first', 'last', 'average' or None")
    return AGGREGATIONS[name]


def _rows(values: dict[str, Array]) -> int:
    return len(next(iter(values.values()), ()))


def _joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    if len(parts) == 1:
        return parts[0]
    return {site: np.concatenate([part[site] for part in parts]) for site in parts[0]}
