"""Attention of decoders that read an encoder, over a packed row of tokens.

Each token sees the tokens of its own sequence before it, and all of its own source. The keys and values of both lie in
one slot of the sequence, in two pools side by side; sources that have just been encoded come with the pass.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from .attention import Pool, additive, check_options
from .errors import EngineFailure
from .scheduler import Segment, Sequence, Slot

__all__ = ["Seq2SeqAttention", "Seq2SeqLayout", "source_of", "written_before"]

_names = itertools.count()


def source_of(sequence: Sequence) -> Sequence:
    """The sequence whose prompt a decoder reads: its own, or that of its parent."""
    return sequence.parent or sequence


def written_before(segment: Segment) -> int:
    """Tokens that the decoder read before a segment of its own."""
    return segment.start - segment.sequence.prompt_length


@dataclass(frozen=True, slots=True)
class _Rows:
    """Decoding rows of one pool: where they are in the pass, their slots, and how much each sees of either past."""

    capacity: int
    rows: slice | Tensor
    slots: slice | Tensor
    written: Tensor
    read: Tensor

    def pick(self, states: Tensor) -> Tensor:
        """Their states of [1, heads, T, width], as [rows, heads, 1, width]."""
        return states[0].transpose(0, 1)[self.rows].unsqueeze(2)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Neighbouring rows with one source, which lies in the pass from row `first` on, or in a slot (−1)."""

    row: int
    count: int
    source: Sequence
    first: int


