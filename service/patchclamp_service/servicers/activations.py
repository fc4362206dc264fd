"""ActivationService: activations of sentences, streamed as they are computed, and those of corpora, kept in files."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from patchclamp.v1 import activations_pb2, activations_pb2_grpc

from patchclamp_service.activations.activation_sets import ActivationSets
from patchclamp_service.activations.set_labels import found_label, found_site, picked
from patchclamp_service.registry import Registry
from patchclamp_service.servicers.set_creation import SetCreation
from patchclamp_service.wire.edits import Edits
from patchclamp_service.wire.extraction import extract_request, extract_responses
from patchclamp_service.wire.interventions import refuse_sets
from patchclamp_service.wire.tensors import tensor

__all__ = ["ActivationServicer"]


class ActivationServicer(activations_pb2_grpc.ActivationServiceServicer):
    """Hands extractions to the engines; cuts what comes back into messages of about `chunk_bytes`."""

    def __init__(
        self, registry: Registry, edits: Edits, sets: ActivationSets, creation: SetCreation, chunk_bytes: int
    ) -> None:
        self._registry = registry
        self._edits = edits
        self._sets = sets
        self._creation = creation
        self._chunk_bytes = chunk_bytes

    async def ExtractActivations(
        self, request: activations_pb2.ExtractActivationsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[activations_pb2.ExtractActivationsResponse]:
        """Sentence by sentence, in the order of the request."""
        engine = self._registry.resolve(request.model)
        refuse_sets(request.intervention_sets)
        edits = await self._edits.of(request.interventions, engine.info)
        async with aclosing(await engine.submit(extract_request(request, edits))) as events:
            async for event in events:
                for message in extract_responses(event, engine.info.digest, self._chunk_bytes):
                    yield message

    async def CreateActivationSet(
        self, request: activations_pb2.CreateActivationSetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> operations_pb2.Operation:
        """An operation that extracts a corpus."""
        return await self._creation.start(request)

    async def GetActivationSet(
        self, request: activations_pb2.GetActivationSetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> activations_pb2.ActivationSet:
        """One set."""
        return await self._sets.get(request.name)

    async def ListActivationSets(
        self, request: activations_pb2.ListActivationSetsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> activations_pb2.ListActivationSetsResponse:
        """A page of sets."""
        found, following = await self._sets.list(request.page_size, request.page_token)
        return activations_pb2.ListActivationSetsResponse(activation_sets=found, next_page_token=following)

    async def DeleteActivationSet(
        self, request: activations_pb2.DeleteActivationSetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> empty_pb2.Empty:
        """Row and file."""
        await self._sets.delete(request.name)
        return empty_pb2.Empty()

    async def DownloadActivationSet(
        self, request: activations_pb2.DownloadActivationSetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[activations_pb2.FileChunk]:
        """The bytes of the file from an offset on; size and digest with the first."""
        described, chunks = await self._sets.chunks(request.name, request.offset)
        message = activations_pb2.FileChunk(total_bytes=described.size_bytes, sha256=described.sha256)
        async with aclosing(chunks):
            async for message.offset, message.data in chunks:
                yield message
                message = activations_pb2.FileChunk()

    async def GetActivationStatistics(
        self, request: activations_pb2.GetActivationStatisticsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> activations_pb2.ActivationStatistics:
        """Of some neurons, over all rows or those of a label."""
        measures = await self._sets.measures(request.activation_set)
        site = found_site(measures.description, request.neurons.site, None, "neurons.site")
        label = found_label(measures.description, request.label, "label", request.layer)
        found = await measures.of(site, *label)
        values = (found.mean, found.variance, found.minimum, found.maximum)
        parts = [tensor(picked(part, request.neurons.indices, site, "neurons.indices")) for part in values]
        return activations_pb2.ActivationStatistics(
            count=found.count, mean=parts[0], variance=parts[1], min=parts[2], max=parts[3]
        )
