"""Metrics are described, and served on a port of their own."""

from __future__ import annotations

from urllib.request import urlopen

import pytest
from patchclamp_service.engine.requests import Load, StepReport
from patchclamp_service.metrics import Metrics


def read(address: str) -> dict[str, float]:
    with urlopen(f"http://{address}/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_happened_can_be_read() -> None:
    metrics = Metrics()
    observer = metrics.observer("m")
    observer.on_start(0.5)
    observer.on_step(StepReport(seconds=0.01, decode_rows=3, prefill_tokens=10, new_tokens=4, positions_edited=4))
    metrics.request_ended("/a/B", "OK", 0.1)
    metrics.model_loaded("m", 1.5)
    metrics.watch_load("m", lambda: Load(1, 2, 3, 4))
    with metrics.exposed("127.0.0.1:0") as address:
        values = read(address)
    expected = {
        'patchclamp_requests_total{code="OK",method="/a/B"}': 1,
        'patchclamp_step_rows_sum{model="m"}': 3,
        'patchclamp_step_tokens_sum{model="m"}': 13,
        'patchclamp_tokens_in_total{model="m"}': 10,
        'patchclamp_edited_positions_total{model="m"}': 4,
        'patchclamp_queue_seconds_sum{model="m"}': 0.5,
        'patchclamp_model_load_seconds{model="m"}': 1.5,
        'patchclamp_queue_requests{model="m"}': 1,
        'patchclamp_running_requests{model="m"}': 2,
        'patchclamp_queued_tokens{model="m"}': 3,
        'patchclamp_active_interventions{model="m"}': 4,
    }
    assert {name: values[name] for name in expected} == expected


def test_without_an_address_nothing_is_served() -> None:
    with Metrics().exposed("") as address:
        assert address == ""


def test_a_taken_port_is_said_in_words() -> None:
    with Metrics().exposed("127.0.0.1:0") as address, pytest.raises(OSError, match=f"metrics on {address}"):
        Metrics().exposed(address).__enter__()


def test_every_metric_is_described() -> None:
    rows = Metrics().describe()
    assert len(rows) >= 14
    assert all(name.startswith("patchclamp_") and kind and text.endswith(".") for name, kind, text in rows)
