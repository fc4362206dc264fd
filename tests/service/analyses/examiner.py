"""What the tests of analyses share: a server with activation sets, and what they ask of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from google.rpc import code_pb2, error_details_pb2
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp.v1 import common_pb2
from patchclamp_analysis.data import Data
from patchclamp_analysis.methods import METHODS, TableMethod, build
from patchclamp_analysis.tables import Tables

from tests.service.analyses.analyst import SENTENCES, SET, TAGS, Analyst, struct
from tests.service.test_server import running
from tests.tiny import save_tiny

__all__ = [
    "BERT",
    "LLAMA",
    "RESIDUALS",
    "Examiner",
    "assert_same",
    "examined",
    "expected",
    "frame",
    "neurons",
    "said",
    "tables_of",
    "text_of",
    "with_models",
    "words",
]

LLAMA, BERT = "models/tiny-llama", "models/tiny-bert"
RESIDUALS = ["layers.*.residual"]


class Examiner(Analyst):
    """Stubs of one server, and what these tests ask of it."""

    async def analyze(self, method: str = "top_words", parameters: Any = None, **fields: Any) -> Any:
        own: dict[str, Any] = {"method": method, "parameters": struct(parameters)}
        if "text" not in fields:
            own["activation_set"] = SET
        return await self.analysis.AnalyzeActivations(v1.AnalyzeActivationsRequest(**(own | fields)))

    async def analyzed(self, *arguments: Any, **fields: Any) -> Any:
        return self.result(await self.ended(await self.analyze(*arguments, **fields)), v1.Analysis)

    async def analysis_failed(self, *arguments: Any, **fields: Any) -> tuple[str, str, str]:
        """Code, reason and text with which an operation ends."""
        return said((await self.ended(await self.analyze(*arguments, **fields))).error)

    async def words_of(self, **fields: Any) -> Any:
        return (await self.analysis.TopWords(v1.TopWordsRequest(**fields))).neurons

    async def get(self, name: str, rows: int = 0) -> Any:
        return await self.analysis.GetAnalysis(v1.GetAnalysisRequest(name=name, rows=rows))

    async def file_of(self, name: str, form: Any = v1.ANALYSIS_FORMAT_JSON, table: str = "") -> bytes:
        request = v1.ExportAnalysisRequest(name=name, format=form, table=table)
        chunks = [chunk async for chunk in self.analysis.ExportAnalysis(request)]
        data = b"".join(chunk.data for chunk in chunks)
        assert (chunks[0].total_bytes, chunks[0].sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert [chunk.offset for chunk in chunks] == list(np.cumsum([0, *(len(c.data) for c in chunks)])[:-1])
        return data


def said(error: Any) -> tuple[str, str, str]:
    info = error_details_pb2.ErrorInfo()
    error.details[0].Unpack(info)
    return code_pb2.Code.Name(error.code), info.reason, error.message


def frame(table: v1.Table) -> pd.DataFrame:
    return pd.DataFrame({c.name: list(getattr(c, c.WhichOneof("values") or "").values) for c in table.columns})


def tables_of(message: v1.Analysis) -> dict[str, pd.DataFrame]:
    return {table.name: frame(table) for table in message.tables}


def expected(method: str, data: Data, parameters: Any = None) -> Tables:
    kind = METHODS[method]
    assert issubclass(kind, TableMethod)
    return build(kind, parameters or {}).tables({SET: data})


def assert_same(found: dict[str, pd.DataFrame], wanted: dict[str, pd.DataFrame]) -> None:
    assert list(found) == list(wanted)
    for name, table in wanted.items():
        pd.testing.assert_frame_equal(found[name], table.reset_index(drop=True), check_dtype=False, rtol=1e-4)


def words(*lines: Sequence[str]) -> list[activations.Sentence]:
    return [activations.Sentence(words=activations.Words(words=line)) for line in lines]


def text_of(*lines: Sequence[str], model: str = LLAMA, **fields: Any) -> v1.LiveText:
    return v1.LiveText(model=model, sentences=words(*lines), **fields)


def neurons(site: str, *indices: int) -> common_pb2.Neurons:
    return common_pb2.Neurons(site=site, indices=indices)


def with_models(folder: Path) -> Path:
    """The folder, with models to serve."""
    for name in ("llama", "bert"):
        save_tiny(name, folder / "models" / f"tiny-{name}")
    return folder


@asynccontextmanager
async def examined(folder: Path) -> AsyncIterator[Examiner]:
    """A server of the models in a folder, with sets of both, and rankings of their neurons."""
    async with running(folder / "models", data_dir=folder / "data") as server:
        client = Examiner(server.channel, folder / "data")
        gaps = [[tag if tag in ("NOUN", "VERB") else "_" for tag in tags] for tags in TAGS]
        await client.upload("words", SENTENCES, upos=TAGS, some=gaps)
        await client.upload("few", SENTENCES[:8], upos=TAGS[:8])
        await client.made("corpora/words", activation_set_id="words", model=LLAMA, sites=RESIDUALS)
        await client.made("corpora/words", activation_set_id="bert", model=BERT, sites=RESIDUALS)
        await client.made("corpora/few", activation_set_id="few", model=LLAMA, sites=["embeddings"])
        last = activations.SENTENCE_LAST
        await client.made(
            "corpora/words", activation_set_id="pooled", model=LLAMA, sites=["embeddings"], aggregation=last
        )
        await client.ranked(ranking_id="best")
        await client.ranked(ranking_id="berts", activation_set="activationSets/bert")
        yield client
