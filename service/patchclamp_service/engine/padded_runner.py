"""Running decoders whose attention is their own: padded, with transformers' caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from .padding import batches, padded, place_rows
from .programs import Demand
from .runners import Instrumented, Outcome, split
from .scheduler import Segment, Slot
from .scheduler import Sequence as Tokens
from .site_map import SiteMap

__all__ = ["PaddedRunner"]


class PaddedRunner:
    """The fallback for decoders whose attention is their own: transformers' caches, padded on the left."""

    shares_prompts = False

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        self._model = Instrumented(model, sites, device)
        self._device = device
        self._fill = model.config.pad_token_id or 0
        self._caches: dict[Tokens, DynamicCache] = {}
        self._gone: set[Tokens] = set()
        self._batch: list[Tokens] = []
        self._batch_cache: DynamicCache | None = None

    def run(self, segments: Sequence[tuple[Segment, Demand]], wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """Decoding rows in one batch, whole sequences in others by their length, chunks of prompts one by one."""
        decode = [entry for entry in segments if entry[0].sequence.decoding]
        whole = [entry for entry in segments if not (entry[0].sequence.decoding or entry[0].sequence.slot)]
        if decode:
            yield self._decode(decode, wanted)
        for batch in batches(whole):
            yield self._whole(batch, wanted)
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
        logits = split(segments, wanted, output.logits[:, -1])
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
        ids, mask = padded([segment.ids for segment, _ in segments], self._device, self._fill)
        place_rows(segments, ids.shape[1])
        inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        output, captured, edited = self._model.forward(segments, ids.numel(), inputs)
        keep = [segment.row + offset for segment, _ in segments for offset in wanted.get(id(segment), ())]
        logits = split(segments, wanted, output.logits.flatten(0, 1)[keep]) if keep else {}
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
        logits = split([entry], wanted, output.logits[0, list(wanted.get(id(segment), ()))])
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