@dataclass(slots=True)
class Seq2SeqLayout:
    """Which rows of a pass belong together, worked out once for all layers. `fresh` says where in the encoder's states
    of this pass the sources are that were encoded in it."""

    segments: Items[Segment]
    fresh: Mapping[Sequence, int]
    device: torch.device
    total: int = field(init=False)
    decoding: list[_Rows] = field(init=False)
    runs: list[tuple[int, int, int]] = field(default_factory=list)
    """Segments of one length that lie side by side: first row, tokens of each, how many."""
    readings: list[_Reading] = field(default_factory=list)
    bias: Tensor | None = None
    """What the model adds to a score at each distance back, [heads, distances]."""
    masks: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.total = sum(segment.count for segment in self.segments)
        decoding: dict[int, list[Segment]] = defaultdict(list)
        for segment in self.segments:
            if segment.sequence.decoding:
                decoding[_slot(segment.sequence).capacity].append(segment)
            else:
                self._add_run(segment)
                self._add_reading(segment)
        self.decoding = [self._rows(capacity, rows) for capacity, rows in decoding.items()]

    def _add_run(self, segment: Segment) -> None:
        if written_before(segment):
            raise EngineFailure("a decoder begins in the middle of a text")
        row, count, many = self.runs[-1] if self.runs else (0, 0, 0)
        if count == segment.count and row + count * many == segment.row:
            self.runs[-1] = (row, count, many + 1)
        else:
            self.runs.append((segment.row, segment.count, 1))

    def _add_reading(self, segment: Segment) -> None:
        source = source_of(segment.sequence)
        last = self.readings[-1] if self.readings else None
        if last and last.source is source and last.row + last.count == segment.row:
            self.readings[-1] = _Reading(last.row, last.count + segment.count, source, last.first)
        else:
            self.readings.append(_Reading(segment.row, segment.count, source, self.fresh.get(source, -1)))

    def _rows(self, capacity: int, segments: list[Segment]) -> _Rows:
        rows = [segment.row for segment in segments]
        slots = [_slot(segment.sequence).index for segment in segments]
        return _Rows(
            capacity,
            rows=_run_or_index(rows, self.device),
            slots=_run_or_index(slots, self.device),
            written=torch.tensor([written_before(segment) + 1 for segment in segments], device=self.device),
            read=torch.tensor([segment.sequence.prompt_length for segment in segments], device=self.device),
        )

    @property
    def longest(self) -> int:
        """The most tokens that one sees of its own sequence."""
        written = [int(rows.written.max()) for rows in self.decoding]
        return max([*written, *(count for _, count, _ in self.runs)])

    def mask(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """A mask, made once for all layers."""
        if key not in self.masks:
            self.masks[key] = make()
        return self.masks[key]

    def stored(self) -> Iterator[tuple[Slot, int, int, int]]:
        """Rows that go into the cache: slot, place in it, first row of the pass, how many."""
        for segment in self.segments:
            if slot := segment.sequence.slot:
                yield slot, written_before(segment), segment.row, segment.count

    def stored_sources(self) -> Iterator[tuple[Slot, int, int]]:
        """Sources that go into the cache: slot, first row of the encoder's states, how many."""
        for source, row in self.fresh.items():
            if source.slot:
                yield source.slot, row, source.prompt_length


class Seq2SeqAttention:
    """The attention function of one decoder, and the cache behind it. `layout` must be set before each forward pass.

    Which of a block's two attentions calls is seen by `is_causal`, as transformers' own functions see it.
    """

    def __init__(self) -> None:
        self.name = f"patchclamp_seq2seq_{next(_names)}"
        self.layout: Seq2SeqLayout | None = None
        self._written: dict[int, Pool] = {}
        self._read: dict[int, Pool] = {}
        self._used: dict[Slot, int] = {}
        AttentionInterface.register(self.name, self._attend)

    def reserve(self, layout: Seq2SeqLayout) -> None:
        """Makes room for a pass. A slot with a fresh source is wiped first: masked values weigh nothing only as long
        as they are finite."""
        for slot, _, count in layout.stored_sources():
            for pools in (self._written, self._read):
                pool = pools.setdefault(slot.capacity, Pool(slot.capacity, 0))
                if slot.index >= pool.slots:
                    pool.grow(max(slot.index + 1, 2 * pool.slots))
            self._wipe(slot)
            self._used[slot] = count
        for slot, place, _, count in layout.stored():
            self._used[slot] = max(self._used[slot], place + count)

    def copy(self, source: Slot, target: Slot) -> None:
        """Moves what a slot holds into another one of the same pool."""
        self._wipe(target)
        length = self._used[source]
        for tensor in self._tensors(source.capacity):
            tensor[target.index, :length] = tensor[source.index, :length]
        self._used[target] = length

    def _tensors(self, capacity: int) -> Iterator[Tensor]:
        for pools in (self._written, self._read):
            yield from pools[capacity].tensors()

    def _wipe(self, slot: Slot) -> None:
        length = self._used.pop(slot, 0)
        for tensor in self._tensors(slot.capacity) if length else ():
            tensor[slot.index, :length] = 0

    def drop(self) -> None:
        """Gives the memory of all pools back."""
        self._written.clear()
        self._read.clear()
        self._used.clear()

    def _attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        position_bias: Tensor | None = None,
        **options: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """Query [1, heads, T, width], key and value [1, heads, T or tokens of the sources, width] → [1, T, heads,
        width]."""
        layout = self.layout
        if layout is None or query.shape[2] != layout.total:
            raise EngineFailure(f"attention got {query.shape[2]} rows where the pass has {layout and layout.total}")
        check_options(options)
        output = query.new_empty((layout.total, query.shape[1], query.shape[3]))
        if module.is_causal:
            if position_bias is not None and hasattr(module, "relative_attention_bias"):
                layout.bias = _bias(module, layout.longest)
            self._attend_written(output, module.layer_idx, (query, key, value), layout, scaling)  # type: ignore[arg-type]
        else:
            self._attend_read(output, module.layer_idx, (query, key, value), layout, scaling)  # type: ignore[arg-type]
        return output.unsqueeze(0), None

    def _attend_written(
        self,
        output: Tensor,
        layer: int,
        states: tuple[Tensor, Tensor, Tensor],
        layout: Seq2SeqLayout,
        scale: float | None,
    ) -> None:
        """Each row to its own sequence up to itself."""
        query, key, value = states
        for slot, place, row, count in layout.stored():
            for cache, new in zip(self._written[slot.capacity].of(layer, key), (key, value), strict=True):
                cache[slot.index, place : place + count] = new[0, :, row : row + count].transpose(0, 1)
        for rows in layout.decoding:
            pool = self._written[rows.capacity].of(layer, key)
            mask = layout.mask(("written", rows.capacity), partial(_mask, rows.written, layout.bias, query))
            output[rows.rows] = _attended(rows, query, pool, int(rows.written.max()), mask, scale)
        for row, count, many in layout.runs:
            output[row : row + count * many] = _attend_run(states, row, count, many, layout, scale)

    def _attend_read(
        self,
        output: Tensor,
        layer: int,
        states: tuple[Tensor, Tensor, Tensor],
        layout: Seq2SeqLayout,
        scale: float | None,
    ) -> None:
        """Each row to its source."""
        query, key, value = states
        for slot, row, count in layout.stored_sources():
            for cache, new in zip(self._read[slot.capacity].of(layer, key), (key, value), strict=True):
                cache[slot.index, :count] = new[0, :, row : row + count].transpose(0, 1)
        for rows in layout.decoding:
            pool = self._read[rows.capacity].of(layer, key)
            mask = layout.mask(("read", rows.capacity), partial(_mask, rows.read, None, query))
            output[rows.rows] = _attended(rows, query, pool, int(rows.read.max()), mask, scale)
        for reading in layout.readings:
            own = slice(reading.row, reading.row + reading.count)
            keys, values = self._source(layer, reading, key, value)
            attended = scaled_dot_product_attention(query[:, :, own], keys, values, scale=scale)
            output[own] = attended[0].transpose(0, 1)

    def _source(self, layer: int, reading: _Reading, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a source, [1, heads, tokens, width]."""
        length = reading.source.prompt_length
        if reading.first >= 0:
            own = slice(reading.first, reading.first + length)
            return key[:, :, own], value[:, :, own]
        slot = _slot(reading.source)
        keys, values = self._read[slot.capacity].of(layer, key)
        return keys[slot.index, None, :length].transpose(1, 2), values[slot.index, None, :length].transpose(1, 2)


def _attended(
    rows: _Rows, query: Tensor, pool: tuple[Tensor, Tensor], longest: int, mask: Tensor, scale: float | None
) -> Tensor:
    """Decoding rows over their slots, [rows, heads, width]."""
    keys, values = (part[rows.slots, :longest].transpose(1, 2) for part in pool)
    return scaled_dot_product_attention(rows.pick(query), keys, values, mask, scale=scale).squeeze(2)


def _attend_run(
    states: tuple[Tensor, Tensor, Tensor], row: int, count: int, many: int, layout: Seq2SeqLayout, scale: float | None
) -> Tensor:
    """Segments that begin their texts, causal, each for itself, as one batch; [rows, heads, width]."""
    query, key, value = (
        part[0, :, row : row + count * many].reshape(part.shape[1], many, count, -1).transpose(0, 1) for part in states
    )
    if layout.bias is None:
        attended = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    else:
        mask = layout.mask(("run", count), partial(_causal, count, layout.bias, query))
        attended = scaled_dot_product_attention(query, key, value, mask, scale=scale)
    return attended.transpose(1, 2).flatten(0, 1)


def _mask(lengths: Tensor, bias: Tensor | None, like: Tensor) -> Tensor:
    """[rows, 1 or heads, 1, longest]: what is added to the scores of the tokens that a row sees; the last of them is
    the nearest."""
    places = torch.arange(int(lengths.max()), device=lengths.device)
    back = lengths[:, None] - 1 - places
    mask = additive(back >= 0, like.dtype)[:, None]
    if bias is not None:
        mask = mask + bias[:, back.clamp(min=0)].transpose(0, 1)
    return mask.unsqueeze(2)


def _causal(count: int, bias: Tensor | None, like: Tensor) -> Tensor:
    """[1, 1 or heads, count, count]."""
    places = torch.arange(count, device=like.device)
    return _mask(places + 1, bias, like).squeeze(2).transpose(0, 1)[None]


def _bias(module: Any, longest: int) -> Tensor:  # noqa: ANN401 - T5's attention is no type of ours
    """What a T5 adds to a score at each distance back, [heads, distances]."""
    table: Tensor = module.compute_bias(1, longest, past_seen_tokens=longest - 1)
    return table[0, :, 0].flip(-1)


def _slot(sequence: Sequence) -> Slot:
    if sequence.slot is None:
        raise EngineFailure("a sequence decodes without a slot")
    return sequence.slot


def _run_or_index(numbers: list[int], device: torch.device) -> slice | Tensor:
    first = numbers[0]
    if numbers == list(range(first, first + len(numbers))):
        return slice(first, first + len(numbers))
    return torch.tensor(numbers, device=device)
