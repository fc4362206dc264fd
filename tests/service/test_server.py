"""The server as a whole, in this process, over a real port: a tiny decoder and a tiny encoder."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from patchclamp.v1 import activations_pb2 as activations
from patchclamp.v1 import activations_pb2_grpc, inference_pb2_grpc, models_pb2_grpc
from patchclamp.v1 import inference_pb2 as inference
from patchclamp.v1 import intervention_pb2 as v1
from patchclamp.v1 import models_pb2 as models
from patchclamp.v1.common_pb2 import Neurons
from patchclamp_service.jobs.jobs import Jobs
from patchclamp_service.library import Library
from patchclamp_service.metrics import Metrics
from patchclamp_service.registry import Registry, State
from patchclamp_service.server import SERVICES, Server, assemble, serve
from patchclamp_service.settings import Settings, load_settings
from patchclamp_service.store.database import Database

from tests.service.work import metadata
from tests.tiny import save_tiny

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LONG = inference.GenerateRequest(prompt="the nurse said", max_new_tokens=200)


@dataclass(frozen=True)
class Running:
    """A server in this process, and stubs that talk to it."""

    channel: grpc.aio.Channel
    metrics: str
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def models(self) -> Any:
        return models_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def inference(self) -> Any:
        return inference_pb2_grpc.InferenceServiceStub(self.channel)

    @property
    def activations(self) -> Any:
        return activations_pb2_grpc.ActivationServiceStub(self.channel)

    @property
    def health(self) -> Any:
        return health_pb2_grpc.HealthStub(self.channel)


@asynccontextmanager
async def running(directory: Path, **flags: Any) -> AsyncIterator[Running]:
    """Serves the models in `directory` while the context lasts."""
    names = [f"{name}={directory / name}" for name in ("tiny-llama", "tiny-bert")]
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    kept = {"cache": directory.parent / "cache", "data_dir": mkdtemp(dir=directory.parent)}
    settings = load_settings({"models": names, "listen": "127.0.0.1:0", "threads": 1} | kept | flags)
    task = asyncio.create_task(serve(settings, stop, lambda *addresses: ready.set_result(addresses)))
    await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    address, metrics = await ready
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            yield Running(channel, metrics, stop, task)
        finally:
            stop.set()
            await task


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("served") / "models"
    save_tiny("llama", directory / "tiny-llama")
    save_tiny("bert", directory / "tiny-bert")
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(directory: Path) -> AsyncIterator[Running]:
    async with running(directory, chunk_bytes=1024, limits={"message_bytes": 10_000}) as server:
        yield server


async def refused(call: Any) -> tuple[str, str, str]:
    """Code, reason and field with which a call, unary or a stream, is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [event async for event in call] if hasattr(call, "__aiter__") else await call
    error: Any = caught.value
    assert "Traceback" not in (error.details() or "")
    found: dict[str, Any] = {}
    for detail in status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details:
        kind = getattr(error_details_pb2, detail.type_url.rpartition(".")[2])
        found[kind.__name__] = kind.FromString(detail.value)
    bad = found.get("BadRequest")
    return error.code().name, found["ErrorInfo"].reason, bad.field_violations[0].field if bad else ""


async def test_models(server: Running) -> None:
    first = await server.models.ListModels(models.ListModelsRequest(page_size=1))
    rest = await server.models.ListModels(models.ListModelsRequest(page_token=first.next_page_token))
    assert [model.name for model in (*first.models, *rest.models)] == ["models/tiny-bert", "models/tiny-llama"]
    assert rest.next_page_token == ""
    assert not first.models[0].sites
    default = await server.models.GetModel(models.GetModelRequest())
    assert (default.name, default.kind) == ("models/tiny-llama", models.MODEL_KIND_DECODER)
    assert {"embeddings", "layers.0.neurons"} <= {site.name for site in default.sites}
    assert default.modules
    assert default.limits.message_bytes == 10_000


async def test_generate_with_an_edit(server: Running) -> None:
    ablation = v1.Intervention(neurons=Neurons(site="layers.0.neurons", indices=[1, 2]), ablate=v1.Ablate())
    capture = inference.Capture(sites=["layers.0.neurons"], prompt=True, generated=True)
    request = inference.GenerateRequest(
        prompt="the nurse", max_new_tokens=3, interventions=[ablation], capture=capture, top_logprobs=2
    )
    *tokens, last = [event async for event in server.inference.Generate(request)]
    assert all(len(event.token.top) == 2 for event in tokens)
    assert 1 <= len(tokens) == last.completed.usage.generated_tokens
    assert last.completed.applied.edits[0].positions_edited > 0
    values = last.completed.captured_prompt[0].values
    rows = np.frombuffer(values.data, "<f4").reshape(tuple(values.shape))
    assert not rows[:, [1, 2]].any()
    assert rows[:, 3:].any()


