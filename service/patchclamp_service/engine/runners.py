"""Running a pass: segments in, logits and captured activations out.

* `PackedRunner`: decoders whose attention goes through transformers' interface; everything in one forward pass.
* `PaddedRunner`: other decoders; decoding rows in one left-padded batch, prompts by themselves.
* `EncoderRunner`: bidirectional models and their heads; right-padded batches.
* `Seq2SeqRunner`: encoder-decoders; encoders in right-padded batches, decoders packed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .attention import Layout, PackedAttention
from .hooks import Instruments
from .linear import accelerate
from .programs import Captured, Demand, ProgramBuilder
from .scheduler import Segment, Slot
from .scheduler import Sequence as Tokens
from .site_map import SiteMap

__all__ = ["Instrumented", "Outcome", "PackedRunner", "Runner", "handing_on", "split"]


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


class Instrumented:
    """A model with its hooks: one forward pass, edited and read, of the whole or of a part of it."""

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        accelerate(model)
        self.model = model
        self.device = device
        self.instruments = Instruments()
        self._builder = ProgramBuilder(sites, device)

    def forward(
        self,
        segments: Sequence[tuple[Segment, Demand]],
        rows: int,
        inputs: Mapping[str, object],
        part: nn.Module | None = None,
    ) -> tuple[Any, Captured, int]:
        """What the model or a part of it gives for inputs of so many rows, what was captured of the segments, whose
        rows must be set, and the number of positions edited."""
        program, places = self._builder.build(segments, rows)
        with self.instruments.applied(program, rows) as captured, torch.inference_mode():
            output = (self.model if part is None else part)(**inputs)
        self._builder.count()
        return output, Captured(captured, places), self._builder.positions_edited

    def clear(self) -> None:
        """Takes the hooks off."""
        self.instruments.clear()
        self._builder.forget()


def split(
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


@contextmanager
def handing_on(base: nn.Module, rows: Tensor | None) -> Iterator[None]:
    """Within it, the base model hands only these rows [n] on to the head, as one sentence; None: all."""
    if rows is None:
        yield
        return

    def narrowed(_module: nn.Module, _arguments: object, output: Any) -> Any:  # noqa: ANN401 - the model's own class
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[rows][None]
        return output

    handle = base.register_forward_hook(narrowed)
    try:
        yield
    finally:
        handle.remove()


class PackedRunner:
    """One flat row of tokens, each sequence attending to itself; see `attention`."""

    shares_prompts = True

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device) -> None:
        self._attention = PackedAttention()
        model.set_attn_implementation(self._attention.name)
        self._model = Instrumented(model, sites, device)
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
        logits = split(segments, wanted, output.logits[0])
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
