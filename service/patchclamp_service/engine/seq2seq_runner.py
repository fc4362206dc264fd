"""Running encoder-decoders: encoders of new prompts in padded batches, then all decoders packed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .padding import Entries, batches, padded, place_rows
from .programs import Captured, Demand
from .runners import Instrumented, Outcome, handing_on, split
from .scheduler import Segment, Slot
from .scheduler import Sequence as Tokens
from .seq2seq_attention import Seq2SeqAttention, Seq2SeqLayout, source_of, written_before
from .site_map import SiteMap

__all__ = ["Seq2SeqRunner"]


class Seq2SeqRunner:
    """The tokens of a sequence up to `prompt_length` are its encoder's, those after it its decoder's. A continuation
    shares the source of its parent. What an encoder gave is kept until the first pass of a decoder that reads it."""

    shares_prompts = True

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        self._model = Instrumented(model, sites, device)
        self._encoder: PreTrainedModel = model.get_encoder()
        self._decoder: PreTrainedModel = model.get_decoder()  # type: ignore[no-untyped-call]
        self._device = device
        self._fill = model.config.pad_token_id or 0
        self._states: dict[Tokens, Tensor] = {}
        self._attention = Seq2SeqAttention()
        _give_own_config(self._decoder)
        self._decoder.set_attn_implementation(self._attention.name)

    def run(self, segments: Entries, wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """First what encoders read, then what decoders read."""
        read, written, places = _halves(segments, wanted)
        for batch in batches(read):
            yield self._encode(batch)
        if written:
            yield self._decode(written, places)
        used = {source_of(segment.sequence) for segment, _ in written}
        self._states = {source: kept for source, kept in self._states.items() if source.slot and source not in used}

    def _encode(self, segments: Entries) -> Outcome:
        ids, mask = padded([segment.ids for segment, _ in segments], self._device, self._fill)
        place_rows(segments, ids.shape[1])
        inputs: dict[str, object] = {"input_ids": ids}
        if not bool(mask.all()):
            inputs["attention_mask"] = mask
        output, captured, edited = self._model.forward(segments, ids.numel(), inputs, self._encoder)
        for row, (segment, _) in enumerate(segments):
            self._states[segment.sequence] = output.last_hidden_state[row, : segment.count]
        return Outcome([segment for segment, _ in segments], {}, captured, edited)

    def _decode(self, segments: Entries, wanted: Mapping[int, Sequence[int]]) -> Outcome:
        row = 0
        for segment, _ in segments:
            segment.row = row
            row += segment.count
        sources = dict.fromkeys(source_of(segment.sequence) for segment, _ in segments)
        fresh = [source for source in sources if source in self._states]
        states = [self._states[source] for source in fresh]
        self._attention.layout = Seq2SeqLayout([segment for segment, _ in segments], _starts(fresh), self._device)
        self._attention.reserve(self._attention.layout)
        keep = [segment.row + offset for segment, _ in segments for offset in wanted.get(id(segment), ())]
        try:
            output, captured, edited = self._forward(segments, row, self._read_by(states), keep)
        finally:
            self._attention.layout = None
        logits = split(segments, wanted, output.logits[0]) if keep else {}
        return Outcome([segment for segment, _ in segments], logits, captured, edited)

    def _read_by(self, states: Sequence[Tensor]) -> Tensor:
        """What encoders gave in this pass, side by side [1, tokens, width]; or something that nobody reads, since the
        model cannot do with nothing."""
        if states:
            return torch.cat(list(states))[None]
        return torch.zeros(1, 1, self._decoder.config.hidden_size, dtype=self._decoder.dtype, device=self._device)

    def _forward(self, segments: Entries, rows: int, states: Tensor, keep: Sequence[int]) -> tuple[Any, Captured, int]:
        ids = torch.tensor([[token for segment, _ in segments for token in segment.ids]], device=self._device)
        places = [written_before(segment) + k for segment, _ in segments for k in range(segment.count)]
        with _told(self._decoder, torch.tensor(places, device=self._device)):
            if not keep:
                inputs = {"input_ids": ids, "encoder_hidden_states": states, "use_cache": False}
                return self._model.forward(segments, rows, inputs, self._decoder)
            inputs = {"decoder_input_ids": ids, "encoder_outputs": (states,), "use_cache": False}
            with handing_on(self._decoder, torch.tensor(keep, device=self._device)):
                return self._model.forward(segments, rows, inputs)

    def moved(self, source: Slot, target: Slot, length: int) -> None:
        """Copies both pasts of a sequence."""
        self._attention.copy(source, target)

    def ended(self, sequence: Tokens) -> None:
        """Drops what its encoder gave, if no decoder has read it."""
        self._states.pop(sequence, None)

    def clear(self) -> None:
        """Gives the cache back and takes the hooks off."""
        self._states.clear()
        self._attention.drop()
        self._model.clear()


Placed = list[tuple[Segment, Demand]]


def _halves(segments: Entries, wanted: Mapping[int, Sequence[int]]) -> tuple[Placed, Placed, dict[int, list[int]]]:
    """Segments cut where the encoder's tokens end and the decoder's begin, and the wanted tokens of the latter."""
    read: Placed = []
    written: Placed = []
    places: dict[int, list[int]] = {}
    for segment, demand in segments:
        sequence, end = segment.sequence, segment.start + segment.count
        cut = max(segment.start, min(sequence.prompt_length, end))
        if cut > segment.start:
            read.append((Segment(sequence, segment.start, cut - segment.start), demand))
        if end > cut:
            half = Segment(sequence, cut, end - cut)
            written.append((half, demand))
            places[id(half)] = [offset - (cut - segment.start) for offset in wanted.get(id(segment), ())]
    return read, written, places


def _starts(sources: Sequence[Tokens]) -> dict[Tokens, int]:
    """Where each source begins, one after another."""
    starts: dict[Tokens, int] = {}
    for source in sources:
        starts[source] = sum(other.prompt_length for other in starts)
    return starts


def _give_own_config(decoder: PreTrainedModel) -> None:
    """T5's sides have configurations of their own; others share one, and with it the kind of attention."""
    shared = decoder.config
    own = copy.copy(shared)
    for module in decoder.modules():
        if getattr(module, "config", None) is shared:
            setattr(module, "config", own)  # noqa: B010 - modules in general have no such attribute


@contextmanager
def _told(decoder: nn.Module, places: Tensor) -> Iterator[None]:
    """Within it, a decoder that counts positions from the first token of a pass gets these [T] instead."""
    counting = getattr(decoder, "embed_positions", None)
    if counting is None:
        yield
        return

    def tell(
        _module: nn.Module, arguments: tuple[object, ...], options: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        return arguments, options | {"position_ids": places}

    handle = counting.register_forward_pre_hook(tell, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
