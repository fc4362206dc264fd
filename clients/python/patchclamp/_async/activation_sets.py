"""Activation sets on the server."""
# ruff: noqa: ASYNC109 (the timeout travels with the call, so that the server stops working too)

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from patchclamp._activation_sets import ActivationSet, ActivationStatistics, TokenFilter
from patchclamp._activations import AggregationName, aggregation_value
from patchclamp._async.connection import AsyncConnection
from patchclamp._async.operations import AsyncOperation
from patchclamp._async.streams import AsyncMessages
from patchclamp._corpora import Corpus
from patchclamp._corpus_sources import PathLike
from patchclamp._downloads import PartialFile
from patchclamp._exceptions import Unavailable
from patchclamp._intervention_lists import Interventions, flatten
from patchclamp._neurons import Neurons
from patchclamp._operations import result_reader
from patchclamp._progress import Progress, ProgressOption, Report, reporting
from patchclamp._resources import name_of, request_id_or_new
from patchclamp._status import status_errors
from patchclamp._tensors import DTypeName, dtype_value
from patchclamp._waiting import async_in_thread, async_sleep
from patchclamp.v1 import activations_pb2, activations_pb2_grpc

__all__ = ["AsyncActivationSets"]

PAUSE = 0.5


class AsyncActivationSets:
    """Files of activations that the server keeps: `client.activation_sets`.

    Wherever one is wanted, its name ("activationSets/dev-minilm") or an `ActivationSet` is accepted.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self,
        corpus: str | Corpus,
        sites: Sequence[str],
        *,
        id: str = "",
        model: str = "",
        aggregation: AggregationName | None = None,
        dtype: DTypeName = "float32",
        filter: TokenFilter | None = None,
        interventions: Interventions = (),
        intervention_sets: Sequence[str] = (),
        include_special_tokens: bool = False,
        request_id: str | None = None,
        progress: ProgressOption = False,
        timeout: float | None = None,
    ) -> AsyncOperation[ActivationSet]:
        """Begins to extract the activations of a corpus to a file on the server.

        >>> work = client.activation_sets.create("corpora/dev", ["layers.*.residual"], progress=True)  # doctest: +SKIP
        >>> dev = work.result()  # doctest: +SKIP

        Args:
            corpus: The corpus.
            sites: What to read; "layers.*.residual" stands for every layer.
            id: Id of the new set, the part after "activationSets/": lowercase letters, digits, '.', '_' and '-', up to
                63; empty: the server makes one.
            model: "models/minilm-l6"; empty: the server's default.
            aggregation: From subwords to rows, as in `client.extract`. None: "average" for words, "none" for text,
                "sentence_average" for pairs.
            dtype: Element type in the file.
            filter: Which rows to keep; None: all.
            interventions: Edits, the same for every sentence; as in `client.generate`.
            intervention_sets: Names of sets the server keeps, applied before `interventions`.
            include_special_tokens: With aggregation "none": rows of special tokens ([CLS], begin of text) too.
            request_id: Any string of your own, so that a second call with it and the same arguments gives the operation
                that the first began. None: one for this call, so that it can be tried again.
            progress: What waiting for the operation shows. True: a bar on standard error, if that is a terminal; or a
                function that gets a `Progress`.
            timeout: Seconds for this call, which does not wait for the work; None: the client's.

        Returns:
            The work under way: `result()` waits for the `ActivationSet`.
        """
        if isinstance(sites, str):
            raise TypeError(f"sites is the string {sites!r}; give a list: [{sites!r}]")
        request = activations_pb2.CreateActivationSetRequest(
            activation_set_id=id,
            corpus=name_of(corpus),
            model=model,
            sites=sites,
            aggregation=aggregation_value(aggregation),
            dtype=dtype_value(dtype),
            filter=filter.to_proto() if filter is not None else None,
            interventions=flatten(interventions),
            intervention_sets=intervention_sets,
            include_special_tokens=include_special_tokens,
            request_id=request_id_or_new(request_id),
        )
        with status_errors():
            message = await self._stub.CreateActivationSet(request, **self._connection.options(timeout))
        return AsyncOperation(self._connection, message, result_reader(ActivationSet), progress)

    async def get(self, name: str | ActivationSet, *, timeout: float | None = None) -> ActivationSet:
        """One activation set that is complete.

        Args:
            name: "activationSets/dev-minilm".
            timeout: Seconds for the call; None: the client's.
        """
        request = activations_pb2.GetActivationSetRequest(name=name_of(name))
        with status_errors():
            message = await self._stub.GetActivationSet(request, **self._connection.options(timeout))
        return ActivationSet.from_proto(message)

    async def list(self, *, timeout: float | None = None) -> tuple[ActivationSet, ...]:
        """The activation sets that are complete, ordered by name.

        Args:
            timeout: Seconds for each page of them; None: the client's.
        """
        found: tuple[ActivationSet, ...] = ()
        request = activations_pb2.ListActivationSetsRequest()
        while True:
            with status_errors():
                response = await self._stub.ListActivationSets(request, **self._connection.options(timeout))
            found += tuple(map(ActivationSet.from_proto, response.activation_sets))
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def delete(self, activation_set: str | ActivationSet, *, timeout: float | None = None) -> None:
        """Removes an activation set.

        Args:
            activation_set: The set.
            timeout: Seconds for the call; None: the client's.

        Raises:
            FailedPrecondition: An operation is reading it.
        """
        request = activations_pb2.DeleteActivationSetRequest(name=name_of(activation_set))
        with status_errors():
            await self._stub.DeleteActivationSet(request, **self._connection.options(timeout))

    async def statistics(
        self,
        activation_set: str | ActivationSet,
        neurons: str | Neurons,
        *,
        layer: str = "",
        label: str = "",
        timeout: float | None = None,
    ) -> ActivationStatistics:
        """Mean, variance and range of neurons over the rows of a set, or over those of one label.

        Args:
            activation_set: The set.
            neurons: "layers.3.residual[17,40]"; without indices: the whole site.
            layer: The layer of labels; may be left out where one layer only has the label.
            label: Only over rows of this label; empty: over all.
            timeout: Seconds for the call; None: the client's.
        """
        request = activations_pb2.GetActivationStatisticsRequest(
            activation_set=name_of(activation_set), neurons=Neurons.of(neurons).to_proto(), layer=layer, label=label
        )
        with status_errors():
            message = await self._stub.GetActivationStatistics(request, **self._connection.options(timeout))
        return ActivationStatistics.from_proto(message)

    async def download(
        self,
        activation_set: str | ActivationSet,
        path: PathLike,
        *,
        overwrite: bool = False,
        progress: ProgressOption = False,
        timeout: float = math.inf,
    ) -> Path:
        """Fetches the file of a set, for `ActivationSetFile`.

        It appears under its name once it is complete and its checksum is right. What has come of it waits in
        `path`.partial; after an interruption the same call goes on from there.

        Args:
            activation_set: The set.
            path: Where to; in a folder it gets the set's id for a name.
            overwrite: Replace a file that is there already, once the new one is whole.
            progress: True: a bar on standard error, if that is a terminal; or a function that gets a `Progress`.
            timeout: Seconds for each try; by default as long as it takes.

        Returns:
            The path of the file.

        Raises:
            DataLoss: The checksum is wrong; nothing is kept.
            FileExistsError: A file is there already.
        """
        found = await self.get(name_of(activation_set))
        file = await async_in_thread(PartialFile, found, Path(path), overwrite=overwrite)
        try:
            with reporting(progress) as report:
                await self._fetch(found.name, file, report, timeout)
            return await async_in_thread(file.finish)
        finally:
            file.close()

    async def _fetch(self, name: str, file: PartialFile, report: Report, timeout: float) -> None:
        """Fetches the rest; when the server goes away in the middle, from there on again."""
        while True:
            begun = file.offset
            request = activations_pb2.DownloadActivationSetRequest(name=name, offset=file.offset)
            call = self._stub.DownloadActivationSet(request, **self._connection.options(timeout))
            try:
                async with AsyncMessages(call) as chunks:
                    async for chunk in chunks:
                        await async_in_thread(file.write, chunk)
                        report(Progress("downloading", file.offset, file.size_bytes, "bytes"))
                return
            except Unavailable:
                if file.offset == begun:  # gRPC has tried again
                    raise
            await async_sleep(PAUSE)

    @cached_property
    def _stub(self) -> activations_pb2_grpc.ActivationServiceAsyncStub:
        return activations_pb2_grpc.ActivationServiceStub(self._connection.channel)
