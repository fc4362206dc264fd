"""A server that is killed while it makes a set, and one whose disk is full: nothing half-made is ever seen."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2
from patchclamp.v1 import activations_pb2 as v1
from patchclamp.v1 import activations_pb2_grpc, common_pb2, corpora_pb2, corpora_pb2_grpc, inference_pb2_grpc
from patchclamp.v1 import inference_pb2 as inference
from patchclamp.v1 import intervention_pb2 as edits
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.e2e.conftest import COMMAND
from tests.tiny import save_tiny

SITES = ["embeddings", "layers.*.residual"]
WORDS = ["the", "nurse", "said", "that", "she", "would", "be", "late", "because", "the", "doctor", "was", "busy"]
EDITS = [edits.Intervention(neurons=common_pb2.Neurons(site="layers.1.residual", indices=[4]), ablate=edits.Ablate())]


@dataclass(frozen=True)
class Server:
    """A server's process, and stubs that talk to it."""

    process: subprocess.Popen[str]
    channel: grpc.Channel

    @property
    def activations(self) -> Any:
        return activations_pb2_grpc.ActivationServiceStub(self.channel)

    @property
    def operations(self) -> Any:
        return operations_pb2_grpc.OperationsStub(self.channel)

    def upload(self, corpus_id: str, sentences: Sequence[Sequence[str]]) -> None:
        file = corpora_pb2.CorpusFile(name="words")
        header = corpora_pb2.CorpusHeader(corpus_id=corpus_id, format=corpora_pb2.CORPUS_FORMAT_LINES, files=[file])
        text = "".join(f"{' '.join(words)}\n" for words in sentences).encode()
        parts = [corpora_pb2.UploadCorpusRequest(header=header)]
        parts.append(corpora_pb2.UploadCorpusRequest(chunk=corpora_pb2.CorpusChunk(data=text)))
        corpora_pb2_grpc.CorpusServiceStub(self.channel).UploadCorpus(iter(parts))

    def create(self, name: str, **fields: Any) -> str:
        """Starts an operation; its name."""
        request = v1.CreateActivationSetRequest(activation_set_id=name, corpus="corpora/c", sites=SITES, **fields)
        return str(self.activations.CreateActivationSet(request).name)

    def wait(self, name: str, seconds: int = 120) -> operations_pb2.Operation:
        timeout = duration_pb2.Duration(seconds=seconds)
        return self.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=name, timeout=timeout))

    def made(self, operation: str) -> v1.ActivationSet:
        ended, made = self.wait(operation), v1.ActivationSet()
        assert ended.response.Unpack(made), ended
        return made

    def until(self, operation: str, reached: Callable[[common_pb2.OperationMetadata], bool]) -> None:
        """Polls an operation that has not ended until its progress is what it should be."""
        while True:
            found = self.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation))
            assert not found.done, found
            metadata = common_pb2.OperationMetadata()
            found.metadata.Unpack(metadata)
            if reached(metadata):
                return

    def sets(self) -> list[str]:
        listed = self.activations.ListActivationSets(v1.ListActivationSetsRequest())
        return [each.name for each in listed.activation_sets]

    def download(self, name: str, path: Path) -> Path:
        chunks = self.activations.DownloadActivationSet(v1.DownloadActivationSetRequest(name=name))
        path.write_bytes(b"".join(chunk.data for chunk in chunks))
        return path

    def generates(self) -> bool:
        request = inference.GenerateRequest(prompt="the nurse said", max_new_tokens=3)
        return len(list(inference_pb2_grpc.InferenceServiceStub(self.channel).Generate(request))) > 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("models") / "llama")


