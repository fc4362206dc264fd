"""The activation sets that the server keeps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from patchclamp.v1 import activations_pb2
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.set_layout import SetDescription
from patchclamp_analysis.sets.statistics import Statistics

from patchclamp_service.store.downloads import file_chunks
from patchclamp_service.store.resources import Resources
from patchclamp_service.store.result_files import ResultFiles

__all__ = ["COLLECTION", "ActivationSets", "Measures"]

COLLECTION = "activationSets"

# Statistics of a site are four arrays of its width.
_KEPT_STATISTICS, _KEPT_DESCRIPTIONS = 512, 32


@dataclass(frozen=True, slots=True)
class Measures:
    """What a set is, and the statistics of its sites."""

    description: SetDescription
    of: Callable[[str, str, str], Awaitable[Statistics]]
    """By site, layer and label, which the description has; "" and "": over all rows. Raises as `measures`."""


class ActivationSets(ResultFiles[activations_pb2.ActivationSet]):
    """Keeps and describes sets. Whatever takes time happens in threads."""

    def __init__(self, resources: Resources, folder: Path) -> None:
        super().__init__(resources, folder, COLLECTION, ".h5", activations_pb2.ActivationSet)
        # By path, which no other set ever has: what is kept is never out of date.
        self._description = lru_cache(_KEPT_DESCRIPTIONS)(_description)
        self._statistics = lru_cache(_KEPT_STATISTICS)(_statistics)

    async def measures(self, name: str, field: str = "activation_set") -> Measures:
        """The description of a set and its statistics. Raises InvalidRequest, NotFound, or DigestMismatch when its
        file is not whole."""
        path = await self.path(name, field)
        description = await self._loaded(name, field, partial(self._description, path))
        return Measures(
            description,
            lambda *of: self._loaded(name, field, partial(self._statistics, path, *of)),
        )

    async def chunks(
        self, name: str, offset: int
    ) -> tuple[activations_pb2.ActivationSet, AsyncGenerator[tuple[int, bytes]]]:
        """What a set is, and its file from an offset on; see `file_chunks`. Raises as `get`."""
        resource = await self._resource(name, "name")
        message = activations_pb2.ActivationSet.FromString(resource.body)
        return message, file_chunks(self.new_path(name, resource.request_id), message.size_bytes, offset)

    async def path(self, name: str, field: str = "activation_set") -> Path:
        """The file of a set. Raises as `get`."""
        return await super().path(name, field)


def _description(path: Path) -> SetDescription:
    with ActivationSet.open(path) as opened:
        return opened.description


def _statistics(path: Path, site: str, layer: str, label: str) -> Statistics:
    with ActivationSet.open(path) as opened:
        return opened.statistics(site, label, layer)
