"""Attention over a packed row of tokens, with keys and values kept in slots.

The model is called with `input_ids` of shape [1, T], T the tokens of all segments of a pass one after another. This
module registers an attention function with transformers that lets every token see its own sequence only: decoding
rows attend in one batched operation over the slots they own, prompt chunks each to themselves.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from .errors import EngineFailure
from .scheduler import Segment, Slot

__all__ = ["Layout", "PackedAttention", "Pool", "additive", "check_options"]

# What models hand to an attention function and this one honours, or may ignore: anything else must not be lost.
_KNOWN = {"scaling", "dropout", "sliding_window", "softcap", "is_causal", "position_ids", "use_cache", "attention_mask"}
_IGNORED = {
    "cache_position",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "past_key_values",
    "past_key_value",
    "head_mask",
    "layer_past",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
    "return_dict",
    "logits_to_keep",
    "token_type_ids",
    "layer_head_mask",
}

_names = itertools.count()


def check_options(options: Mapping[str, object]) -> None:
    """EngineFailure if a model hands over what would have to be honoured."""
    unknown = options.keys() - _KNOWN - _IGNORED
    if any(options[name] is not None for name in unknown):
        raise EngineFailure(f"attention options that packing does not honour: {sorted(unknown)}")


@dataclass(slots=True)
class Pool:
    """Keys and values of one pool of slots, a pair of tensors [slots, capacity, kv heads, head width] per layer."""

    capacity: int
    slots: int
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def of(self, layer: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values of a layer, made to fit states [1, kv heads, tokens, width] when first asked for."""
        if layer not in self.keys:
            shape = (self.slots, self.capacity, like.shape[1], like.shape[3])
            self.keys[layer] = like.new_zeros(shape)
            self.values[layer] = like.new_zeros(shape)
        return self.keys[layer], self.values[layer]

    def grow(self, slots: int) -> None:
        """Makes room for more slots."""
        for store in (self.keys, self.values):
            for layer, old in store.items():
                store[layer] = old.new_zeros((slots, *old.shape[1:]))
                store[layer][: self.slots] = old
        self.slots = slots

    def tensors(self) -> Iterator[Tensor]:
        """All keys and values."""
        yield from self.keys.values()
        yield from self.values.values()


@dataclass(frozen=True, slots=True)
class _Run:
    """Prompt segments of one length that begin their sequences and lie side by side: one operation for all."""

    row: int
    count: int
    segments: int


@dataclass(frozen=True, slots=True)
class _Decode:
    """The decoding rows of one pool: `rows` of the pass, the slots they own, the number of tokens each sees."""

    capacity: int
    rows: Tensor
    slots: Tensor
    lengths: Tensor
    longest: int
    even: bool
    """Whether all see equally many."""
    contiguous: int
    """Row of the first if rows and slots are runs from it and from 0; −1 if not."""


