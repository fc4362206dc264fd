"""Running a pass: segments in, logits and captured activations out.

* `PackedRunner`: decoders whose attention goes through transformers' interface; everything in one forward pass.
* `PaddedRunner`: other decoders; decoding rows in one left-padded batch, prompts by themselves.
* `EncoderRunner`: bidirectional models; one right-padded batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from .attention import Layout, PackedAttention
from .hooks import Instruments
from .linear import accelerate
from .programs import Captured, Demand, ProgramBuilder
from .scheduler import Segment, Slot
from .scheduler import Sequence as Tokens
from .site_map import SiteMap

__all__ = ["EncoderRunner", "Outcome", "PackedRunner", "PaddedRunner", "Runner"]


@dataclass(slots=True, eq=False)
class Outcome:
    """What one forward pass gave: logits of the tokens asked for [n, vocabulary], by segment, and captures."""

    segments: list[Segment]
    logits: dict[int, Tensor]
    captured: Captured
    positions_edited: int

    def logits_of(self, segment: Segment) -> Tensor:
        """Logits of the tokens of a segment that were asked for, [n, vocabulary]."""
        return self.logits[id(segment)]


class Runner(Protocol):
    """Runs passes. `wanted` maps the id of a segment to the offsets of the tokens whose logits are asked for."""

    shares_prompts: bool
    """Whether a sequence may continue another one's tokens (`Sequence.parent`)."""

    def run(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """Runs the segments of a pass, in one forward pass or several."""
        ...

    def moved(self, source: Slot, target: Slot, length: int) -> None:
        """A sequence of `length` tokens moves to another slot."""

    def ended(self, sequence: Tokens) -> None:
        """A sequence will not be run again."""

    def clear(self) -> None:
        """Nothing runs any more: gives memory back and takes the hooks off."""


class _Instrumented:
    """A model with its hooks: one forward pass, edited and read."""

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        accelerate(model)
        self.model = model
        self.device = device
        self.instruments = Instruments()
        self._builder = ProgramBuilder(sites, device)

    def forward(
        self, segments: Sequence[tuple[Segment, Demand]], rows: int, inputs: Mapping[str, object]
    ) -> tuple[Any, Captured, int]:
        program, places = self._builder.build(segments, rows)
        with self.instruments.applied(program, rows) as captured, torch.inference_mode():
            output = self.model(**inputs)
        self._builder.count()
        return output, Captured(captured, places), self._builder.positions_edited

    def clear(self) -> None:
        self.instruments.clear()
        self._builder.forget()


def _split(
    segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]], logits: Tensor
) -> dict[int, Tensor]:
    """Cuts logits that stand one after another into those of each segment."""
    parts, start = {}, 0
    for segment, _ in segments:
        count = len(wanted.get(id(segment), ()))
        if count:
            parts[id(segment)] = logits[start : start + count]
            start += count
    return parts


