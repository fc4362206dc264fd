"""CreateActivationSet: checked at once, then run as an operation that outlives the server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from google.longrunning import operations_pb2
from patchclamp.v1 import activations_pb2, corpora_pb2
from patchclamp_analysis.corpora.corpus import Level
from patchclamp_analysis.sets.row_selection import RowFilter

from patchclamp_service.activations.activation_sets import COLLECTION, ActivationSets
from patchclamp_service.activations.extraction import Extracted, extract
from patchclamp_service.activations.extraction_spec import ExtractionSpec, Reading, prepare
from patchclamp_service.corpora.corpora import Corpora
from patchclamp_service.engine.errors import Exhausted
from patchclamp_service.jobs.jobs import JobContext, Jobs
from patchclamp_service.registry import Registry
from patchclamp_service.store.resources import resource_id
from patchclamp_service.wire.edits import Edits
from patchclamp_service.wire.extraction import AGGREGATIONS, POOLINGS
from patchclamp_service.wire.interventions import applied, refuse_sets
from patchclamp_service.wire.tensors import dtype_name, dtype_value

__all__ = ["SetCreation"]

_LEVELS = {Level.WORD: corpora_pb2.LABEL_LEVEL_WORD, Level.SENTENCE: corpora_pb2.LABEL_LEVEL_SENTENCE}
_METHOD = "CreateActivationSet"


class SetCreation:
    """Starts and runs the operations that make activation sets."""

    def __init__(self, registry: Registry, corpora: Corpora, sets: ActivationSets, jobs: Jobs, edits: Edits) -> None:
        self._registry = registry
        self._corpora = corpora
        self._sets = sets
        self._jobs = jobs
        self._edits = edits
        jobs.register(_METHOD, activations_pb2.CreateActivationSetRequest, self._run, sets.discard)

    async def start(self, request: activations_pb2.CreateActivationSetRequest) -> operations_pb2.Operation:
        """Checks all that can be seen without running the model, then starts an operation."""
        return await self._jobs.once(_METHOD, request, request.request_id, self._checked)

    async def _checked(self, request: activations_pb2.CreateActivationSetRequest) -> tuple[str, Sequence[str]]:
        """What will be made and read. Fills in what may be another default after a restart."""
        target = f"{COLLECTION}/{resource_id(request.activation_set_id, 'activation_set_id')}"
        reading = await self._read(request)
        await asyncio.to_thread(_check_room, reading, self._sets.folder)
        request.model = f"models/{reading.engine.info.name}"
        request.aggregation = AGGREGATIONS[reading.pooling]
        means = (edit.set_to_mean.activation_set for edit in request.interventions if edit.HasField("set_to_mean"))
        return target, (request.corpus, *dict.fromkeys(means))

    async def _run(
        self, request: activations_pb2.CreateActivationSetRequest, context: JobContext
    ) -> activations_pb2.ActivationSet:
        if made := await self._sets.made_by(context.target, context.operation):
            return made  # an earlier attempt came to its end, and was not heard of
        reading = await self._read(request)
        path = self._sets.new_path(context.target, context.operation)
        path.parent.mkdir(parents=True, exist_ok=True)
        extracted = await extract(reading, path, context.report)
        message = _message(context.target, request, reading, extracted)
        await self._sets.keep(message, context.operation)
        await asyncio.to_thread(extracted.forget)
        return message

    async def _read(self, request: activations_pb2.CreateActivationSetRequest) -> Reading:
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        corpus = await self._corpora.open(request.corpus)
        interventions = await self._edits.of(request.interventions, engine.info)
        spec = ExtractionSpec(
            sites=tuple(request.sites),
            pooling=POOLINGS.get(request.aggregation),
            dtype=dtype_name(request.dtype, "dtype"),
            rule=_rule(request.filter),
            interventions=interventions,
            include_special_tokens=request.include_special_tokens,
            corpus=request.corpus,
        )
        return await prepare(engine, corpus, spec)


def _check_room(reading: Reading, folder: Path) -> None:
    """What is known to be needed must fit onto the disk; the rest is found out before the first number is written."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if reading.least_bytes > free:
        text = f"the set takes {reading.least_bytes} bytes at least, and the data directory has room for {free}"
        raise Exhausted(text, reason="DISK_FULL", quota="data_dir")


def _rule(message: activations_pb2.TokenFilter) -> RowFilter:
    return RowFilter(
        layer=message.layer,
        labelled_only=message.labelled_only,
        labels=frozenset(message.labels),
        per_label=message.per_label,
        per_word_type=message.per_word_type,
        seed=message.seed,
    )


def _message(
    name: str, request: activations_pb2.CreateActivationSetRequest, reading: Reading, extracted: Extracted
) -> activations_pb2.ActivationSet:
    finished, description = extracted.finished, reading.description()
    levels = {layer.name: layer.level for layer in reading.corpus.summary.layers}
    message = activations_pb2.ActivationSet(
        name=name,
        corpus=description.corpus,
        corpus_digest=description.corpus_digest,
        model=description.model,
        model_digest=description.model_digest,
        sites=[activations_pb2.SiteWidth(site=site, width=width) for site, width in description.sites],
        aggregation=AGGREGATIONS[reading.pooling],
        dtype=dtype_value(description.dtype),
        row_count=finished.rows,
        sentence_count=finished.sentences,
        masked_count=finished.masked_rows,
        layers=[_layer(layer, levels[layer], counts, finished.rows) for layer, counts in finished.layers.items()],
        size_bytes=finished.size_bytes,
        sha256=finished.sha256,
        applied=applied(extracted.receipt, description.model_digest),
        filter=request.filter if request.HasField("filter") else None,
    )
    message.create_time.FromDatetime(datetime.now(UTC))
    return message


def _layer(name: str, level: Level, counts: Mapping[str, int], rows: int) -> corpora_pb2.LabelLayer:
    labels = [corpora_pb2.LabelCount(label=label, count=count) for label, count in counts.items() if count]
    unlabelled = rows - sum(counts.values())
    return corpora_pb2.LabelLayer(name=name, level=_LEVELS[level], labels=labels, unlabelled=unlabelled)