@contextmanager
def serving(model: Path, data: Path, *flags: str, file_bytes: int = 0) -> Iterator[Server]:
    """A server on a data directory; `file_bytes`: the most that its files may grow to."""
    command: list[str | Path] = [
        COMMAND,
        "serve",
        "--model",
        f"tiny={model}",
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "1",
    ]
    command += ["--data-dir", str(data), "--cache", str(model.parent / "cache"), *flags]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=limit if file_bytes else None,
    ) as process:
        try:
            line = process.stdout.readline()
            assert "listening on " in line
            with grpc.insecure_channel(line.rpartition(" ")[2].strip()) as channel:
                yield Server(process, channel)
        finally:
            process.kill()


def sentences(count: int) -> list[list[str]]:
    return [[WORDS[(number + k) % len(WORDS)] for k in range(1 + number % 12)] for number in range(count)]


def unseen(server: Server, name: str) -> bool:
    """Whether nobody can list, get or download a set."""
    for call in (
        lambda: server.activations.GetActivationSet(v1.GetActivationSetRequest(name=name)),
        lambda: list(server.activations.DownloadActivationSet(v1.DownloadActivationSetRequest(name=name))),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    return name not in server.sets()


@pytest.mark.parametrize("interventions", [[], EDITS], ids=["as it is", "edited"])
def test_a_killed_server_goes_on_where_it_was(
    model: Path, tmp_path: Path, interventions: list[edits.Intervention]
) -> None:
    # Small passes and requests: so that there is time to kill, and something durable by then.
    flags = ("--limits.batch-tokens", "64", "--limits.sentences", "100")
    given = sentences(6000)
    with serving(model, tmp_path / "data", *flags) as server:
        server.upload("c", given)
        operation = server.create("killed", interventions=interventions)
        server.until(operation, lambda now: now.stage == "extracting" and now.done >= 500)
        assert unseen(server, "activationSets/killed")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    for file in (tmp_path / "data" / "activation-sets").iterdir():
        with pytest.raises(BadData):
            ActivationSet.open(file)
    with serving(model, tmp_path / "data", *flags) as server:
        server.until(operation, lambda now: now.attempt == 2)
        assert unseen(server, "activationSets/killed")
        killed = server.made(operation)
        undisturbed = server.made(server.create("undisturbed", interventions=interventions))
        paths = [server.download(each.name, tmp_path / each.sha256) for each in (killed, undisturbed)]
        assert server.sets() == ["activationSets/killed", "activationSets/undisturbed"]
    assert killed.row_count == sum(map(len, given))
    assert killed.applied == undisturbed.applied
    with ActivationSet.open(paths[0]) as found, ActivationSet.open(paths[1]) as expected:
        pd.testing.assert_frame_equal(found.to_pandas(), expected.to_pandas())
        assert found.words.tolist() == [word for words in given for word in words]
        for site in expected.sites:
            np.testing.assert_allclose(found.read(site), expected.read(site), atol=1e-4)
    kept = [file.name for file in (tmp_path / "data" / "activation-sets").iterdir()]
    assert len(kept) == 2
    assert all(name.endswith(".h5") for name in kept)


def test_a_file_that_may_not_grow_is_a_full_disk(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "data", file_bytes=4 << 20) as server:
        server.upload("c", sentences(6000))
        error = server.wait(server.create("large")).error
        info = error_details_pb2.ErrorInfo()
        error.details[0].Unpack(info)
        assert (code_pb2.Code.Name(error.code), info.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
        assert unseen(server, "activationSets/large")
        assert not list((tmp_path / "data" / "activation-sets").iterdir())
        assert server.generates()
        assert server.made(server.create("small", filter=v1.TokenFilter(per_word_type=1))).row_count == 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_set_that_the_disk_cannot_hold_is_refused(model: Path, small_disk: Path) -> None:
    with serving(model, small_disk) as server:
        server.upload("c", sentences(6000))
        with pytest.raises(grpc.RpcError) as caught:
            server.create("large")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # With a filter, only counting tells how many rows there are.
        error = server.wait(server.create("large", filter=v1.TokenFilter(per_word_type=10_000))).error
        assert code_pb2.Code.Name(error.code) == "RESOURCE_EXHAUSTED"
        assert unseen(server, "activationSets/large")
        assert server.generates()
