"""The corpora that the server keeps.

A corpus is a directory in the data directory and a row in the database that says so. The directory is written first,
under a name that no other corpus ever has; the row makes it a corpus, all at once. What a crash leaves in between is a
directory without a row, which nobody sees and the next start removes.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from patchclamp.v1 import corpora_pb2
from patchclamp_analysis.corpora.corpus import Corpus, CorpusSummary, Sentence
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.files.durable_files import sync_directory

from patchclamp_service.corpora.messages import corpus_message, sentence_message
from patchclamp_service.corpora.writing import CorpusWriter
from patchclamp_service.engine.errors import AlreadyExists, DigestMismatch, InvalidRequest, NotFound
from patchclamp_service.store.pages import last_seen, page_token
from patchclamp_service.store.resources import Resource, Resources, checked_name, missing, resource_id
from patchclamp_service.store.staging import disk_space, held, staging, sweep
from patchclamp_service.store.uninterrupted import uninterrupted

__all__ = ["Corpora", "NewCorpus"]

T = TypeVar("T")

COLLECTION = "corpora"

_PAGE = 100
# Pages stay below what gRPC's clients take by default, which is 4 MiB.
_PAGE_BYTES = 2 << 20
_STAGING = re.compile(r"\.[0-9a-f]{16}")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewCorpus:
    """What a corpus that is to be made is called, and by which request."""

    id: str
    """Empty: one is made up."""
    field: str
    """Where in the request the id is."""
    request_id: str = ""
    source: str = ""
    """The corpus it is made from."""


class Corpora:
    """Makes, lists, opens and removes corpora. Whatever takes time happens in threads."""

    def __init__(self, resources: Resources, folder: Path) -> None:
        self._resources = resources
        self.folder = folder
        self._writer = CorpusWriter()

    async def get(self, name: str, field: str = "name") -> corpora_pb2.Corpus:
        """A corpus without its sentences. Raises InvalidRequest or NotFound."""
        resource = await self._resources.get(checked_name(name, COLLECTION, field), field)
        return corpora_pb2.Corpus.FromString(resource.body)

    async def open(self, name: str, field: str = "corpus") -> Corpus:
        """A corpus to read from. Raises InvalidRequest, NotFound, or DigestMismatch when its files are not whole."""
        message = await self.get(name, field)
        try:
            corpus = await asyncio.to_thread(Corpus.open, self.folder / _directory(message))
        except BadData as error:
            if await self.get(name, field) != message:  # that one has been removed since
                return await self.open(name, field)
            raise DigestMismatch(f"the files of {name} are not whole", reason="DATA_LOST", field=field) from error
        if corpus.summary.digest != message.digest:
            raise DigestMismatch(f"the files of {name} are those of another", reason="DATA_LOST", field=field)
        return corpus

    async def list(self, size: int, token: str) -> corpora_pb2.ListCorporaResponse:
        """A page of corpora, ordered by name; fewer than asked for where they are large."""
        found, following = await self._resources.list(COLLECTION, size, token)
        corpora = [corpora_pb2.Corpus.FromString(resource.body) for resource in found]
        return corpora_pb2.ListCorporaResponse(corpora=corpora, next_page_token=following)

    async def sentences(self, name: str, size: int, token: str) -> corpora_pb2.ListCorpusSentencesResponse:
        """A page of sentences, in order; fewer than asked for where they are long."""
        corpus = await self.open(name)
        scope = f"{name} {corpus.summary.digest}"  # a token of a corpus that had this name before is refused
        start = int(last_seen(scope, token) or "0")
        try:
            page = await asyncio.to_thread(_page, corpus, start, size or _PAGE)
        except FileNotFoundError:  # removed since
            raise missing(name, "corpus") from None
        end = start + len(page)
        following = page_token(scope, str(end)) if end < len(corpus) else ""
        return corpora_pb2.ListCorpusSentencesResponse(sentences=page, next_page_token=following)

    async def delete(self, name: str, field: str = "name") -> None:
        """Removes a corpus, even when the caller is cancelled meanwhile. Raises InvalidRequest, NotFound, or
        Unsupported while an operation reads it."""
        checked_name(name, COLLECTION, field)

        async def deleted() -> None:
            resource = await self._resources.delete(name, field)
            directory = self.folder / _directory(corpora_pb2.Corpus.FromString(resource.body))
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

        await uninterrupted(deleted())

    async def earlier(self, new: NewCorpus, digest: str) -> corpora_pb2.Corpus | None:
        """What an equal request has made already. Raises AlreadyExists where another request had the same id."""
        resource = await self._resources.by_request(COLLECTION, new.request_id)
        if resource is None:
            return None
        if resource.request_digest != digest:
            text = f"request_id: {new.request_id!r} was given with another request, which made {resource.name!r}"
            raise AlreadyExists(text, reason="REQUEST_ID_REUSED", field="request_id")
        return corpora_pb2.Corpus.FromString(resource.body)

    async def check_free(self, new: NewCorpus) -> None:
        """Raises InvalidRequest for what is no id, AlreadyExists for one that is taken by another request."""
        name = f"{COLLECTION}/{resource_id(new.id, new.field)}"
        if not new.id or await self._resources.by_request(COLLECTION, new.request_id):
            return
        try:
            await self._resources.get(name, new.field)
        except NotFound:
            return
        raise AlreadyExists(f"{new.field}: {name!r} exists already", field=new.field)

    async def derive(
        self, new: NewCorpus, digest: str, choose: Callable[[Corpus], Iterator[Sentence]], passes: int = 1
    ) -> corpora_pb2.Corpus:
        """Makes a corpus of its source. `choose` can be pickled; it looks at every sentence `passes` times.

        Raises what `open`, `check_free`, `earlier` and `make` raise.
        """
        if earlier := await self.earlier(new, digest):
            return earlier
        await self.check_free(new)
        corpus = await self.open(new.source)
        chosen = partial(_chosen, choose, corpus, new.source)
        return await self.make(new, digest, chosen, corpus.summary.size_bytes * passes)

    async def make(
        self, new: NewCorpus, digest: str, sentences: Callable[[], Iterable[Sentence]], work_bytes: int
    ) -> corpora_pb2.Corpus:
        """Writes a corpus and keeps it. `digest` is that of the request; the rest is as in CorpusWriter.write.

        Raises:
            BadData: the sentences are wrong.
            AlreadyExists: the id was taken meanwhile.
            Exhausted: the disk is full, or it takes too much memory.
        """
        with disk_space():
            async with staging(self.folder) as directory:
                written = directory / "corpus"
                summary = await self._writer.write(sentences, written, work_bytes)
                return await uninterrupted(self._keep(new, digest, written, summary))

    async def sweep(self) -> None:
        """Removes what earlier servers have left behind."""
        try:
            swept = await sweep(self.folder, self._is_kept)
        except Exception as error:  # what is left behind is in nobody's way: the next start tries again
            _log.warning("not swept", folder=str(self.folder), exc_info=error)
            return
        if swept:
            _log.info("swept", folder=str(self.folder), directories=swept)

    async def _keep(self, new: NewCorpus, digest: str, written: Path, summary: CorpusSummary) -> corpora_pb2.Corpus:
        name, created = f"{COLLECTION}/{resource_id(new.id, new.field)}", datetime.now(UTC)
        message = corpus_message(name, created, summary, new.source)
        resource = Resource(name, message.SerializeToString(), created, new.request_id, digest)
        place = self.folder / _directory(message)
        with held(written):  # until there is a row: nobody may take it for left behind
            await asyncio.to_thread(_move, written, place)
            try:
                kept = await self._resources.create(resource)
            except AlreadyExists:
                await asyncio.to_thread(shutil.rmtree, place)
                raise
        if kept.body != resource.body:  # an equal request was faster
            await asyncio.to_thread(shutil.rmtree, place)
        return corpora_pb2.Corpus.FromString(kept.body)

    async def _is_kept(self, directory: str) -> bool:
        identifier, at, _ = directory.partition("@")
        if not at:
            return not _STAGING.fullmatch(directory)  # what is not ours stays
        with suppress(NotFound, InvalidRequest):
            return _directory(await self.get(f"{COLLECTION}/{identifier}")) == directory
        return False


def _directory(message: corpora_pb2.Corpus) -> str:
    """The name of a corpus' directory: no later corpus of the same name has it."""
    return f"{message.name.removeprefix(COLLECTION + '/')}@{message.create_time.ToMicroseconds()}"


def _move(directory: Path, place: Path) -> None:
    directory.rename(place)
    sync_directory(place.parent)


def _chosen(choose: Callable[[Corpus], Iterator[Sentence]], corpus: Corpus, name: str) -> Iterator[Sentence]:
    """What is chosen of a corpus. Raises NotFound, here or in a worker process, when that has been removed."""
    try:
        yield from choose(corpus)
    except FileNotFoundError:
        raise missing(name, "corpus") from None


def _page(corpus: Corpus, start: int, size: int) -> list[corpora_pb2.AnnotatedSentence]:
    messages: list[corpora_pb2.AnnotatedSentence] = []
    room = _PAGE_BYTES
    for sentence in corpus.sentences(start, start + size):
        message = sentence_message(sentence)
        room -= message.ByteSize()
        if messages and room < 0:
            break
        messages.append(message)
    return messages
