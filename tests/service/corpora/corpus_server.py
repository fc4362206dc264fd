"""A server with corpora on a real port, for the tests of uploads and of what becomes of them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from patchclamp.v1 import corpora_pb2 as v1
from patchclamp.v1 import corpora_pb2_grpc
from patchclamp_service.library import Library
from patchclamp_service.metrics import Metrics
from patchclamp_service.registry import Registry
from patchclamp_service.server import assemble
from patchclamp_service.settings import load_settings

from tests.service.work import METHOD, Work

WORDS, POS, MOOD = b"Neurons fire\nagain\nAnd again\n", b"NOUN VERB\nADV\n_ ADV\n", b"calm\n\ncalm\n"
LINES, TSV, JSONL, TEXT = (
    v1.CORPUS_FORMAT_LINES,
    v1.CORPUS_FORMAT_TSV,
    v1.CORPUS_FORMAT_JSONL,
    v1.CORPUS_FORMAT_TEXT,
)
SENTENCE = v1.LABEL_LEVEL_SENTENCE


@dataclass(frozen=True)
class Running:
    """A server in this process, a stub that talks to it, and what is behind it."""

    stub: Any
    library: Library
    work: Work

    @property
    def folder(self) -> Path:
        return self.library.corpora.folder

    def directories(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []


@asynccontextmanager
async def running(data_dir: Path, **flags: Any) -> AsyncIterator[Running]:
    settings = load_settings({"models": ["a"], "listen": "127.0.0.1:0", "data_dir": data_dir} | flags)
    library, work = Library.open(settings), Work()
    library.jobs.register(METHOD, v1.Corpus, work.run)  # type: ignore[arg-type]
    await library.jobs.resume()
    server = assemble(settings, Registry(), library, Metrics())
    await server.grpc.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Running(corpora_pb2_grpc.CorpusServiceStub(channel), library, work)
    await server.drain(0)
    library.close()


def file(name: str, data: bytes, layer: str = "", **options: Any) -> tuple[v1.CorpusFile, bytes]:
    checked: dict[str, Any] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | options
    return v1.CorpusFile(name=name, layer=layer, **checked), data


def parts(
    form: int, files: Sequence[tuple[v1.CorpusFile, bytes]], chunk: int = 0, **header: Any
) -> Iterator[v1.UploadCorpusRequest]:
    """An upload in chunks of so many bytes; 0: five chunks a file."""
    described = v1.CorpusHeader(format=form, files=[file for file, _ in files], **header)  # type: ignore[arg-type]
    yield v1.UploadCorpusRequest(header=described)
    for i, (_, data) in enumerate(files):
        step = chunk or len(data) // 5 + 1
        for start in range(0, len(data), step):
            yield v1.UploadCorpusRequest(chunk=v1.CorpusChunk(file=i, data=data[start : start + step]))


def rule(layer: str, label: str, **test: Any) -> v1.AnnotationRule:
    return v1.AnnotationRule(layer=layer, label=label, **test)


FILES = (file("w", WORDS), file("pos", POS, "pos"), file("mood", MOOD, "mood", level=SENTENCE))


async def stored(server: Running, corpus_id: str, files: Any = FILES, form: int = LINES, **header: Any) -> v1.Corpus:
    corpus = await server.stub.UploadCorpus(parts(form, files, corpus_id=corpus_id, **header))
    assert isinstance(corpus, v1.Corpus)
    return corpus


async def refused(call: Any) -> tuple[str, str, str, str]:
    """Code, reason, field and text with which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error: Any = caught.value
    info = error_details_pb2.ErrorInfo()
    details = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details
    assert details[0].Unpack(info)
    return error.code().name, info.reason, info.metadata.get("field", ""), error.details()


async def sentences(server: Running, name: str, size: int = 0) -> list[v1.AnnotatedSentence]:
    found: list[v1.AnnotatedSentence] = []
    token = ""
    while True:
        request = v1.ListCorpusSentencesRequest(corpus=name, page_size=size, page_token=token)
        page = await server.stub.ListCorpusSentences(request)
        assert not size or len(page.sentences) <= size
        found += page.sentences
        token = page.next_page_token
        if not token:
            return found