async def test_score(server: Running) -> None:
    items = [
        inference.ScoreItem(prompt="the nurse", continuation=" said"),
        inference.ScoreItem(prompt="a", continuation=" b"),
    ]
    answer = await server.inference.Score(inference.ScoreRequest(items=items))
    assert [round(score.logprob - sum(score.token_logprobs), 4) for score in answer.scores] == [0, 0]


@pytest.mark.parametrize("model", ["models/tiny-llama", "models/tiny-bert"])
async def test_extract_in_pieces(server: Running, model: str) -> None:
    sentences = [activations.Sentence(words=activations.Words(words=["nurse"] * n)) for n in (20, 1)]
    request = activations.ExtractActivationsRequest(model=model, sentences=sentences, sites=["layers.*.residual"])
    messages = [message async for message in server.activations.ExtractActivations(request)]
    rows = [sum(m.captured[0].values.shape[0] for m in messages if m.sentence == s) for s in (0, 1)]
    assert rows == [20, 1]
    assert len(messages) > 2
    assert [message.HasField("applied") for message in messages] == [False] * (len(messages) - 1) + [True]


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("models/absent", "NOT_FOUND", "MODEL_NOT_FOUND"),
        ("tiny-llama", "INVALID_ARGUMENT", "INVALID_NAME"),
        ("models/../tiny-llama", "INVALID_ARGUMENT", "INVALID_NAME"),
        ("/etc/passwd", "INVALID_ARGUMENT", "INVALID_NAME"),
        ("models/ ", "INVALID_ARGUMENT", "INVALID_NAME"),
    ],
)
async def test_names(server: Running, name: str, code: str, reason: str) -> None:
    calls = [
        (server.models.GetModel(models.GetModelRequest(name=name)), "name"),
        (server.inference.Generate(inference.GenerateRequest(model=name, prompt="a")), "model"),
    ]
    for call, field in calls:
        assert await refused(call) == (code, reason, field if code == "INVALID_ARGUMENT" else "")


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (
            v1.Intervention(neurons=Neurons(site="layers.0.neurons", indices=[99]), ablate=v1.Ablate()),
            ".neurons.indices[0]",
        ),
        (v1.Intervention(neurons=Neurons(site="layers.0.nuerons"), ablate=v1.Ablate()), ".neurons.site"),
        (v1.Intervention(neurons=Neurons(site="embeddings"), clip=v1.Clip()), ".clip"),
        (v1.Intervention(neurons=Neurons(site="embeddings"), set=v1.Set(values=[float("nan")])), ".set.values[0]"),
    ],
)
async def test_refused_edits_name_the_field(server: Running, edit: v1.Intervention, field: str) -> None:
    call = server.inference.Generate(inference.GenerateRequest(prompt="a", interventions=[edit]))
    assert (await refused(call))[::2] == ("INVALID_ARGUMENT", f"interventions[0]{field}")


