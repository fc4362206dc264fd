"""What the server counts, for Prometheus. `describe()` lists it; nothing here knows a prompt or a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from patchclamp_service.engine.requests import Load, Observer, StepReport
from patchclamp_service.settings import split_address

__all__ = ["Metrics", "ModelObserver"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)

_LOADS = {
    "waiting_requests": ("queue_requests", "Requests that wait for their first forward pass."),
    "running_requests": ("running_requests", "Requests that take part in forward passes."),
    "queued_tokens": ("queued_tokens", "Tokens of admitted requests that have not finished."),
    "active_interventions": ("active_interventions", "Interventions of the running requests."),
}


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests that ended, by method and status code.", "method", "code")
        self._request_seconds = self._histogram(
            "request_seconds", "From a request's arrival to its end, streams as a whole.", _SECONDS, "method"
        )
        self._load_seconds = self._gauge("model_load_seconds", "How long loading and warming up the model took.")
        self._loads = {field: self._gauge(name, text) for field, (name, text) in _LOADS.items()}
        self.queue_seconds = self._histogram("queue_seconds", "From admission to the first forward pass.", _SECONDS)
        self.step_seconds = self._histogram("step_seconds", "Duration of a forward pass.", _SECONDS)
        self.step_rows = self._histogram("step_rows", "Generations that decode in a forward pass.", _COUNTS)
        self.step_tokens = self._histogram("step_tokens", "Tokens in a forward pass.", _COUNTS)
        self.tokens_in = self._counter("tokens_in", "Tokens of prompts, sentences and continuations run.", "model")
        self.tokens_out = self._counter("tokens_out", "Tokens generated.", "model")
        self.edited_positions = self._counter("edited_positions", "Token positions at which an edit applied.", "model")

    def request_ended(self, method: str, code: str, seconds: float) -> None:
        """Counts one request."""
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def observer(self, model: str) -> ModelObserver:
        """What the engine of `model` reports to."""
        return ModelObserver(self, model)

    def model_loaded(self, model: str, seconds: float) -> None:
        """Notes how long loading took."""
        self._load_seconds.labels(model).set(seconds)

    def watch_load(self, model: str, load: Callable[[], Load]) -> None:
        """Asks `load` whenever the metrics are read."""
        for field, gauge in self._loads.items():
            gauge.labels(model).set_function(partial(_read, load, field))

    def describe(self) -> list[tuple[str, str, str]]:
        """Name, kind and meaning of every metric, as the documentation lists them."""
        families = sorted(self._registry.collect(), key=lambda family: family.name)
        return [(_exposed(family.name, family.type), family.type, family.documentation) for family in families]

    @contextmanager
    def exposed(self, address: str) -> Iterator[str]:
        """Serves /metrics while the context lasts. Yields the address it is bound to; "" in, "" out: nothing."""
        if not address:
            yield ""
            return
        host, port = split_address(address)
        try:
            server, thread = start_http_server(port, host, self._registry)
        except OSError as error:
            raise OSError(f"cannot serve metrics on {address}: {error.strerror or error}") from error
        try:
            yield f"{host}:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"patchclamp_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"patchclamp_{name}", text, ["model"], registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], label: str = "model") -> Histogram:
        return Histogram(f"patchclamp_{name}", text, [label], buckets=buckets, registry=self._registry)


class ModelObserver(Observer):
    """Turns one engine's reports into metrics. Called on the engine's thread, a few microseconds a step."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._queue = metrics.queue_seconds.labels(model)
        self._seconds = metrics.step_seconds.labels(model)
        self._rows = metrics.step_rows.labels(model)
        self._tokens = metrics.step_tokens.labels(model)
        self._in = metrics.tokens_in.labels(model)
        self._out = metrics.tokens_out.labels(model)
        self._edited = metrics.edited_positions.labels(model)

    def on_step(self, report: StepReport) -> None:
        """Counts a forward pass."""
        self._seconds.observe(report.seconds)
        self._rows.observe(report.decode_rows)
        self._tokens.observe(report.decode_rows + report.prefill_tokens)
        self._in.inc(report.prefill_tokens)
        self._out.inc(report.new_tokens)
        self._edited.inc(report.positions_edited)

    def on_start(self, waited: float) -> None:
        """Counts the wait of a request that begins."""
        self._queue.observe(waited)


def _read(load: Callable[[], Load], field: str) -> float:
    return float(getattr(load(), field))


def _exposed(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name
