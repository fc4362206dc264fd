"""The rankings that the server keeps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.results import Ranking

from patchclamp_service.analyses.messages import fill_ranking, struct_of
from patchclamp_service.store.resources import Resources
from patchclamp_service.store.result_files import ResultFiles

__all__ = ["COLLECTION", "Rankings"]

COLLECTION = "rankings"

_KEPT = 2


class Rankings:
    """Keeps, shows and opens rankings. Whatever takes time happens in threads."""

    def __init__(self, resources: Resources, folder: Path) -> None:
        self.files = ResultFiles(resources, folder, COLLECTION, ".npz", analysis_pb2.Ranking)
        # By path, which no other ranking ever has: what is kept is never out of date.
        self._load = lru_cache(_KEPT)(Ranking.load)

    async def open(self, name: str, field: str) -> tuple[analysis_pb2.Ranking, Ranking]:
        """What is on record, and all scores. Raises InvalidRequest, NotFound or DigestMismatch."""
        message = await self.files.get(name, field)
        return message, await self.files.read(name, field, self._load)

    async def get(self, name: str, top: int = 0) -> analysis_pb2.Ranking:
        """A ranking with its best neurons; 0: as many as it was made with. Raises as `open`, and InvalidRequest for
        more neurons than a message holds."""
        message, ranking = await self.open(name, "name")
        wanted = top or sum(site.count for site in message.distribution)
        await asyncio.to_thread(fill_ranking, message, ranking, wanted)
        return message

    async def keep(
        self,
        request: analysis_pb2.RankNeuronsRequest,
        stored: activations_pb2.ActivationSet,
        name: str,
        operation: str,
        rows: int,
    ) -> analysis_pb2.Ranking:
        """Makes a ranking of the file that an operation has written; returns it with its best neurons."""
        ranking = await asyncio.to_thread(Ranking.load, self.files.new_path(name, operation))
        message = analysis_pb2.Ranking(
            method=ranking.method,
            label=ranking.label,
            parameters=struct_of(ranking.parameters),
            activation_set=stored.name,
            activation_set_sha256=stored.sha256,
            neuron_count=len(ranking.neurons),
            row_count=rows,
            notes=ranking.notes,
            model=stored.model,
            model_digest=stored.model_digest,
            name=name,
        )
        message.create_time.FromDatetime(datetime.now(UTC))
        await asyncio.to_thread(fill_ranking, message, ranking, request.top)
        recorded = analysis_pb2.Ranking()
        recorded.CopyFrom(message)
        recorded.ClearField("neurons")
        recorded.ClearField("classes")
        await self.files.keep(recorded, operation)
        return message
