"""Whether a decoder can be run packed: tried when it is loaded, against its own forward pass."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from .model import LoadedModel
from .plan import Counts, Plan, Vocabulary
from .programs import Demand
from .runners import PackedRunner
from .scheduler import Segment, Sequence, Slot, Work
from .site_map import SiteMap

__all__ = ["packs"]

_log = logging.getLogger(__name__)

# Lengths of the two sequences that are tried, and where each is cut in two.
_LENGTHS, _CUTS = (7, 12), (6, 5)
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.05}


def packs(model: LoadedModel) -> bool:
    """Runs two sequences packed, in two passes with the cache between them, and compares their last logits with
    those of the model as it is. Leaves the model's attention as it was."""
    module = model.module
    before = module.config._attn_implementation
    vocabulary = int(module.config.get_text_config().vocab_size)
    texts = [[(7 * place + 3 * length) % vocabulary for place in range(length)] for length in _LENGTHS]
    try:
        expected = [_plain(model, ids) for ids in texts]
        got = _packed(model, texts)
    except Exception as error:
        _log.info("the model cannot be run packed, so its requests are padded: %s", error)
        return False
    finally:
        module.set_attn_implementation(before)
    return all(_close(one, other, model.dtype) for one, other in zip(got, expected, strict=True))


def _plain(model: LoadedModel, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model.module(torch.tensor([ids], device=model.device), use_cache=False).logits
    return logits[0, -1]


def _packed(model: LoadedModel, texts: list[list[int]]) -> list[Tensor]:
    runner = PackedRunner(model.module, SiteMap({}, (), (), 0, {}, {}), model.device)
    nothing = Vocabulary(np.zeros(0, dtype=bool), lambda text: np.zeros(0, dtype=np.int64))
    demand = Demand(Plan((), {}, nothing), Counts())
    sequences = [
        Sequence(ids, Work(), prompt_length=len(ids), slot=Slot(512, number)) for number, ids in enumerate(texts)
    ]
    found: list[Tensor] = []
    for starts, ends in (((0, 0), _CUTS), (_CUTS, _LENGTHS)):
        segments = []
        for sequence, start, end in zip(sequences, starts, ends, strict=True):
            sequence.decoding = end - start == 1
            segments.append(Segment(sequence, start, end - start))
        wanted = {id(segment): (segment.count - 1,) for segment in segments}
        outcome = next(runner.run([(segment, demand) for segment in segments], wanted))
        found = [outcome.logits_of(segment)[-1] for segment in segments]
    runner.clear()
    return found


def _close(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    tolerance = _TOLERANCE[dtype] * max(1.0, float(other.abs().max()))
    return bool((one.float() - other.float()).abs().max() <= tolerance)
