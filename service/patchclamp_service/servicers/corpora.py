"""CorpusService: annotated text."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from patchclamp.v1 import corpora_pb2, corpora_pb2_grpc
from patchclamp_analysis.errors import BadData

from patchclamp_service.corpora.corpora import Corpora, NewCorpus
from patchclamp_service.corpora.messages import annotated, sampled
from patchclamp_service.corpora.uploads import CorpusUploads
from patchclamp_service.engine.errors import InvalidRequest

__all__ = ["CorpusServicer"]


class CorpusServicer(corpora_pb2_grpc.CorpusServiceServicer):
    """Answers from the corpora that are kept, and has new ones made."""

    def __init__(self, corpora: Corpora, most_bytes: int) -> None:
        self._corpora = corpora
        self._uploads = CorpusUploads(corpora, most_bytes)

    async def UploadCorpus(
        self,
        request_iterator: AsyncIterator[corpora_pb2.UploadCorpusRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> corpora_pb2.Corpus:
        """The header, then the files' bytes; answered when all of it is stored."""
        return await self._uploads.take(request_iterator)

    async def AnnotateCorpus(
        self, request: corpora_pb2.AnnotateCorpusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> corpora_pb2.Corpus:
        """A corpus with further labels."""
        new = NewCorpus(request.corpus_id, "corpus_id", request.request_id, request.corpus)
        try:
            choose = partial(annotated, request)
            return await self._corpora.derive(new, _digest(request), choose, passes=len(request.rules))
        except BadData as error:
            field = error.where if error.where.startswith("rules") else "rules"
            raise InvalidRequest(str(error), reason="BAD_RULE", field=field) from error

    async def SampleCorpus(
        self, request: corpora_pb2.SampleCorpusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> corpora_pb2.Corpus:
        """A corpus of some sentences of another."""
        new = NewCorpus(request.corpus_id, "corpus_id", request.request_id, request.corpus)
        try:
            return await self._corpora.derive(new, _digest(request), partial(sampled, request))
        except BadData as error:
            field = f"{request.WhichOneof('method')}.{error.where}"
            raise InvalidRequest(f"{field}: {error.message}", reason="BAD_SAMPLE", field=field) from error

    async def GetCorpus(
        self, request: corpora_pb2.GetCorpusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> corpora_pb2.Corpus:
        """One corpus, without its sentences."""
        return await self._corpora.get(request.name)

    async def ListCorpora(
        self, request: corpora_pb2.ListCorporaRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> corpora_pb2.ListCorporaResponse:
        """A page of corpora, ordered by name."""
        return await self._corpora.list(request.page_size, request.page_token)

    async def ListCorpusSentences(
        self, request: corpora_pb2.ListCorpusSentencesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> corpora_pb2.ListCorpusSentencesResponse:
        """A page of sentences."""
        return await self._corpora.sentences(request.corpus, request.page_size, request.page_token)

    async def DeleteCorpus(
        self, request: corpora_pb2.DeleteCorpusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Removes a corpus."""
        await self._corpora.delete(request.name)
        return empty_pb2.Empty()


def _digest(request: Message) -> str:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
