"""A server that is killed in the middle of an extraction, and started again: whoever waits gets the result."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from patchclamp import ActivationSetFile, Client, CorpusSource, Progress

from tests.e2e.conftest import COMMAND
from tests.tiny import save_tiny

SENTENCES = [["the", "nurse", "said", "that", str(number)] for number in range(12_000)]
SITE = "layers.1.residual"


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("restart")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = f"tiny={save_tiny('llama', folder / 'llama')}"
    folders = ["--cache", str(folder / "cache"), "--data-dir", str(folder / "data")]
    return ["--model", model, "--listen", f"127.0.0.1:{port}", *folders]


@contextmanager
def serving(flags: list[str]) -> Iterator[subprocess.Popen[str]]:
    command: list[str | Path] = [COMMAND, "serve", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_waiting_goes_on_through_a_kill(flags: list[str], tmp_path: Path) -> None:
    address = flags[flags.index("--listen") + 1]
    under_way = Event()

    def told(progress: Progress) -> None:
        if progress.stage == "extracting" and progress.done:
            under_way.set()

    with Client(address) as client, ThreadPoolExecutor(1) as threads:
        with serving(flags) as server:
            corpus = client.corpora.upload(CorpusSource.sentences(SENTENCES), id="long")
            work = client.activation_sets.create(corpus, [SITE], id="long", progress=told)
            waiting = threads.submit(work.result)
            assert under_way.wait(60)
            server.kill()
            server.wait()
        assert not waiting.done()
        with serving(flags):
            made = waiting.result(120)
            path = client.activation_sets.download(made, tmp_path)
            picked = [0, 5999, 11_999]
            sentences = list(client.extract([SENTENCES[number] for number in picked], [SITE]))
    assert work.metadata.attempt == 2
    with ActivationSetFile(path) as file:
        assert len(file) == sum(map(len, SENTENCES))
        assert list(file.words[-5:]) == SENTENCES[-1]
        for number, sentence in zip(picked, sentences, strict=True):
            rows = file[SITE][file.sentences == number]
            np.testing.assert_allclose(rows, sentence.activations[SITE].astype(np.float32), atol=1e-5)
        assert not np.isnan(file[SITE]).any()
