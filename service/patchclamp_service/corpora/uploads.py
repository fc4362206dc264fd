"""Uploads of corpora: bytes go to files on the disk first, whole and checked, and are read from there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

from patchclamp.v1 import corpora_pb2
from patchclamp_analysis.corpora.files import Column, CorpusFiles, Source
from patchclamp_analysis.errors import BadData

from patchclamp_service.corpora.corpora import Corpora, NewCorpus
from patchclamp_service.corpora.messages import FORMATS, LEVELS
from patchclamp_service.engine.errors import DigestMismatch, Exhausted, InvalidRequest
from patchclamp_service.jobs.own_thread import OwnThread
from patchclamp_service.store.resources import checked_request_id
from patchclamp_service.store.staging import disk_space, staging

__all__ = ["CorpusUploads"]

Parts = AsyncIterator[corpora_pb2.UploadCorpusRequest]

_WRITE_BYTES = 1 << 20
# What would break a line of an error that names the file.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class CorpusUploads:
    """Takes uploads. What breaks off leaves nothing behind."""

    def __init__(self, corpora: Corpora, most_bytes: int) -> None:
        self._corpora = corpora
        self._most_bytes = most_bytes

    async def take(self, parts: Parts) -> corpora_pb2.Corpus:
        """Stores the corpus that an upload brings.

        Raises:
            InvalidRequest: the header makes no sense, the parts do not follow it, or something in a file is wrong.
            DigestMismatch: a file's bytes are not those that the header promises.
            AlreadyExists: the id, or the request's id, is taken.
            Exhausted: it is too large, or the disk is full.
        """
        header = await _header(parts)
        new = NewCorpus(header.corpus_id, "header.corpus_id", checked_request_id(header.request_id))
        _check_names(header)
        files = _files(header, Path())
        _check_layout(files)
        self._check_size(sum(file.size_bytes for file in header.files))
        await self._corpora.check_free(new)
        with disk_space():
            async with staging(self._corpora.folder) as directory:
                digest, size = await self._receive(parts, header, directory)
                if earlier := await self._corpora.earlier(new, digest):
                    return earlier
                try:
                    return await self._corpora.make(new, digest, _files(header, directory).read, size)
                except BadData as error:
                    raise InvalidRequest(str(error), reason="BAD_DATA", field=_field(error, header)) from error

    async def _receive(self, parts: Parts, header: corpora_pb2.CorpusHeader, directory: Path) -> tuple[str, int]:
        """Writes the files; returns the digest of header and bytes, and how many bytes there are."""
        whole = hashlib.sha256(header.SerializeToString(deterministic=True))
        last = size = 0
        async with OwnThread("patchclamp-upload") as thread:
            incoming = [
                _Incoming(file, f"header.files[{i}]", directory / str(i)) for i, file in enumerate(header.files)
            ]
            async for part in parts:
                chunk = _chunk(part, last, len(incoming))
                last, size = chunk.file, size + len(chunk.data)
                self._check_size(size)
                if incoming[last].take(chunk.data):
                    await thread.run(incoming[last].write)
            for file in incoming:
                await thread.run(file.write)
                file.check()
                whole.update(file.digest.digest())
        return whole.hexdigest(), size

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            text = f"the files have {size} bytes so far; the limit corpus_bytes is {self._most_bytes}"
            raise Exhausted(text, reason="CORPUS_TOO_LARGE", quota="corpus_bytes")


class _Incoming:
    """A file that arrives piece by piece."""

    def __init__(self, promised: corpora_pb2.CorpusFile, field: str, path: Path) -> None:
        self._promised = promised
        self._field = field
        self._path = path
        self._size = 0
        self._waiting = bytearray()
        self.digest = hashlib.sha256()

    def take(self, data: bytes) -> bool:
        """Adds bytes; whether it is time to `write` them. Raises DigestMismatch for more than was promised."""
        self._size += len(data)
        if self._promised.size_bytes and self._size > self._promised.size_bytes:
            raise self._mismatch("size_bytes", f"has more than the {self._promised.size_bytes} bytes promised")
        self._waiting += data
        return len(self._waiting) >= _WRITE_BYTES

    def write(self) -> None:
        """Writes what waits; blocks."""
        with self._path.open("ab") as file:
            file.write(self._waiting)
        self.digest.update(self._waiting)
        self._waiting.clear()

    def check(self) -> None:
        """Raises DigestMismatch unless all that was promised is there. A size or checksum not given is not checked."""
        if self._promised.size_bytes and self._size != self._promised.size_bytes:
            text = f"has {self._size} bytes instead of the {self._promised.size_bytes} promised"
            raise self._mismatch("size_bytes", text)
        found = self.digest.hexdigest()
        if self._promised.sha256 and found != self._promised.sha256:
            raise self._mismatch("sha256", f"has the SHA-256 {found} instead of {self._promised.sha256}")

    def _mismatch(self, what: str, text: str) -> DigestMismatch:
        return DigestMismatch(f"{self._promised.name} {text}", reason="UPLOAD_MISMATCH", field=f"{self._field}.{what}")


async def _header(parts: Parts) -> corpora_pb2.CorpusHeader:
    async for part in parts:
        if part.HasField("header"):
            return part.header
        break
    raise InvalidRequest("header: the first message must be the header", reason="NO_HEADER", field="header")


def _chunk(part: corpora_pb2.UploadCorpusRequest, last: int, files: int) -> corpora_pb2.CorpusChunk:
    if not part.HasField("chunk"):
        raise InvalidRequest("header: there is one already", reason="SECOND_HEADER", field="header")
    if part.chunk.file >= files:
        text = f"chunk.file: {part.chunk.file} is out of range: the header has {files} files, 0 to {files - 1}"
        raise InvalidRequest(text, reason="BAD_CHUNK", field="chunk.file")
    if part.chunk.file < last:
        text = f"chunk.file: {part.chunk.file} comes after {last}; files come in the header's order"
        raise InvalidRequest(text, reason="BAD_CHUNK", field="chunk.file")
    return part.chunk


def _check_names(header: corpora_pb2.CorpusHeader) -> None:
    for i, file in enumerate(header.files):
        if _CONTROL.search(file.name):
            field = f"header.files[{i}].name"
            text = f"{field}: {file.name!r} holds a control character, such as a line feed"
            raise InvalidRequest(text, reason="INVALID_FILE_NAME", field=field)


def _files(header: corpora_pb2.CorpusHeader, directory: Path) -> CorpusFiles:
    return CorpusFiles(
        FORMATS[header.format],
        [
            Source(file.name, directory / str(i), file.layer, LEVELS.get(file.level))
            for i, file in enumerate(header.files)
        ],
        [Column(column.column, column.layer, column.key) for column in header.columns],
        header.word_column,
        header.no_label,
    )


def _check_layout(files: CorpusFiles) -> None:
    try:
        files.check()
    except BadData as error:
        field = f"header.{error.where.replace('sources', 'files', 1)}"
        raise InvalidRequest(f"{field}: {error.message}", reason="BAD_LAYOUT", field=field) from error


def _field(error: BadData, header: corpora_pb2.CorpusHeader) -> str:
    """The file that an error names."""
    for i, file in enumerate(header.files):
        if error.where == file.name or error.where.startswith(f"{file.name}, line "):
            return f"header.files[{i}]"
    return "header.files"
