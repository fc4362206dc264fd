"""Uploads: files measured first, then sent in chunks."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import IO

from patchclamp._corpus_sources import CorpusSource, SourceFile
from patchclamp.v1 import corpora_pb2

__all__ = ["CHUNK_BYTES", "Upload", "pieces_of", "sha256_of"]

CHUNK_BYTES = 256 << 10


class Upload:
    """A source with sizes and checksums; can be sent more than once. Holds its files open until it is closed.

    Attributes:
        header: What goes first.
        size_bytes: What follows.
        sent_bytes: What of that has been taken to be sent.
        failure: Why nothing more could be taken; None: nothing went wrong.
    """

    def __init__(self, source: CorpusSource, *, corpus_id: str, no_label: str, request_id: str) -> None:
        if not isinstance(source, CorpusSource):
            raise TypeError(
                f"source is of type {type(source).__name__}; give a CorpusSource: CorpusSource.text(path) for running "
                "text, CorpusSource.lines(path) for words separated by blanks"
            )
        self.header = corpora_pb2.CorpusHeader(
            corpus_id=corpus_id,
            format=source.format,
            word_column=source.word_column,
            request_id=request_id,
            no_label=no_label,
        )
        for layer, column in source.columns.items():
            number, key = column if isinstance(column, tuple) else (column, "")
            self.header.columns.add(column=number, layer=layer, key=key)
        self._files: list[IO[bytes]] = []
        self._reading = Lock()
        with ExitStack() as opened:
            for file in source.files:
                self._add(file, opened)
            self._opened = opened.pop_all()
        self.size_bytes = sum(file.size_bytes for file in self.header.files)
        self.sent_bytes = 0
        self.failure: Exception | None = None

    def close(self) -> None:
        """Lets go of the files."""
        self._opened.close()

    def messages(self) -> Iterator[corpora_pb2.UploadCorpusRequest]:
        """All that is sent, from the header on."""
        sent = self.sent_bytes = 0
        yield corpora_pb2.UploadCorpusRequest(header=self.header)
        for number, file in enumerate(self._files):
            place = 0
            while data := self._read(file, place):
                place += len(data)
                sent = self.sent_bytes = sent + len(data)
                yield corpora_pb2.UploadCorpusRequest(chunk=corpora_pb2.CorpusChunk(file=number, data=data))

    def _read(self, file: IO[bytes], place: int) -> bytes:
        # A try that has failed may still be reading, in a thread of gRPC's.
        with self._reading:
            file.seek(place)
            return file.read(CHUNK_BYTES)

    def _add(self, source: SourceFile, opened: ExitStack) -> None:
        """Reads a file through, for its size and its checksum; what cannot be read twice is kept meanwhile."""
        if isinstance(source.content, Path):
            file: IO[bytes] = opened.enter_context(source.content.open("rb"))
            if not source.content.is_file():
                file = _kept(pieces_of(file), opened)
        else:
            file = _kept(source.content, opened)
        self._files.append(file)
        self.header.files.add(
            name=source.name,
            layer=source.layer,
            level=source.level,
            sha256=sha256_of(file),
            size_bytes=file.tell(),
        )


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file, piece by piece."""
    while data := file.read(CHUNK_BYTES):
        yield data


def sha256_of(file: IO[bytes]) -> str:
    """SHA-256 (lowercase hex) of a file from its beginning; leaves it at its end."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _kept(pieces: Iterable[bytes], opened: ExitStack) -> IO[bytes]:
    """A temporary file of them."""
    file = opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    file.writelines(pieces)
    return file
