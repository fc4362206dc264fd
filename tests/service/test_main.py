"""`python -m patchclamp_service` as a process: what it prints, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from patchclamp.v1 import inference_pb2, inference_pb2_grpc

from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("models") / "tiny")


@contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[str]]:
    """The server as a user starts it, on a port of its own."""
    command = [sys.executable, "-m", "patchclamp_service", "--listen", "127.0.0.1:0", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with (
        TemporaryDirectory() as data,
        subprocess.Popen(
            [*command, "--data-dir", data, *argv], stdout=pipe, stderr=pipe, text=True, env=environment
        ) as started,
    ):
        try:
            yield started
        finally:
            started.kill()


def line(started: subprocess.Popen[str], prefix: str) -> str:
    assert started.stdout is not None
    text = started.stdout.readline()
    assert text.startswith(prefix), started.stderr.read() if started.stderr else ""
    return text.removeprefix(prefix).strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish(model: Path, number: signal.Signals) -> None:
    with process("--model", f"tiny={model}", "--log-format", "json") as started:
        address = line(started, "patchclamp listening on ")
        with grpc.insecure_channel(address) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            request = inference_pb2.GenerateRequest(prompt="the nurse said: hushhush", max_new_tokens=200)
            call: Any = stub.Generate(request)
            events = [next(call)]
            started.send_signal(number)
            events += list(call)
        assert events[-1].HasField("completed")
        log = started.communicate(timeout=60)[1]
        assert started.returncode == 0
    assert '"code": "OK"' in log
    assert "hushhush" not in log


def test_metrics_are_served(model: Path) -> None:
    with process("--model", f"tiny={model}", "--metrics-listen", "127.0.0.1:0") as started:
        line(started, "patchclamp listening on ")
        with urlopen(line(started, "patchclamp metrics on ")) as answer:
            text = answer.read().decode()
    assert 'patchclamp_model_load_seconds{model="tiny"}' in text
    assert 'patchclamp_queued_tokens{model="tiny"} 0.0' in text


def test_a_model_that_cannot_load(tmp_path: Path) -> None:
    with process("--model", f"tiny={tmp_path / 'nothing'}", "--log-level", "error") as started:
        out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (1, "")
    assert err.count("\n") == 1
    assert "tiny" in err


def test_a_bad_setting() -> None:
    with process("--model", "..") as started:
        out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err.count("\n")) == (2, "", 1)


def test_a_port_that_is_taken(model: Path) -> None:
    with process("--model", f"tiny={model}") as first:
        address = line(first, "patchclamp listening on ")
        with process("--model", f"tiny={model}", "--listen", address) as second:
            err = second.communicate(timeout=60)[1]
    assert second.returncode == 1
    assert f"cannot listen on {address}" in err


def test_a_data_directory_that_is_taken(model: Path, tmp_path: Path) -> None:
    with process("--model", f"tiny={model}", "--data-dir", str(tmp_path)) as first:
        line(first, "patchclamp listening on ")
        with process("--model", f"tiny={model}", "--data-dir", str(tmp_path)) as second:
            out, err = second.communicate(timeout=60)
    assert (second.returncode, out, err.count("\n")) == (1, "", 1)
    assert f"another server uses {tmp_path}" in err


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with process("--model", "a", "--data-dir", str(tmp_path / "file" / "data")) as started:
        out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err.count("\n")) == (2, "", 1)


def test_a_database_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "patchclamp.db").write_bytes(b"not a database" * 4096)
    with process("--model", "a", "--data-dir", str(tmp_path), "--log-level", "error") as started:
        out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err.count("\n")) == (1, "", 1)
    assert "patchclamp.db cannot be used: file is not a database" in err


def test_the_port_is_bound_before_torch_is_imported() -> None:
    code = "import sys, patchclamp_service.server; sys.exit(bool({'torch', 'transformers', 'pandas'} & {*sys.modules}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
