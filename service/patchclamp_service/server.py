"""Assembles the server, and leads it through its life: loading, serving, draining."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter

import grpc
import structlog
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from patchclamp.v1 import (
    activations_pb2,
    activations_pb2_grpc,
    analysis_pb2,
    analysis_pb2_grpc,
    corpora_pb2,
    corpora_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)

from patchclamp_service.analyses.analysis_jobs import AnalysisJobs
from patchclamp_service.analyses.evaluation_jobs import EvaluationJobs
from patchclamp_service.analyses.live_text import LiveTexts
from patchclamp_service.analyses.probe_jobs import ProbeJobs
from patchclamp_service.analyses.ranking_jobs import RankingJobs
from patchclamp_service.analyses.redundancy_jobs import RedundancyJobs
from patchclamp_service.analyses.word_queries import WordQueries
from patchclamp_service.engine.pace import Pace
from patchclamp_service.interceptors import Front
from patchclamp_service.library import Library
from patchclamp_service.metrics import Metrics
from patchclamp_service.registry import Registry, State
from patchclamp_service.servicers.activations import ActivationServicer
from patchclamp_service.servicers.analysis import AnalysisServicer
from patchclamp_service.servicers.corpora import CorpusServicer
from patchclamp_service.servicers.inference import InferenceServicer
from patchclamp_service.servicers.models import ModelServicer
from patchclamp_service.servicers.operations import OperationsServicer
from patchclamp_service.servicers.set_creation import SetCreation
from patchclamp_service.settings import Settings, split_address
from patchclamp_service.wire.edits import Edits

__all__ = ["Server", "assemble", "serve"]

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (models_pb2, "ModelService"),
        (inference_pb2, "InferenceService"),
        (activations_pb2, "ActivationService"),
        (corpora_pb2, "CorpusService"),
        (analysis_pb2, "AnalysisService"),
        (operations_pb2, "Operations"),
    )
)

_log = structlog.get_logger(__name__)


class Health(health.aio.HealthServicer):  # type: ignore[misc, name-defined]  # the stubs do not know of aio
    """grpc.health.v1, for the server as a whole and for each service."""

    async def show(self, *, serving: bool) -> None:
        """Sets all of them."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self.set(service, status)


@dataclass(frozen=True, slots=True)
class Server:
    """An assembled server: gRPC's own object, what stands before and behind it, and the address it is bound to."""

    grpc: grpc.aio.Server
    front: Front
    health: Health
    registry: Registry
    library: Library
    address: str

    async def show(self, state: State) -> None:
        """Takes on a state. Health never says SERVING while requests are refused."""
        if state is not State.SERVING:
            await self.health.show(serving=False)
        self.registry.state = state
        if state is State.SERVING:
            await self.health.show(serving=True)

    async def drain(self, seconds: float) -> None:
        """Refuses what is new, lets what runs finish for so long, then stops."""
        await self.show(State.DRAINING)
        end = monotonic() + seconds
        await self.library.jobs.close()
        await asyncio.gather(*(engine.drain(seconds) for engine in self.registry.hosted()))
        await self.front.idle(max(0.0, end - monotonic()))
        await self.grpc.stop(grace=0.5)


def assemble(settings: Settings, registry: Registry, library: Library, metrics: Metrics) -> Server:
    """Everything the server is made of. Its port is bound when this returns; it answers after `grpc.start()`."""
    front = Front(metrics, settings.limits.message_bytes)
    server = grpc.aio.server(interceptors=[front], options=_options(settings))
    models_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(registry), server)
    edits = Edits(library.activation_sets)
    texts = LiveTexts(registry, edits, library.scratch)
    creation = SetCreation(registry, library.corpora, library.activation_sets, library.jobs, edits)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceServicer(registry, edits), server)
    activations_pb2_grpc.add_ActivationServiceServicer_to_server(
        ActivationServicer(registry, edits, library.activation_sets, creation, settings.chunk_bytes), server
    )
    corpora_pb2_grpc.add_CorpusServiceServicer_to_server(CorpusServicer(library.corpora, settings.corpus_bytes), server)
    analysis_pb2_grpc.add_AnalysisServiceServicer_to_server(_analysis(library, texts), server)
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(library.jobs), server)
    health_servicer = Health()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return Server(server, front, health_servicer, registry, library, _bind(server, settings))


