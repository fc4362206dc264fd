"""What `extract` answers: sentences, put together again from the messages they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from patchclamp._exceptions import ProtocolError
from patchclamp._tensors import Array, captured_arrays
from patchclamp.v1 import activations_pb2

__all__ = ["AggregationName", "Assembler", "SentenceActivations", "aggregation_name", "aggregation_value"]

AggregationName: TypeAlias = Literal[
    "none", "first", "last", "average", "sentence_first", "sentence_last", "sentence_average", "sentence_max"
]


@dataclass(frozen=True, slots=True, eq=False)
class SentenceActivations:
    """Activations of one sentence.

    Attributes:
        index: Its place in the request, from 0.
        tokens: The word or subword of each row.
        activations: From site to values of shape [rows, width], in the order asked for; bfloat16 comes as float32.
        masked: Rows of words that have no subword of their own; bool of shape [rows]. Their values mean nothing.
        target_tokens: Of an encoder-decoder: what `tokens` is, for the sites of the decoder.
        target_masked: Of an encoder-decoder: what `masked` is, for the sites of the decoder.
    """

    index: int
    tokens: tuple[str, ...]
    activations: dict[str, Array]
    masked: npt.NDArray[np.bool_]
    target_tokens: tuple[str, ...] = ()
    target_masked: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))


class Assembler:
    """Takes the messages of a stream and gives back each sentence once its last row is there."""

    def __init__(self) -> None:
        self._first = activations_pb2.ExtractActivationsResponse()
        self._parts: dict[str, list[Array]] = {}
        self._rows = 0

    def add(self, message: activations_pb2.ExtractActivationsResponse) -> list[SentenceActivations]:
        """The sentences that this message completes.

        Raises:
            ProtocolError: Rows or sites are missing, or there are more rows than tokens.
        """
        complete = []
        if self._parts and message.sentence != self._first.sentence:
            complete.append(self._take())
        if not self._parts:
            self._first = message
        values = captured_arrays(message.captured)
        self._check(message, values)
        for site, array in values.items():
            self._parts.setdefault(site, []).append(array)
        self._rows += max(map(len, values.values()), default=0)
        # Which sites are of a decoder is not said: where both sides have rows, the shorter may be all there is.
        if self._rows == max(len(self._first.tokens), len(self._first.target_tokens)):
            complete.append(self._take())
        return complete

    def finish(self) -> list[SentenceActivations]:
        """What was waiting for the end of the stream.

        Raises:
            ProtocolError: A sentence is incomplete.
        """
        return [self._take()] if self._parts else []

    def _check(self, message: activations_pb2.ExtractActivationsResponse, values: dict[str, Array]) -> None:
        place = f"sentence {message.sentence}, row {message.row_offset}"
        two_sided = bool(self._first.target_tokens)
        if message.row_offset != self._rows:
            raise ProtocolError(f"{place} came after sentence {self._first.sentence}, row {self._rows}")
        if any(array.ndim != 2 for array in values.values()) or (not two_sided and len(_row_counts(values)) > 1):
            shapes = {site: list(array.shape) for site, array in values.items()}
            raise ProtocolError(f"{place}: the shapes are not [rows, width] with equal rows: {shapes}")
        known = values.keys() <= self._parts.keys() if two_sided else values.keys() == self._parts.keys()
        if self._parts and not known:
            raise ProtocolError(f"{place} has the sites {list(values)} and began with {list(self._parts)}")
        tokens = max(len(self._first.tokens), len(self._first.target_tokens))
        if self._rows + max(_row_counts(values), default=0) > tokens:
            raise ProtocolError(f"{place}: more rows than the sentence's {tokens} tokens")

    def _take(self) -> SentenceActivations:
        first = self._first
        arrays = {site: parts[0] if len(parts) == 1 else np.concatenate(parts) for site, parts in self._parts.items()}
        self._parts, self._rows = {}, 0
        whole = {len(first.tokens), len(first.target_tokens)} if first.target_tokens else {len(first.tokens)}
        for site, array in arrays.items():
            if len(array) not in whole:
                rows = " or ".join(map(str, sorted(whole)))
                raise ProtocolError(f"sentence {first.sentence} ended after {len(array)} of {rows} rows of {site}")
        return SentenceActivations(
            first.sentence,
            tuple(first.tokens),
            arrays,
            _mask(first.sentence, first.masked, len(first.tokens)),
            tuple(first.target_tokens),
            _mask(first.sentence, first.target_masked, len(first.target_tokens)),
        )


def aggregation_value(name: AggregationName | None) -> activations_pb2.Aggregation.ValueType:
    """The wire's value for an aggregation; None leaves it to the server.

    Raises:
        ValueError: There is no such aggregation.
    """
    if name is None:
        return activations_pb2.AGGREGATION_UNSPECIFIED
    if name not in get_args(AggregationName):
        raise ValueError(f"aggregation is {name!r}; it can be {', '.join(get_args(AggregationName))} or None")
    return activations_pb2.Aggregation.Value(name.upper())


def aggregation_name(value: activations_pb2.Aggregation.ValueType) -> AggregationName | None:
    """The name of the wire's value; None where this version has no name for it."""
    names: tuple[AggregationName, ...] = get_args(AggregationName)
    return next((name for name in names if aggregation_value(name) == value), None)


def _row_counts(values: dict[str, Array]) -> set[int]:
    return {len(array) for array in values.values()}


def _mask(sentence: int, rows: Sequence[int], count: int) -> npt.NDArray[np.bool_]:
    if any(row >= count for row in rows):
        raise ProtocolError(f"sentence {sentence} masks rows {list(rows)} of {count}")
    mask = np.zeros(count, np.bool_)
    mask[list(rows)] = True
    return mask
