"""Texts that the model reads while a request waits: as ExtractActivations does, for an analysis."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from patchclamp.v1 import activations_pb2, analysis_pb2, common_pb2
from patchclamp_analysis.data.neurons import Site

from patchclamp_service.analyses.text_rows import TextRows
from patchclamp_service.engine.errors import EngineFailure, Exhausted, InvalidRequest, PatchclampError
from patchclamp_service.engine.requests import ExtractRequest, SentenceActivations
from patchclamp_service.engine.stream import Stream
from patchclamp_service.registry import Registry
from patchclamp_service.store.staging import disk_space, staging
from patchclamp_service.wire.edits import Edits
from patchclamp_service.wire.extraction import extract_request
from patchclamp_service.wire.interventions import refuse_sets

if TYPE_CHECKING:  # the engine brings torch, which a server imports late
    from patchclamp_service.engine.engine import Engine

__all__ = ["LiveTexts", "Reading"]

_SITE = re.compile(r"sites\[(\d+)\]")


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A text that was checked: who reads it, and at which sites."""

    engine: Engine
    request: ExtractRequest
    sites: tuple[Site, ...]
    of_targets: bool
    """Whether the rows are those of what a decoder reads."""
    fields: tuple[str, ...]

    @property
    def model(self) -> str:
        """Its name."""
        return f"models/{self.engine.info.name}"

    @property
    def widths(self) -> dict[str, int]:
        """Of the sites, by name."""
        return {site.name: site.width for site in self.sites}


class LiveTexts:
    """Checks texts and reads them. What is read lies in a folder for as long as it is needed."""

    def __init__(self, registry: Registry, edits: Edits, folder: Path) -> None:
        self._registry = registry
        self._edits = edits
        self._folder = folder

    async def check(self, text: analysis_pb2.LiveText, sites: Sequence[str], fields: Sequence[str]) -> Reading:
        """Checks all that ExtractActivations would; nothing runs, save the sources of patches. `fields` are the fields
        of the request that name the sites. Raises as ExtractActivations does."""
        with _said_of_text(fields):
            engine = self._registry.resolve(text.model)
            refuse_sets(text.intervention_sets)
            edits = await self._edits.of(text.interventions, engine.info)
            request = extract_request(
                activations_pb2.ExtractActivationsRequest(
                    sentences=text.sentences, sites=sites, aggregation=text.aggregation
                ),
                edits,
            )
            prepared = await engine.prepare(request.sites, edits)
            if prepared.of_targets and prepared.of_sentences:
                what = "sites: those of the encoder and of the decoder have different rows; look at either"
                raise InvalidRequest(what, reason="ROWS_DIFFER", field="sites")
            request = replace(request, interventions=prepared.interventions)
            await engine.check(request)
        found = tuple(Site(site.name, site.width) for site in prepared.sites)
        return Reading(engine, request, found, prepared.of_targets, tuple(fields))

    async def named(
        self, text: analysis_pb2.LiveText, neurons: Sequence[common_pb2.Neurons]
    ) -> list[common_pb2.Neurons]:
        """The same neurons, with the names that the model gives to their sites. InvalidRequest for an unknown one."""
        with _said_of_text(()):
            engine = self._registry.resolve(text.model)
        names: dict[str, str] = {}
        for number, each in enumerate(neurons):
            if each.site not in names:
                with _said_of_text([f"neurons[{number}].site"]):
                    names[each.site] = await _name(engine, each.site)
        return [common_pb2.Neurons(site=names[each.site], indices=each.indices) for each in neurons]

    @asynccontextmanager
    async def read(self, reading: Reading, memory_bytes: int, *, patient: bool) -> AsyncGenerator[TextRows]:
        """Has the text read; the rows are there while the context lasts. `patient`: waits where the queue is full.
        Raises as ExtractActivations does, or Exhausted when the disk is full."""
        words: list[str] = []
        counts: list[int] = []
        masked: list[bool] = []
        with disk_space():
            async with staging(self._folder) as folder:
                path = folder / "values"
                with _said_of_text(reading.fields), path.open("wb") as file:
                    async with aclosing(await _submitted(reading, patient=patient)) as events:
                        async for event in events:
                            names, missing, values = _rows(reading, event)
                            await asyncio.to_thread(file.write, values)
                            words += names
                            counts.append(len(names))
                            masked += [place in missing for place in range(len(names))]
                if not words:
                    what = "text.sentences: there is no row: special tokens have none"
                    raise InvalidRequest(what, reason="NO_ROWS", field="text.sentences")
                sentences = np.repeat(np.arange(len(counts)), counts)
                yield TextRows(path, reading.sites, tuple(words), sentences, np.array(masked), memory_bytes)


async def _name(engine: Engine, site: str) -> str:
    if "*" in site:
        raise InvalidRequest(f"{site!r} stands for many sites: name one", reason="UNKNOWN_SITE", field="sites[0]")
    return (await engine.prepare((site,), ())).sites[0].name


async def _submitted(reading: Reading, *, patient: bool) -> Stream:
    while True:
        try:
            return await reading.engine.submit(reading.request)
        except Exhausted as error:
            if not patient or error.retry_after is None:
                raise
            await asyncio.sleep(error.retry_after)


def _rows(reading: Reading, event: object) -> tuple[tuple[str, ...], frozenset[int], bytes]:
    """The names of the rows of a sentence, those that are masked, and the values of all sites side by side."""
    if not isinstance(event, SentenceActivations):
        raise EngineFailure(f"a {type(event).__name__} among the sentences of a text")
    names, masked = event.tokens, event.masked
    if reading.of_targets:
        names, masked = event.target_tokens, event.target_masked
    values = np.concatenate([event.captured[site.name] for site in reading.sites], axis=1, dtype=np.float32)
    if len(values) != len(names):
        raise EngineFailure(f"sentence {event.sentence} has {len(values)} rows of {len(names)} names")
    return names, frozenset(masked), values.tobytes()


@contextmanager
def _said_of_text(fields: Sequence[str]) -> Generator[None]:
    """Names the fields of an error as the request of the analysis does."""
    try:
        yield
    except PatchclampError as error:
        if not error.field:
            raise
        inner, found = error.field, _SITE.fullmatch(error.field)
        if found:
            error.field = fields[int(found[1])]
        elif inner == "sites":
            error.field = fields[0].partition("[")[0]
        else:
            error.field = f"text.{inner}"
        if error.message.startswith(inner):
            error.message = error.field + error.message.removeprefix(inner)
        raise