def _analysis(library: Library, texts: LiveTexts) -> AnalysisServicer:
    sets, rankings, probes = library.activation_sets, library.rankings, library.probes
    analyses = library.analyses
    return AnalysisServicer(
        rankings,
        probes,
        analyses,
        RankingJobs(sets, rankings, library.jobs, library.workers),
        ProbeJobs(sets, rankings, probes, library.jobs, library.workers),
        RedundancyJobs(sets, rankings, library.jobs, library.workers),
        AnalysisJobs(sets, rankings, analyses, texts, library.jobs, library.workers),
        EvaluationJobs(sets, rankings, analyses, library.jobs, library.workers),
        WordQueries(sets, texts, library.queries),
        library.scratch,
    )


def _options(settings: Settings) -> list[tuple[str, int]]:
    most = settings.limits.message_bytes
    return [
        # A little above the limit: so that a message just beyond it is refused by us, with details.
        ("grpc.max_receive_message_length", most + most // 4),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(settings.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
    ]


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    host, _ = split_address(settings.listen)
    try:
        if settings.tls_cert and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
            port = server.add_secure_port(settings.listen, grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:  # its text is about gRPC's environment variables
        why = "the address is taken or not this machine's"
        why += ", or the TLS files are no certificate and key" if settings.tls_cert else ""
        raise OSError(f"cannot listen on {settings.listen}: {why}") from error
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[str, str], None]) -> None:
    """Serves until `stop` is set. Calls `ready` with its address and that of the metrics ("": off) once every model
    is warm.

    Raises:
        PatchclampError: a model cannot be loaded.
        OSError: an address cannot be bound, a file cannot be read, or the database cannot be used.
        BadSetting: the data directory or the database cannot be what the settings say.
    """
    metrics = Metrics()
    with (
        closing(Library.open(settings)) as library,
        metrics.exposed(settings.metrics_listen) as metrics_address,
    ):
        server = assemble(settings, Registry(), library, metrics)
        await server.show(State.LOADING)
        await server.grpc.start()
        _log.info("starting", address=server.address, metrics=metrics_address, settings=settings.shown())
        try:
            await _load(settings, server.registry, metrics, stop)
            if not stop.is_set():
                await library.sweep()
                # What is resumed begins once this task waits, and by then the registry serves.
                await library.jobs.resume()
                await server.show(State.SERVING)
                _log.info("serving", address=server.address)
                ready(server.address, metrics_address)
            await stop.wait()
            _log.info("draining", seconds=settings.drain_seconds)
        finally:
            await server.drain(settings.drain_seconds)


async def _load(settings: Settings, registry: Registry, metrics: Metrics, stop: asyncio.Event) -> None:
    """Hosts the models one after another, off the event loop; comes back early when it is told to stop."""
    pace = Pace(settings.background_share)  # one for all models, since they share the machine
    for text in settings.models:
        loading = _in_thread(partial(_host, text, settings, registry, metrics, pace))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if stop.is_set():
            loading.cancel()
            return
        await loading


def _in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Runs it in a daemon thread: one that converts a model must not keep a stopped server alive."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()  # from here on the thread alone ends it

    def run() -> None:
        try:
            work()
        except BaseException as error:  # handed on to whoever waits
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="patchclamp-load", daemon=True).start()
    return asyncio.wrap_future(done)


def _host(text: str, settings: Settings, registry: Registry, metrics: Metrics, pace: Pace) -> None:
    # Here and not above: torch takes seconds to import, and the port answers meanwhile.
    import torch

    from patchclamp_service.engine.engine import Engine
    from patchclamp_service.engine.model import ModelSpec, load_model
    from patchclamp_service.engine.sites import build_site_map

    if settings.threads:
        torch.set_num_threads(settings.threads)
    began = perf_counter()
    model = load_model(ModelSpec.parse(text), cache=settings.cache, dtype=settings.dtype, device=settings.device)
    engine = Engine(model, build_site_map(model), settings.limits.for_engine(), metrics.observer(model.name), pace)
    engine.start()
    registry.add(engine)
    metrics.model_loaded(model.name, perf_counter() - began)
    metrics.watch_load(model.name, engine.load)
    _log.info("loaded", model=model.name, seconds=round(perf_counter() - began, 3))
