"""Whether a model can be run the way it will be: tried when it is loaded, against its own forward pass."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from .errors import BadModel
from .model import LoadedModel
from .plan import Counts, Plan, Vocabulary
from .probe import Place, record_at
from .programs import Demand
from .runners import PackedRunner
from .scheduler import Segment, Sequence, Slot, Work
from .seq2seq_runner import Seq2SeqRunner
from .site_map import Site, SiteMap

__all__ = ["packs", "tried"]

_log = logging.getLogger(__name__)

# Lengths of the two sequences that are tried, and where each is cut in two.
_LENGTHS, _CUTS = (7, 12), (6, 5)
_NO_WORDS = Vocabulary(np.zeros(0, dtype=bool), lambda text: np.zeros(0, dtype=np.int64))
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
    runner = PackedRunner(model.module, SiteMap({}, (), (), {}, {}, {}), model.device)
    demand = Demand(Plan((), {}, _NO_WORDS), Counts())
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


def tried(model: LoadedModel, sites: SiteMap) -> Seq2SeqRunner:
    """The runner of an encoder-decoder, after it ran two sequences in two passes with the cache between them, and the
    last layer gave what it gives in the model as it is. BadModel if it did not."""
    last = sites.expand("decoder.layers.*.residual", "sites")[-1]
    vocabulary = int(model.module.config.vocab_size)
    texts = [[(7 * place + 3 * length) % vocabulary for place in range(length)] for length in _LENGTHS]
    expected = [_as_it_is(model, ids, last) for ids in texts]
    runner = Seq2SeqRunner(model.module, sites, model.device)
    demand = Demand(Plan((), {}, _NO_WORDS), Counts(), target_sites=(last,))
    sequences = [
        # The last two tokens are the decoder's.
        Sequence(ids, Work(interactive=True), prompt_length=len(ids) - 2, slot=Slot(512, number), atomic=True)
        for number, ids in enumerate(texts)
    ]
    found: list[Tensor] = []
    for step in (0, 1):
        segments = [
            Segment(sequence, 0, len(sequence.ids) - 1) if step == 0 else Segment(sequence, len(sequence.ids) - 1, 1)
            for sequence in sequences
        ]
        *_, outcome = runner.run([(segment, demand) for segment in segments], {})
        found = [outcome.captured.of(segment, last.name)[-1] for segment in outcome.segments]
        for sequence in sequences:
            sequence.decoding = True
    runner.clear()
    if not all(_close(one, other, model.dtype) for one, other in zip(found, expected, strict=True)):
        raise BadModel(f"model {model.name!r}: {model.module.config.model_type} cannot be run side by side with others")
    return runner


def _as_it_is(model: LoadedModel, ids: list[int], site: Site) -> Tensor:
    """What a site carries at the last token of the decoder."""
    source, target = (torch.tensor([part], device=model.device) for part in (ids[:-2], ids[-2:]))
    seen = record_at(model.module, Place(site.path, site.end), input_ids=source, decoder_input_ids=target)
    return seen[-1]


def _close(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    tolerance = _TOLERANCE[dtype] * max(1.0, float(other.abs().max()))
    return bool((one.float() - other.float()).abs().max() <= tolerance)
