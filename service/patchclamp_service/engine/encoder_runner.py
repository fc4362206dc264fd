"""Running bidirectional models, with or without a head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .padding import Entries, batches, padded, place_rows
from .requests import Head
from .runners import Instrumented, Outcome, handing_on, split
from .scheduler import Sequence as Tokens
from .scheduler import Slot
from .site_map import SiteMap

__all__ = ["EncoderRunner"]


class EncoderRunner:
    """Sentences side by side, filled up on the right, those of similar length in one batch.

    The head runs where somebody wants its logits, and where it is position by position on the wanted rows only; but on
    all rows where somebody reads or edits within it.
    """

    shares_prompts = False

    def __init__(self, model: PreTrainedModel, sites: SiteMap, device: torch.device, head: Head) -> None:
        self._model = Instrumented(model, sites, device)
        self._base: nn.Module = model.base_model
        self._device = device
        self._fill = model.config.pad_token_id or 0
        self._pools = head is Head.SEQUENCE_CLASSIFICATION
        inner = f"{model.base_model_prefix}." if self._base is not model else ""
        places = [*sites.sites.values(), *sites.module_sites.values()]
        self._in_head = frozenset(site.name for site in places if not site.path.startswith(inner))

    def run(self, segments: Entries, wanted: Mapping[int, Sequence[int]]) -> Iterator[Outcome]:
        """Sentences in batches by their length."""
        for batch in batches(segments):
            yield self._run(batch, wanted)

    def _run(self, segments: Entries, wanted: Mapping[int, Sequence[int]]) -> Outcome:
        ids, mask = padded([segment.ids for segment, _ in segments], self._device, self._fill)
        place_rows(segments, ids.shape[1])
        inputs: dict[str, object] = {"input_ids": ids}
        if not bool(mask.all()):
            inputs["attention_mask"] = mask
        if any(segment.sequence.types for segment, _ in segments):
            inputs["token_type_ids"] = self._types(segments, ids)
        keep = [segment.row + offset for segment, _ in segments for offset in wanted.get(id(segment), ())]
        whole = self._reaches_head(segments)
        part = self._base if not (keep or whole) else None
        narrow = torch.tensor(keep, device=self._device) if keep and not (whole or self._pools) else None
        with handing_on(self._base, narrow):
            output, captured, edited = self._model.forward(segments, ids.numel(), inputs, part)
        logits = self._logits(segments, wanted, output.logits, keep, narrow) if keep else {}
        return Outcome([segment for segment, _ in segments], logits, captured, edited)

    def _types(self, segments: Entries, like: Tensor) -> Tensor:
        types = torch.zeros_like(like)
        for row, (segment, _) in enumerate(segments):
            own = segment.sequence.types
            types[row, : len(own)] = torch.tensor(own, dtype=types.dtype, device=types.device)
        return types

    def _reaches_head(self, segments: Entries) -> bool:
        return any(
            name in self._in_head
            for _, demand in segments
            for name in (*demand.plan.sites, *demand.plan.gate_sites, *(site.name for site in demand.prompt_sites))
        )

    def _logits(
        self,
        segments: Entries,
        wanted: Mapping[int, Sequence[int]],
        logits: Tensor,
        keep: Sequence[int],
        narrow: Tensor | None,
    ) -> dict[int, Tensor]:
        if self._pools:
            return {id(segment): logits[row : row + 1] for row, (segment, _) in enumerate(segments)}
        return split(segments, wanted, logits.flatten(0, 1) if narrow is not None else logits.flatten(0, 1)[keep])

    def moved(self, source: Slot, target: Slot, length: int) -> None:
        """Encoders keep nothing between passes."""

    def ended(self, sequence: Tokens) -> None:
        """Encoders keep nothing between passes."""

    def clear(self) -> None:
        """Takes the hooks off."""
        self._model.clear()