async def test_an_encoder_does_not_generate(server: Running) -> None:
    call = server.inference.Generate(inference.GenerateRequest(model="models/tiny-bert", prompt="a"))
    assert (await refused(call))[0] == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("unary_stream", "/patchclamp.v1.InferenceService/Generate"),
        ("unary_unary", "/patchclamp.v1.InferenceService/Score"),
        ("unary_stream", "/patchclamp.v1.ActivationService/ExtractActivations"),
        ("unary_unary", "/patchclamp.v1.ModelService/GetModel"),
        ("unary_unary", "/grpc.health.v1.Health/Check"),
    ],
)
@pytest.mark.parametrize(
    "data", [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\xfb\x07" * 2000], ids=["bytes", "utf8", "nesting"]
)
async def test_malformed_bytes_on_the_wire(server: Running, kind: str, method: str, data: bytes) -> None:
    call = getattr(server.channel, kind)(method)(data)
    assert (await refused(call))[:2] == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


async def test_a_message_over_the_cap(server: Running) -> None:
    request = inference.ScoreRequest(items=[inference.ScoreItem(prompt="a" * 10_001, continuation="b")])
    assert (await refused(server.inference.Score(request)))[:2] == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


async def test_a_message_far_over_the_cap_is_not_even_read(server: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.inference.Score(inference.ScoreRequest(items=[inference.ScoreItem(prompt="a" * 100_000)]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_deadline_ends_the_work(server: Running) -> None:
    call = server.inference.Generate(LONG, timeout=0.01)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [event async for event in call]
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_health_and_reflection(server: Running) -> None:
    for service in ("", *SERVICES):
        assert (await server.health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = [each async for each in stub.ServerReflectionInfo(iter([asked]))]
    assert set(SERVICES) < {service.name for service in answer.list_services_response.service}


async def test_operations_are_served(server: Running) -> None:
    stub = operations_pb2_grpc.OperationsStub(server.channel)
    listed = await stub.ListOperations(operations_pb2.ListOperationsRequest())
    assert list(listed.operations) == []
    call = stub.GetOperation(operations_pb2.GetOperationRequest(name="operations/absent"))
    assert (await refused(call))[:2] == ("NOT_FOUND", "NOT_FOUND")


async def test_operations_are_taken_on_before_health_says_serving(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not led yet: what they run would be refused by the registry."""
    show, seen = Server.show, []

    async def shown(server: Server, state: State) -> None:
        runner = server.library.jobs._runner
        seen.append((state, runner.open, server.registry.state is State.SERVING, len(runner.led)))
        await show(server, state)

    monkeypatch.setattr(Server, "show", shown)
    data_dir = directory.parent / "left"
    with closing(Database.open(data_dir)) as database:
        jobs = Jobs(database)
        await jobs.resume()
        name = (await jobs.start("CreateActivationSet", Neurons(), target="activationSets/a")).name
        await jobs.close()
    async with running(directory, data_dir=data_dir) as server:
        stub = operations_pb2_grpc.OperationsStub(server.channel)
        operation = await stub.WaitOperation(operations_pb2.WaitOperationRequest(name=name))
        assert metadata(operation).attempt == 1
    assert (State.SERVING, True, False, 0) in seen


async def test_draining(directory: Path) -> None:
    """Health says so first, what is new is refused, what runs is finished."""
    async with running(directory, drain_seconds=30) as server:
        watch = server.health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = aiter(server.inference.Generate(LONG))
        events = [await anext(call)]
        server.stop.set()
        assert (await watch.read()).status == NOT_SERVING
        code, reason, _ = await refused(server.inference.Generate(LONG))
        assert (code, reason) == ("UNAVAILABLE", "DRAINING")
        events += [event async for event in call]
        assert events[-1].HasField("completed")
        await server.task


def measured(address: str) -> dict[str, float]:
    """The metrics of tiny-llama."""
    with urlopen(f"http://{address}/metrics") as answer:
        found = re.findall(r'^patchclamp_(\w+){model="tiny-llama"} (.+)$', answer.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_50_streams_cut_in_the_middle_leave_nothing(directory: Path) -> None:
    async with running(directory, metrics_listen="127.0.0.1:0") as server:
        calls = [server.inference.Generate(LONG) for _ in range(50)]
        reads = [asyncio.ensure_future(call.read()) for call in calls]
        for read in islice(asyncio.as_completed(reads), 8):
            await read
        for call in calls:
            call.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        async with asyncio.timeout(30):
            while (values := await asyncio.to_thread(measured, server.metrics))["queued_tokens"]:
                continue
    assert values["running_requests"] == values["queue_requests"] == 0
    assert values["tokens_out_total"] < 50 * 200 / 2


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"models": ["a"], "listen": "127.0.0.1:0", "data_dir": tmp_path})


async def test_the_port_answers_while_models_load(settings: Settings) -> None:
    library = Library.open(settings)
    server = assemble(settings, Registry(), library, Metrics())
    await server.show(State.LOADING)
    await server.grpc.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == NOT_SERVING
        call = models_pb2_grpc.ModelServiceStub(channel).ListModels(models.ListModelsRequest())
        assert (await refused(call))[:2] == ("UNAVAILABLE", "LOADING")
    await server.drain(0)
    library.close()


async def test_what_nobody_foresaw_is_internal_with_an_id(settings: Settings) -> None:
    registry, library = Registry(), Library.open(settings)
    registry.state = State.SERVING  # without any engine, which no server ever is: resolving fails in its own way
    server = assemble(settings, registry, library, Metrics())
    await server.grpc.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = models_pb2_grpc.ModelServiceStub(channel).GetModel(models.GetModelRequest())
        assert await refused(call) == ("INTERNAL", "INTERNAL", "")
    await server.drain(0)
    library.close()
