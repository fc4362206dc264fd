"""Corpora on the server."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from functools import cached_property

from patchclamp._async.connection import AsyncConnection
from patchclamp._client_streams import async_answer_to
from patchclamp._corpora import AnnotatedSentence, Corpus
from patchclamp._corpus_sources import CorpusSource
from patchclamp._exceptions import StatusError, Unavailable
from patchclamp._generation import check_counts
from patchclamp._progress import Progress, ProgressOption, Report, reporting
from patchclamp._resources import name_of, request_id_or_new
from patchclamp._rule_notation import parse
from patchclamp._rules import Rule
from patchclamp._status import status_errors
from patchclamp._uploads import Upload
from patchclamp._waiting import async_in_thread, async_sleep
from patchclamp.v1 import corpora_pb2, corpora_pb2_grpc

__all__ = ["AsyncCorpora"]

# What gRPC itself keeps of a stream, to send it again; further on it gives up.
RETRIED_BYTES = 256 << 10
PAUSE = 0.5


class AsyncCorpora:
    """Annotated text that the server keeps: `client.corpora`.

    A corpus does not change once it is there; annotating and sampling make new ones. Wherever one is wanted, its name
    ("corpora/ud-ewt-dev") or a `Corpus` is accepted. `id` is the part after "corpora/": lowercase letters, digits, '.',
    '_' and '-', up to 63; empty: the server makes one.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def upload(
        self,
        source: CorpusSource,
        *,
        id: str = "",
        no_label: str = "",
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float = math.inf,
    ) -> Corpus:
        """Stores a corpus: all of it, or nothing.

        >>> client.corpora.upload(CorpusSource.conllu("dev.conllu", {"upos": 4}), id="ud-dev")  # doctest: +SKIP

        Args:
            source: `CorpusSource.text`, `.lines`, `.conllu`, `.tsv`, `.jsonl`, `.sentences`, `.from_pandas` or
                `.from_dataset`. What is wrong in it raises `InvalidArgument` with file, line and column.
            id: Id of the new corpus.
            no_label: A label that stands for none ("_", "O").
            request_id: Any string of your own, so that a second call with it and the same source gives the corpus that
                the first made. None: one for this call, so that it can be tried again when the server goes away.
            progress: True: a bar on standard error, if that is a terminal; or a function that gets a `Progress`.
            timeout: Seconds for each try; by default as long as it takes.
        """
        upload = await async_in_thread(
            Upload, source, corpus_id=id, no_label=no_label, request_id=request_id_or_new(request_id)
        )
        try:
            with reporting(progress) as report:
                return await self._send(upload, report, timeout)
        finally:
            upload.close()

    async def annotate(
        self,
        corpus: str | Corpus,
        rules: Sequence[Rule | str],
        *,
        id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Corpus:
        """Makes a corpus with further labels, from rules.

        Args:
            corpus: The corpus to start from.
            rules: Those of `patchclamp.rules`, or their notation ("kind=number:regex:[0-9]+"), in the order they are
                tried: of the rules of a layer, the first that fits a word wins.
            id: Id of the new corpus.
            request_id: As in `upload`.
            timeout: Seconds for the call; None: the client's.
        """
        if isinstance(rules, str):
            raise TypeError(f"rules is the string {rules!r}; give a list: [{rules!r}]")
        request = corpora_pb2.AnnotateCorpusRequest(
            corpus=name_of(corpus),
            corpus_id=id,
            rules=[(parse(rule) if isinstance(rule, str) else rule).to_proto() for rule in rules],
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            return Corpus.from_proto(await self._stub.AnnotateCorpus(request, **self._connection.options(timeout)))

    async def sample_balanced(
        self,
        corpus: str | Corpus,
        layer: str,
        *,
        per_label: int = 0,
        labels: Sequence[str] = (),
        seed: int = 0,
        id: str = "",
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Corpus:
        """Makes a corpus with the same number of each label.

        Sentences are kept whole; labels beyond the number are taken off.

        Args:
            corpus: The corpus to take from.
            layer: The layer of labels.
            per_label: How many of each label; 0: as many as the rarest has.
            labels: Only these labels; none: all.
            seed: Seed of the choice; the same seed, the same sentences.
            id: Id of the new corpus.
            request_id: As in `upload`.
            timeout: Seconds for the call; None: the client's.
        """
        check_counts(per_label=per_label, seed=seed)
        request = corpora_pb2.SampleCorpusRequest(
            corpus=name_of(corpus),
            corpus_id=id,
            balanced=corpora_pb2.Balanced(layer=layer, per_label=per_label, labels=labels),
            seed=seed,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            return Corpus.from_proto(await self._stub.SampleCorpus(request, **self._connection.options(timeout)))

    async def split(
        self,
        corpus: str | Corpus,
        fractions: Sequence[float],
        *,
        seed: int = 0,
        ids: Sequence[str] = (),
        timeout: float | None = None,
    ) -> tuple[Corpus, ...]:
        """Makes a corpus of each part of a split by sentences; the parts have no sentence in common.

        >>> train, dev, test = client.corpora.split("corpora/ud", [0.8, 0.1, 0.1])  # doctest: +SKIP

        Args:
            corpus: The corpus to deal out.
            fractions: Shares of the parts, adding up to 1 at most; a rest is left out.
            seed: Seed of the deal; the same seed and fractions, the same parts.
            ids: Ids of the new corpora, one a part; none: the server makes them.
            timeout: Seconds for each part; None: the client's.

        Raises:
            StatusError: A part was refused; those before it are there.
        """
        check_counts(seed=seed)
        names = list(ids) or [""] * len(fractions)
        if len(names) != len(fractions):
            raise ValueError(f"{len(names)} ids are given for {len(fractions)} parts")
        parts = []
        for number, name in enumerate(names):
            request = corpora_pb2.SampleCorpusRequest(
                corpus=name_of(corpus),
                corpus_id=name,
                split=corpora_pb2.Split(fractions=fractions, part=number),
                seed=seed,
                request_id=request_id_or_new(None),
            )
            with status_errors():
                part = await self._stub.SampleCorpus(request, **self._connection.options(timeout))
            parts.append(Corpus.from_proto(part))
        return tuple(parts)

    async def get(self, name: str | Corpus, *, timeout: float | None = None) -> Corpus:
        """One corpus, without its sentences.

        Args:
            name: "corpora/ud-ewt-dev".
            timeout: Seconds for the call; None: the client's.
        """
        request = corpora_pb2.GetCorpusRequest(name=name_of(name))
        with status_errors():
            return Corpus.from_proto(await self._stub.GetCorpus(request, **self._connection.options(timeout)))

    async def list(self, *, timeout: float | None = None) -> tuple[Corpus, ...]:
        """All corpora, ordered by name.

        Args:
            timeout: Seconds for each page of them; None: the client's.
        """
        found: tuple[Corpus, ...] = ()
        request = corpora_pb2.ListCorporaRequest()
        while True:
            with status_errors():
                response = await self._stub.ListCorpora(request, **self._connection.options(timeout))
            found += tuple(map(Corpus.from_proto, response.corpora))
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def sentences(
        self, corpus: str | Corpus, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncIterator[AnnotatedSentence]:
        """The sentences of a corpus with their labels, in order; fetched page by page.

        Args:
            corpus: The corpus.
            page_size: How many to fetch at once, up to 1000; 0: 100.
            timeout: Seconds for each page; None: the client's.
        """
        check_counts(page_size=page_size)
        request = corpora_pb2.ListCorpusSentencesRequest(corpus=name_of(corpus), page_size=page_size)
        while True:
            with status_errors():
                response = await self._stub.ListCorpusSentences(request, **self._connection.options(timeout))
            for sentence in response.sentences:
                yield AnnotatedSentence.from_proto(sentence)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def delete(self, corpus: str | Corpus, *, timeout: float | None = None) -> None:
        """Removes a corpus; activation sets made from it stay.

        Args:
            corpus: The corpus.
            timeout: Seconds for the call; None: the client's.

        Raises:
            FailedPrecondition: An operation is reading it.
        """
        request = corpora_pb2.DeleteCorpusRequest(name=name_of(corpus))
        with status_errors():
            await self._stub.DeleteCorpus(request, **self._connection.options(timeout))

    async def _send(self, upload: Upload, report: Report, timeout: float) -> Corpus:
        """Sends; again when the server goes away in the middle, too far on for gRPC's own retries."""
        tries = self._connection.retries
        while True:
            try:
                with status_errors():
                    messages = self._messages(upload, report)
                    options = self._connection.options(timeout)
                    response = await async_answer_to(self._stub.UploadCorpus, messages, options)
            except StatusError as error:
                again = isinstance(error, Unavailable) and tries and upload.sent_bytes > RETRIED_BYTES
                if not again and upload.failure is None:
                    raise
            else:
                if upload.failure is None:
                    return Corpus.from_proto(response)
            if upload.failure is not None:
                raise upload.failure
            tries -= 1
            await async_sleep(PAUSE)

    async def _messages(self, upload: Upload, report: Report) -> AsyncIterator[corpora_pb2.UploadCorpusRequest]:
        """What is sent. Ends where reading fails: gRPC would hide the error, and the server refuses half an upload."""
        try:
            messages = upload.messages()
            while (message := await async_in_thread(next, messages, None)) is not None:
                report(Progress("uploading", upload.sent_bytes, upload.size_bytes, "bytes"))
                yield message
        except Exception as error:
            upload.failure = error

    @cached_property
    def _stub(self) -> corpora_pb2_grpc.CorpusServiceAsyncStub:
        return corpora_pb2_grpc.CorpusServiceStub(self._connection.channel)
