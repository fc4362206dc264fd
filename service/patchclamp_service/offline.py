"""Extraction without a server: the server's own path, for `patchclamp_analysis` to find as an entry point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import json_format
from patchclamp.v1 import activations_pb2
from patchclamp_analysis.corpora.corpus import Corpus
from patchclamp_analysis.errors import AnalysisError, BadData
from patchclamp_analysis.extraction.extractors import Extraction, Extractor, ModelChoice, Report, Written

from patchclamp_service.activations.extraction import Extracted, extract_corpus
from patchclamp_service.activations.extraction_spec import ExtractionSpec
from patchclamp_service.activations.receipts import Receipts
from patchclamp_service.checks import check
from patchclamp_service.engine.errors import InvalidRequest, PatchclampError, Unsupported
from patchclamp_service.engine.requests import Intervention, Pooling
from patchclamp_service.native_libraries import prepare_environment
from patchclamp_service.wire.interventions import interventions

if TYPE_CHECKING:  # the engine brings torch, which must find its environment set
    from patchclamp_service.engine.engine import Engine

__all__ = ["open_extractor"]


@contextmanager
def open_extractor(model: ModelChoice) -> Iterator[Extractor]:
    """Loads a model and its engine; see `patchclamp_analysis.extraction.extractors.OpenExtractor`."""
    prepare_environment()
    with _plain_errors():
        engine = _started(model)
    try:
        yield _EngineExtractor(engine)
    finally:
        engine.stop()


class _EngineExtractor:
    """Runs corpora through one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def extract(
        self, corpus: Corpus, wanted: Extraction, path: Path, report: Report, sentences: range | None = None
    ) -> Written | None:
        """See `patchclamp_analysis.extraction.extractors.Extractor`."""
        with _plain_errors():
            spec = _spec(wanted)
            try:
                done = asyncio.run(extract_corpus(self._engine, corpus, spec, path, partial(_tell, report), sentences))
            except InvalidRequest as error:
                if error.reason == "NO_ROWS":
                    return None
                raise
        Receipts.open(path, done.receipt.digest, len(done.receipt.edits)).remove()
        return Written(done.finished, _idle(spec.interventions, done))


def _started(choice: ModelChoice) -> Engine:
    import torch

    from patchclamp_service.engine.engine import Engine
    from patchclamp_service.engine.model import ModelSpec, load_model
    from patchclamp_service.engine.sites import build_site_map

    if choice.threads:
        torch.set_num_threads(choice.threads)
    spec = ModelSpec.parse(choice.spec)
    model = load_model(spec, cache=Path(choice.cache).expanduser(), dtype=choice.dtype, device=choice.device)
    engine = Engine(model, build_site_map(model))
    engine.start()
    return engine


def _spec(wanted: Extraction) -> ExtractionSpec:
    return ExtractionSpec(
        sites=wanted.sites,
        pooling=Pooling(wanted.aggregation) if wanted.aggregation else None,
        dtype=wanted.dtype,
        rule=wanted.rule,
        interventions=_interventions(wanted),
        include_special_tokens=wanted.special_tokens,
        corpus=wanted.corpus,
    )


def _interventions(wanted: Extraction) -> tuple[Intervention, ...]:
    """Those of a JSON list, each as protobuf writes `patchclamp.v1.Intervention`; held to the contract's rules."""
    request = activations_pb2.CreateActivationSetRequest(corpus=wanted.corpus or "-", sites=wanted.sites)
    try:
        json_format.ParseDict({"interventions": json.loads(wanted.interventions or "[]")}, request)
    except (json.JSONDecodeError, json_format.ParseError) as error:
        raise BadData(f"this is no JSON list of interventions: {error}", where="interventions") from error
    check(request)
    return interventions(request.interventions)


def _idle(given: tuple[Intervention, ...], done: Extracted) -> tuple[int, ...]:
    """The edits that selected no token; a gated one may."""
    counted = zip(given, done.receipt.edits, strict=True)
    return tuple(
        number for number, (edit, did) in enumerate(counted) if edit.condition is None and not did.positions_edited
    )


def _tell(report: Report, stage: str, done: int, total: int, unit: str) -> None:
    report(stage, done, total)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """The service's errors as those of the library."""
    try:
        yield
    except (InvalidRequest, Unsupported) as error:
        raise BadData(error.message) from error
    except PatchclampError as error:
        raise AnalysisError(error.message) from error