class Layout:
    """Which rows of a pass belong together: what the attention function must know, worked out once for all layers."""

    def __init__(self, segments: Items[Segment], device: torch.device) -> None:
        self.device = device
        self.total = sum(segment.count for segment in segments)
        self.runs: list[_Run] = []
        self.chunks: list[tuple[Segment, Segment | None]] = []
        self.decodes: list[_Decode] = []
        self._masks: dict[tuple[object, ...], Tensor] = {}
        in_pass = {id(segment.sequence): segment for segment in segments}
        decoding: dict[int, list[Segment]] = defaultdict(list)
        for segment in segments:
            if segment.sequence.decoding and segment.count == 1:
                decoding[_slot(segment).capacity].append(segment)
            elif segment.position == 0:
                self._add_run(segment)
            else:
                parent = segment.sequence.parent
                self.chunks.append((segment, in_pass.get(id(parent)) if parent and not parent.slot else None))
        self.decodes = [self._decode(capacity, rows) for capacity, rows in decoding.items()]
        self.stored = self._stored(segments)

    def _add_run(self, segment: Segment) -> None:
        last = self.runs[-1] if self.runs else None
        if last and last.count == segment.count and last.row + last.count * last.segments == segment.row:
            self.runs[-1] = _Run(last.row, last.count, last.segments + 1)
        else:
            self.runs.append(_Run(segment.row, segment.count, 1))

    def _decode(self, capacity: int, segments: list[Segment]) -> _Decode:
        rows = [segment.row for segment in segments]
        slots = [_slot(segment).index for segment in segments]
        lengths = [segment.position + 1 for segment in segments]
        run = slots == list(range(len(slots))) and rows == list(range(rows[0], rows[0] + len(rows)))
        return _Decode(
            capacity,
            rows=torch.tensor(rows, device=self.device),
            slots=torch.tensor(slots, device=self.device),
            lengths=torch.tensor(lengths, device=self.device),
            longest=max(lengths),
            even=len(set(lengths)) == 1,
            contiguous=rows[0] if run else -1,
        )

    def _stored(self, segments: Items[Segment]) -> dict[int, tuple[Tensor, Tensor | None]]:
        """Per pool: where in it the keys and values go, and the rows of the pass they come from (None: all)."""
        targets: dict[int, list[int]] = defaultdict(list)
        sources: dict[int, list[int]] = defaultdict(list)
        for segment in segments:
            slot = segment.sequence.slot
            if slot:
                first = slot.index * slot.capacity + segment.position
                targets[slot.capacity] += range(first, first + segment.count)
                sources[slot.capacity] += range(segment.row, segment.row + segment.count)
        return {
            capacity: (
                torch.tensor(target, device=self.device),
                None
                if sources[capacity] == list(range(self.total))
                else torch.tensor(sources[capacity], device=self.device),
            )
            for capacity, target in targets.items()
        }

    def mask(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        """A mask, made once for all layers."""
        if key not in self._masks:
            self._masks[key] = make()
        return self._masks[key]


class PackedAttention:
    """The attention function of one model and the cache behind it.

    `name` is what `model.set_attn_implementation` takes. `layout` must be set before each forward pass. Slots beyond
    those in use cost nothing on the CPU, where memory is committed when it is first written.
    """

    def __init__(self) -> None:
        self.name = f"patchclamp_packed_{next(_names)}"
        self.layout: Layout | None = None
        self._pools: dict[int, Pool] = {}
        self._written: dict[Slot, int] = {}
        AttentionInterface.register(self.name, self._attend)

    def reserve(self, segment: Segment) -> None:
        """Makes room for a segment in its slot. What an earlier sequence has left there is wiped first: masked values
        weigh nothing only as long as they are finite, and an edit may have left others."""
        slot = _slot(segment)
        pool = self._pools.setdefault(slot.capacity, Pool(slot.capacity, 0))
        if slot.index >= pool.slots:
            pool.grow(max(slot.index + 1, 2 * pool.slots))
        if segment.position == 0:
            self._wipe(slot)
        self._written[slot] = segment.position + segment.count

    def copy(self, source: Slot, target: Slot, length: int) -> None:
        """Moves the first `length` tokens of a slot into another one of the same pool."""
        self._wipe(target)
        for tensor in self._pools[source.capacity].tensors():
            tensor[target.index, :length] = tensor[source.index, :length]
        self._written[target] = length

    def _wipe(self, slot: Slot) -> None:
        length = self._written.pop(slot, 0)
        for tensor in self._pools[slot.capacity].tensors() if length else ():
            tensor[slot.index, :length] = 0

    def drop(self) -> None:
        """Gives the memory of all pools back."""
        self._pools.clear()
        self._written.clear()

    def _attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> tuple[Tensor, None]:
        """Query [1, heads, T, width], key and value [1, kv heads, T, width] → [1, T, heads, width]."""
        layout = self.layout
        if layout is None or query.shape[2] != layout.total:
            expected = layout.total if layout else "no"
            raise EngineFailure(f"attention got {query.shape[2]} rows where the pass has {expected}")
        check_options(options)
        how = _How(scaling, sliding_window, softcap)
        layer: int = module.layer_idx  # type: ignore[assignment]
        self._store(layer, key, value, layout)
        output = query.new_empty((layout.total, query.shape[1], query.shape[3]))
        for decode in layout.decodes:
            self._attend_decode(output, layer, query, decode, layout, how)
        for run in layout.runs:
            _attend_run(output, query, key, value, run, layout, how)
        for segment, parent in layout.chunks:
            self._attend_chunk(output, layer, (query, key, value), segment, parent, layout, how)
        return output.unsqueeze(0), None

    def _store(self, layer: int, key: Tensor, value: Tensor, layout: Layout) -> None:
        for capacity, (targets, sources) in layout.stored.items():
            for cache, fresh in zip(self._pools[capacity].of(layer, key), (key, value), strict=True):
                rows = fresh[0].transpose(0, 1)
                cache.view(-1, *cache.shape[2:]).index_copy_(0, targets, rows if sources is None else rows[sources])

    def _attend_decode(
        self, output: Tensor, layer: int, query: Tensor, decode: _Decode, layout: Layout, how: _How
    ) -> None:
        pool = self._pools[decode.capacity]
        keys, values = pool.keys[layer], pool.values[layer]
        count = len(decode.rows)
        heads, kv_heads, width = query.shape[1], keys.shape[2], query.shape[3]
        if decode.contiguous >= 0:
            rows = query[0, :, decode.contiguous : decode.contiguous + count].transpose(0, 1)
            keys, values = keys[:count, : decode.longest], values[:count, : decode.longest]
        else:
            rows = query[0].transpose(0, 1)[decode.rows]
            keys, values = keys[decode.slots, : decode.longest], values[decode.slots, : decode.longest]
        # The query heads that share a key head stand where a sequence of queries would: no key is repeated.
        grouped = rows.reshape(count, kv_heads, heads // kv_heads, width)
        mask = None
        if not decode.even or (how.window and how.window < decode.longest):
            key = ("decode", decode.capacity, how.window, query.dtype)
            mask = layout.mask(key, lambda: _decode_mask(decode, how.window, query.dtype))
        attended = _sdpa(grouped, keys.transpose(1, 2), values.transpose(1, 2), mask, how)
        attended = attended.reshape(count, heads, width)
        if decode.contiguous >= 0:
            output[decode.contiguous : decode.contiguous + count] = attended
        else:
            output[decode.rows] = attended

    def _attend_chunk(
        self,
        output: Tensor,
        layer: int,
        states: tuple[Tensor, Tensor, Tensor],
        segment: Segment,
        parent: Segment | None,
        layout: Layout,
        how: _How,
    ) -> None:
        """A segment that follows tokens run before: in its slot, in its parent's slot, or in this pass."""
        query, key, value = states
        rows = slice(segment.row, segment.row + segment.count)
        length = segment.position + segment.count
        if segment.sequence.slot:
            keys, values = self._cached(layer, segment.sequence.slot, length)
        else:
            keys, values = (
                torch.cat((past, fresh[0, :, rows].transpose(0, 1)))
                for past, fresh in zip(self._past(layer, (key, value), segment, parent), (key, value), strict=True)
            )
        mask = layout.mask(
            ("chunk", segment.position, segment.count, how.window),
            lambda: _causal_mask(segment.position, segment.count, how.window, query),
        )
        heads = query.shape[1] // keys.shape[1]
        attended = _sdpa(
            query[:, :, rows],
            keys.transpose(0, 1).repeat_interleave(heads, 0)[None],
            values.transpose(0, 1).repeat_interleave(heads, 0)[None],
            mask,
            how,
        )
        output[rows] = attended[0].transpose(0, 1)

    def _cached(self, layer: int, slot: Slot, length: int) -> tuple[Tensor, Tensor]:
        pool = self._pools[slot.capacity]
        return pool.keys[layer][slot.index, :length], pool.values[layer][slot.index, :length]

    def _past(
        self, layer: int, fresh: tuple[Tensor, Tensor], segment: Segment, parent: Segment | None
    ) -> tuple[Tensor, Tensor]:
        if parent is not None:
            rows = slice(parent.row, parent.row + parent.count)
            return fresh[0][0, :, rows].transpose(0, 1), fresh[1][0, :, rows].transpose(0, 1)
        owner = segment.sequence.parent
        if owner is None or owner.slot is None:
            raise EngineFailure("a segment's past is neither in the cache nor in the pass")
        return self._cached(layer, owner.slot, owner.length)


@dataclass(frozen=True, slots=True)
class _How:
    scaling: float | None
    window: int | None
    softcap: float | None


def _attend_run(
    output: Tensor, query: Tensor, key: Tensor, value: Tensor, run: _Run, layout: Layout, how: _How
) -> None:
    """Segments that begin at position 0: causal, each for itself, as one batch."""
    rows = slice(run.row, run.row + run.count * run.segments)

    def batch(states: Tensor) -> Tensor:
        heads, _, width = states.shape[1:]
        split = states[0, :, rows].reshape(heads, run.segments, run.count, width).transpose(0, 1)
        repeat = query.shape[1] // states.shape[1]
        return split.repeat_interleave(repeat, 1) if repeat > 1 else split

    mask = None
    if how.softcap or (how.window and how.window < run.count):
        mask = layout.mask(("chunk", 0, run.count, how.window), lambda: _causal_mask(0, run.count, how.window, query))
    attended = _sdpa(batch(query), batch(key), batch(value), mask, how, causal=mask is None)
    output[rows] = attended.transpose(1, 2).flatten(0, 1)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: _How, *, causal: bool = False) -> Tensor:
    if how.softcap is None:
        return scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=how.scaling)
    scale = how.scaling if how.scaling is not None else query.shape[-1] ** -0.5
    scores = torch.tanh(query @ key.transpose(-1, -2) * scale / how.softcap) * how.softcap
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype) @ value


def _slot(segment: Segment) -> Slot:
    slot = segment.sequence.slot
    if slot is None:
        raise EngineFailure("a sequence decodes without a slot")
    return slot


def _decode_mask(decode: _Decode, window: int | None, dtype: torch.dtype) -> Tensor:
    """[rows, 1, 1, longest]: 0 where a row may look, −∞ elsewhere."""
    positions = torch.arange(decode.longest, device=decode.lengths.device)
    visible = positions < decode.lengths[:, None]
    if window:
        visible &= positions >= decode.lengths[:, None] - window
    return additive(visible, dtype)[:, None, None]


def _causal_mask(past: int, count: int, window: int | None, like: Tensor) -> Tensor:
    """[count, past + count]: each token sees those before it and itself, the last `window` of them."""
    own = torch.arange(past, past + count, device=like.device)[:, None]
    seen = torch.arange(past + count, device=like.device)
    visible = seen <= own
    if window:
        visible &= seen > own - window
    return additive(visible, like.dtype)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to scores: 0 where a token may look, −∞ elsewhere."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, float("-inf"))