class PackedRunner:
    """One flat row of tokens, each sequence attending to itself; see `attention`."""

    shares_prompts = True

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        self._attention = PackedAttention()
        model.set_attn_implementation(self._attention.name)
        self._model = _Instrumented(model, sites, device)
        self._device = device

    def run(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """Everything in one forward pass."""
        row = 0
        ids: list[int] = []
        positions: list[int] = []
        keep: list[int] = []
        for segment, _ in segments:
            segment.row = row
            ids += segment.ids
            positions += range(segment.position, segment.position + segment.count)
            keep += (row + offset for offset in wanted.get(id(segment), ()))
            row += segment.count
            if segment.sequence.slot:
                self._attention.reserve(segment)
        self._attention.layout = Layout([segment for segment, _ in segments], self._device)
        tensors = torch.tensor([ids, positions], device=self._device)
        inputs = {
            "input_ids": tensors[:1],
            "position_ids": tensors[1:],
            "use_cache": False,
            "logits_to_keep": torch.tensor(keep, dtype=torch.long, device=self._device),
        }
        try:
            output, captured, edited = self._model.forward(segments, row, inputs)
        finally:
            self._attention.layout = None
        logits = _split(segments, wanted, output.logits[0])
        yield Outcome([segment for segment, _ in segments], logits, captured, edited)

    def moved(self, source: Slot, target: Slot, length: int) -> None:
        """Copies the cache of a sequence."""
        self._attention.copy(source, target, length)

    def ended(self, sequence: Tokens) -> None:
        """Slots are overwritten when they are used again."""

    def clear(self) -> None:
        """Gives the cache back and takes the hooks off."""
        self._attention.drop()
        self._model.clear()


def _padded(rows: Sequence[Sequence[int]], device: torch.device, fill: int) -> tuple[Tensor, Tensor]:
    """Ids and mask [rows, longest], filled up on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    return ids, mask


class EncoderRunner:
    """Sentences side by side, filled up on the right."""

    shares_prompts = False

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        self._model = _Instrumented(model, sites, device)
        self._device = device
        self._fill = model.config.pad_token_id or 0

    def run(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """All sentences in one batch."""
        ids, mask = _padded([segment.ids for segment, _ in segments], self._device, self._fill)
        for number, (segment, _) in enumerate(segments):
            segment.row = number * ids.shape[1]
        inputs: dict[str, object] = {"input_ids": ids}
        if not bool(mask.all()):
            inputs["attention_mask"] = mask
        _, captured, edited = self._model.forward(segments, ids.numel(), inputs)
        yield Outcome([segment for segment, _ in segments], {}, captured, edited)

    def moved(self, source: Slot, target: Slot, length: int) -> None:
        """Encoders keep nothing between passes."""

    def ended(self, sequence: Tokens) -> None:
        """Encoders keep nothing between passes."""

    def clear(self) -> None:
        """Takes the hooks off."""
        self._model.clear()


class PaddedRunner:
    """The fallback for decoders whose attention is their own: transformers' caches, padded on the left."""

    shares_prompts = False

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        self._model = _Instrumented(model, sites, device)
        self._device = device
        self._fill = model.config.pad_token_id or 0
        self._caches: dict[Tokens, DynamicCache] = {}
        self._gone: set[Tokens] = set()
        self._batch: list[Tokens] = []
        self._batch_cache: DynamicCache | None = None

    def run(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """Decoding rows in one batch, whole sequences in another, chunks of prompts one by one."""
        decode = [entry for entry in segments if entry[0].sequence.decoding]
        whole = [entry for entry in segments if not (entry[0].sequence.decoding or entry[0].sequence.slot)]
        if decode:
            yield self._decode(decode, wanted)
        if whole:
            yield self._whole(whole, wanted)
        for entry in segments:
            if entry[0].sequence.slot and not entry[0].sequence.decoding:
                yield self._chunk(entry, wanted)

    def _decode(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Outcome:
        sequences = [segment.sequence for segment, _ in segments]
        if sequences != self._batch:
            self._rebatch(sequences)
        for number, (segment, _) in enumerate(segments):
            segment.row = number
        lengths = torch.tensor([segment.position for segment, _ in segments], device=self._device)
        longest = int(lengths.max())
        mask = torch.arange(longest + 1, device=self._device) >= (longest - lengths)[:, None]
        inputs = {
            "input_ids": torch.tensor([segment.ids for segment, _ in segments], device=self._device),
            "attention_mask": mask.long(),
            "position_ids": lengths[:, None],
            "past_key_values": self._batch_cache,
            "use_cache": True,
        }
        output, captured, edited = self._model.forward(segments, len(segments), inputs)
        logits = _split(segments, wanted, output.logits[:, -1])
        return Outcome([segment for segment, _ in segments], logits, captured, edited)

    def _rebatch(self, sequences: list[Tokens]) -> None:
        """Takes the batch apart and joins the sequences that decode now, each with its own past."""
        self._unbatch()
        caches = [self._caches.pop(sequence) for sequence in sequences]
        longest = max(cache.get_seq_length() for cache in caches)
        joined = DynamicCache()
        for layer in range(len(_layers(caches[0]))):
            keys, values = (
                torch.cat([_fill_left(getattr(_layers(cache)[layer], part), longest) for cache in caches])
                for part in ("keys", "values")
            )
            joined.update(keys, values, layer)
        self._batch, self._batch_cache = sequences, joined

    def _unbatch(self) -> None:
        for row, sequence in enumerate(self._batch):
            if self._batch_cache is None or sequence in self._gone:
                continue
            own = DynamicCache()
            for layer, store in enumerate(_layers(self._batch_cache)):
                keys, values = (part[row : row + 1, :, -sequence.computed :] for part in (store.keys, store.values))
                own.update(keys.clone(), values.clone(), layer)
            self._caches[sequence] = own
        self._batch, self._batch_cache, self._gone = [], None, set()

    def _whole(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Outcome:
        ids, mask = _padded([segment.ids for segment, _ in segments], self._device, self._fill)
        for number, (segment, _) in enumerate(segments):
            segment.row = number * ids.shape[1]
        inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        output, captured, edited = self._model.forward(segments, ids.numel(), inputs)
        keep = [segment.row + offset for segment, _ in segments for offset in wanted.get(id(segment), ())]
        logits = _split(segments, wanted, output.logits.flatten(0, 1)[keep]) if keep else {}
        return Outcome([segment for segment, _ in segments], logits, captured, edited)

    def _chunk(self, entry: tuple[Segment, Demand], wanted: Mapping[int, Sequence[int]]) -> Outcome:
        segment = entry[0]
        segment.row = 0
        cache = self._caches.setdefault(segment.sequence, DynamicCache())
        places = torch.arange(segment.position, segment.position + segment.count, device=self._device)
        inputs = {
            "input_ids": torch.tensor([segment.ids], device=self._device),
            "attention_mask": torch.ones(1, int(places[-1]) + 1, dtype=torch.long, device=self._device),
            "position_ids": places[None],
            "past_key_values": cache,
            "use_cache": True,
        }
        output, captured, edited = self._model.forward([entry], segment.count, inputs)
        logits = _split([entry], wanted, output.logits[0, list(wanted.get(id(segment), ()))])
        if segment.ends and not segment.sequence.work.interactive:
            self._caches.pop(segment.sequence)
        return Outcome([segment], logits, captured, edited)

    def moved(self, source: Slot, target: Slot, length: int) -> None:
        """Caches belong to sequences here, not to slots."""

    def ended(self, sequence: Tokens) -> None:
        """Drops the past of a sequence; a row of the batch leaves when the batch is next put together."""
        self._caches.pop(sequence, None)
        self._gone.add(sequence)

    def clear(self) -> None:
        """Drops all pasts and takes the hooks off."""
        self._caches.clear()
        self._batch, self._batch_cache, self._gone = [], None, set()
        self._model.clear()


def _fill_left(tensor: Tensor, length: int) -> Tensor:
    missing = length - tensor.shape[2]
    return torch.nn.functional.pad(tensor, (0, 0, missing, 0)) if missing else tensor


def _layers(cache: DynamicCache) -> list[Any]:
    """The keys and values of each layer, [1, heads, tokens, width]."""
    return list(cache.layers)
