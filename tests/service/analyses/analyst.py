"""Stubs of AnalysisService, and the data that its tests ask about."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import struct_pb2
from google.rpc import code_pb2
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp.v1 import analysis_pb2_grpc

from tests.service.activations.test_activation_sets import Client
from tests.service.work import metadata

__all__ = ["ENDLESS", "LLAMA", "SENTENCES", "SET", "TAGS", "Analyst", "struct"]

LLAMA = "models/tiny-llama"
SET = "activationSets/words"
SENTENCES = [["the", "nurse", "said"], ["she", "was", "late"], ["the", "doctor", "was", "busy"], ["he", "said"]] * 12
TAGS = [["DET", "NOUN", "VERB"], ["PRON", "VERB", "ADJ"], ["DET", "NOUN", "VERB", "ADJ"], ["PRON", "VERB"]] * 12
# A probe that would train for hours.
ENDLESS = {"epochs": 100_000, "dev_share": 0, "batch": 1}


class Analyst(Client):
    """Stubs of one server, and what the tests ask of it."""

    @property
    def analysis(self) -> Any:
        return analysis_pb2_grpc.AnalysisServiceStub(self.channel)

    async def rank(self, method: str = "probeless", parameters: Any = None, **fields: Any) -> Any:
        own = {"activation_set": SET, "label": "upos", "method": method, "parameters": struct(parameters)}
        given: dict[str, Any] = own | fields
        return await self.analysis.RankNeurons(v1.RankNeuronsRequest(**given))

    async def ranked(self, *arguments: Any, **fields: Any) -> Any:
        return self.result(await self.ended(await self.rank(*arguments, **fields)), v1.Ranking)

    async def train(self, parameters: Any = None, **fields: Any) -> Any:
        own = {"activation_set": SET, "label": "upos", "parameters": struct(parameters)}
        given: dict[str, Any] = own | fields
        return await self.analysis.TrainProbe(v1.TrainProbeRequest(**given))

    async def trained(self, *arguments: Any, **fields: Any) -> Any:
        return self.result(await self.ended(await self.train(*arguments, **fields)), v1.Probe)

    async def evaluated(self, probe: str, activation_set: str = SET) -> Any:
        request = v1.EvaluateProbeRequest(probe=probe, activation_set=activation_set)
        return self.result(await self.ended(await self.analysis.EvaluateProbe(request)), v1.ProbeEvaluation)

    async def running(self, operation: operations_pb2.Operation, stage: str) -> None:
        """Once the operation has come to a stage."""
        async with asyncio.timeout(60):
            while metadata(operation).stage != stage:
                assert not operation.done, operation.error
                await asyncio.sleep(0.05)
                operation = await self.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))

    async def cancelled(self, operation: operations_pb2.Operation) -> str:
        await self.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name))
        return str(code_pb2.Code.Name((await self.ended(operation)).error.code))

    async def exported(self, name: str, form: Any) -> str:
        request = v1.ExportRankingRequest(name=name, format=form)
        chunks = [chunk async for chunk in self.analysis.ExportRanking(request)]
        data = b"".join(chunk.data for chunk in chunks)
        assert (chunks[0].total_bytes, chunks[0].sha256) == (len(data), hashlib.sha256(data).hexdigest())
        return data.decode()

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.folder / folder).glob("*"))

    def result(self, operation: operations_pb2.Operation, kind: type) -> Any:
        found = kind()
        assert operation.response.Unpack(found), operation.error
        return found


def struct(parameters: dict[str, Any] | None) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(parameters or {})
    return message
