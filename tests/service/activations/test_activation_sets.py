"""Activation sets over a real port: made from uploaded corpora, listed, measured, downloaded, deleted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import code_pb2, error_details_pb2
from patchclamp.v1 import activations_pb2 as v1
from patchclamp.v1 import activations_pb2_grpc, common_pb2, corpora_pb2, corpora_pb2_grpc, inference_pb2_grpc
from patchclamp.v1 import inference_pb2 as inference
from patchclamp.v1 import intervention_pb2 as edits
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.service.test_server import refused, running
from tests.tiny import save_tiny

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITES = ["embeddings", "layers.*.residual"]
BERT = "models/tiny-bert"
WORDS = [["the", "nurse", "said"], ["she", "\u200b", "late"], ["the", "doctor", "was", "busy"], ["he", "said"]]
TAGS = [["DET", "NOUN", "VERB"], ["PRON", "X", "ADJ"], ["DET", "NOUN", "VERB", "ADJ"], ["PRON", "VERB"]]


@dataclass(frozen=True)
class Client:
    """Stubs of one server, and where it keeps its files."""

    channel: grpc.aio.Channel
    folder: Path

    @property
    def activations(self) -> Any:
        return activations_pb2_grpc.ActivationServiceStub(self.channel)

    @property
    def corpora(self) -> Any:
        return corpora_pb2_grpc.CorpusServiceStub(self.channel)

    @property
    def inference(self) -> Any:
        return inference_pb2_grpc.InferenceServiceStub(self.channel)

    @property
    def operations(self) -> Any:
        return operations_pb2_grpc.OperationsStub(self.channel)

    async def upload(self, corpus_id: str, words: Sequence[Sequence[str]], **layers: Sequence[Sequence[str]]) -> str:
        """A corpus of words with layers of labels; "_" is none."""
        files = [("words", "", words), *((name, name, labels) for name, labels in layers.items())]
        bodies = ["".join(f"{' '.join(line)}\n" for line in lines).encode() for _, _, lines in files]
        header = corpora_pb2.CorpusHeader(
            corpus_id=corpus_id,
            format=corpora_pb2.CORPUS_FORMAT_LINES,
            no_label="_",
            files=[corpora_pb2.CorpusFile(name=name, layer=layer) for name, layer, _ in files],
        )
        parts = [corpora_pb2.UploadCorpusRequest(header=header)]
        parts += [
            corpora_pb2.UploadCorpusRequest(chunk=corpora_pb2.CorpusChunk(file=number, data=body))
            for number, body in enumerate(bodies)
        ]
        return str((await self.corpora.UploadCorpus(iter(parts))).name)

    async def start(self, corpus: str = "corpora/small", **fields: Any) -> operations_pb2.Operation:
        request = v1.CreateActivationSetRequest(**{"corpus": corpus, "model": BERT, "sites": SITES} | fields)
        return await self.activations.CreateActivationSet(request)

    async def ended(self, operation: operations_pb2.Operation) -> operations_pb2.Operation:
        async with asyncio.timeout(60):
            return await self.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=operation.name))

    async def made(self, corpus: str = "corpora/small", **fields: Any) -> v1.ActivationSet:
        """A set, once it is there."""
        operation = await self.ended(await self.start(corpus, **fields))
        made = v1.ActivationSet()
        assert operation.response.Unpack(made), operation.error
        return made

    async def failed(self, corpus: str = "corpora/small", **fields: Any) -> tuple[str, str]:
        """Code and reason with which an operation ends."""
        error = (await self.ended(await self.start(corpus, **fields))).error
        info = error_details_pb2.ErrorInfo()
        error.details[0].Unpack(info)
        return code_pb2.Code.Name(error.code), info.reason

    async def bytes_of(self, name: str, offset: int = 0) -> tuple[bytes, list[v1.FileChunk]]:
        request = v1.DownloadActivationSetRequest(name=name, offset=offset)
        chunks = [chunk async for chunk in self.activations.DownloadActivationSet(request)]
        return b"".join(chunk.data for chunk in chunks), chunks

    async def downloaded(self, name: str, path: Path) -> ActivationSet:
        await asyncio.to_thread(path.write_bytes, (await self.bytes_of(name))[0])
        return ActivationSet.open(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("sets")
    for name in ("llama", "bert"):
        save_tiny(name, folder / "models" / f"tiny-{name}")
    async with running(folder / "models", data_dir=folder / "data") as server:
        client = Client(server.channel, folder / "data")
        await client.upload("small", WORDS, upos=TAGS)
        yield client


def by_hand(events: Sequence[v1.ExtractActivationsResponse], site: int) -> np.ndarray:
    tensors = [event.captured[site].values for event in events]
    return np.concatenate([np.frombuffer(t.data, "<f4").reshape(tuple(t.shape)) for t in tensors])


async def test_a_set_is_what_extraction_gives(client: Client, tmp_path: Path) -> None:
    made = await client.made(activation_set_id="whole")
    sentences = [v1.Sentence(words=v1.Words(words=words)) for words in WORDS]
    request = v1.ExtractActivationsRequest(model=BERT, sentences=sentences, sites=SITES)
    events = [event async for event in client.activations.ExtractActivations(request)]
    with await client.downloaded(made.name, tmp_path / "whole.h5") as found:
        assert found.masked.tolist() == [False] * 4 + [True] + [False] * 7
        for number, site in enumerate(found.sites):
            np.testing.assert_allclose(found.read(site), by_hand(events, number), atol=1e-5)
        assert found.labels("upos").tolist() == [tag for tags in TAGS for tag in tags]
        assert found.description.model == BERT


async def test_what_a_set_says_of_itself(client: Client) -> None:
    rule = v1.TokenFilter(layer="upos", labels=["NOUN", "VERB"], seed=4)
    made = await client.made(activation_set_id="described", filter=rule, aggregation=v1.FIRST, dtype=common_pb2.FLOAT16)
    assert made == await client.activations.GetActivationSet(v1.GetActivationSetRequest(name=made.name))
    assert (made.name, made.corpus, made.model) == ("activationSets/described", "corpora/small", BERT)
    corpus = await client.corpora.GetCorpus(corpora_pb2.GetCorpusRequest(name="corpora/small"))
    assert made.corpus_digest == corpus.digest
    assert [(site.site, site.width) for site in made.sites] == [
        ("embeddings", 32),
        *((f"layers.{k}.residual", 32) for k in range(3)),
    ]
    assert (made.aggregation, made.dtype, made.filter) == (v1.FIRST, common_pb2.FLOAT16, rule)
    assert (made.row_count, made.sentence_count, made.masked_count) == (5, 3, 0)
    (layer,) = made.layers
    assert (layer.name, layer.level, layer.unlabelled) == ("upos", corpora_pb2.LABEL_LEVEL_WORD, 0)
    assert [(label.label, label.count) for label in layer.labels] == [("NOUN", 2), ("VERB", 3)]
    assert made.applied.model_digest == made.model_digest != ""
    assert made.create_time.seconds > 0


async def test_progress_is_told(client: Client) -> None:
    operation = await client.ended(await client.start())
    metadata = common_pb2.OperationMetadata()
    assert operation.metadata.Unpack(metadata)
    assert (metadata.method, metadata.attempt) == ("CreateActivationSet", 1)
    assert metadata.target.startswith("activationSets/")
    assert metadata.stage in ("extracting", "statistics", "digest")


async def test_the_same_request_id_is_the_same_operation(client: Client) -> None:
    first, again = [await client.start(request_id="r1") for _ in range(2)]
    assert first.name == again.name
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.start(request_id="r1", sites=["embeddings"])
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    await client.ended(first)


async def test_a_request_id_holds_when_the_corpus_has_gone(client: Client) -> None:
    corpus = await client.upload("to-go", [["a", "b"]])
    first = await client.ended(await client.start(corpus, request_id="r2"))
    await client.corpora.DeleteCorpus(corpora_pb2.DeleteCorpusRequest(name=corpus))
    assert (await client.start(corpus, request_id="r2")).name == first.name


async def test_a_list_is_in_the_order_of_names(client: Client) -> None:
    for name in ("list-b", "list-a"):
        await client.made(activation_set_id=name, sites=["embeddings"])
    names, token = [], ""
    while True:
        request = v1.ListActivationSetsRequest(page_size=1, page_token=token)
        page = await client.activations.ListActivationSets(request)
        names += [each.name for each in page.activation_sets]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(set(names))
    assert {"activationSets/list-a", "activationSets/list-b"} <= set(names)


async def test_a_download_in_two_parts_is_the_file(client: Client) -> None:
    made = await client.made(activation_set_id="parts")
    whole, chunks = await client.bytes_of(made.name)
    assert hashlib.sha256(whole).hexdigest() == made.sha256 == chunks[0].sha256
    assert len(whole) == made.size_bytes == chunks[0].total_bytes
    rest, parts = await client.bytes_of(made.name, 1000)
    assert whole[:1000] + rest == whole
    assert parts[0].offset == 1000
    assert [(chunk.total_bytes, chunk.sha256) for chunk in parts[1:]] == [(0, "")] * (len(parts) - 1)
    nothing, chunks = await client.bytes_of(made.name, made.size_bytes)
    assert (nothing, len(chunks), chunks[0].total_bytes) == (b"", 1, made.size_bytes)
    request = v1.DownloadActivationSetRequest(name=made.name, offset=made.size_bytes + 1)
    assert await refused(client.activations.DownloadActivationSet(request)) == (
        "INVALID_ARGUMENT",
        "OUT_OF_RANGE",
        "offset",
    )


async def test_a_deleted_set_is_gone_but_for_those_who_read_it(client: Client) -> None:
    corpus = await client.upload("longer", WORDS * 500)
    made = await client.made(corpus, activation_set_id="deleted")
    stream = aiter(client.activations.DownloadActivationSet(v1.DownloadActivationSetRequest(name=made.name)))
    data = (await anext(stream)).data
    await client.activations.DeleteActivationSet(v1.DeleteActivationSetRequest(name=made.name))
    data += b"".join([chunk.data async for chunk in stream])
    assert hashlib.sha256(data).hexdigest() == made.sha256
    call = client.activations.GetActivationSet(v1.GetActivationSetRequest(name=made.name))
    assert (await refused(call))[0] == "NOT_FOUND"
    assert not list((client.folder / "activation-sets").glob("deleted*"))
    again = await client.made(corpus, activation_set_id="deleted")
    assert again.sha256 != ""


@pytest.mark.parametrize(
    ("label", "rows"), [("", list(range(12))), ("NOUN", [1, 7]), ("X", [])], ids=["all", "label", "masked"]
)
async def test_statistics(client: Client, tmp_path: Path, label: str, rows: list[int]) -> None:
    made = await client.made(activation_set_id=f"statistics-{label.lower()}.")
    neurons = common_pb2.Neurons(site="layers.1.residual", indices=[5, 2])
    request = v1.GetActivationStatisticsRequest(activation_set=made.name, neurons=neurons, label=label)
    found = await client.activations.GetActivationStatistics(request)
    with await client.downloaded(made.name, tmp_path / "set.h5") as kept:
        values = kept.read("layers.1.residual")[rows][:, [5, 2]]
        values = values[~kept.masked[rows]]
    assert found.count == len(values)
    if rows:
        expected = {"mean": values.mean(0), "variance": values.var(0), "min": values.min(0), "max": values.max(0)}
    else:
        expected = dict.fromkeys(("mean", "variance", "min", "max"), np.full(2, np.nan))
    for name, numbers in expected.items():
        np.testing.assert_allclose(np.frombuffer(getattr(found, name).data, "<f4"), numbers, rtol=1e-5)


BAD: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "corpus": ({"corpus": "corpora/absent"}, "NOT_FOUND", "", ""),
    "name": ({"corpus": "corpora/../x"}, "INVALID_ARGUMENT", "INVALID_NAME", "corpus"),
    "id": ({"activation_set_id": "A"}, "INVALID_ARGUMENT", "INVALID_ID", "activation_set_id"),
    "model": ({"model": "models/absent"}, "NOT_FOUND", "MODEL_NOT_FOUND", ""),
    "site": ({"sites": ["layers.7.residual"]}, "INVALID_ARGUMENT", "UNKNOWN_SITE", "sites[0]"),
    "dtype": ({"dtype": common_pb2.INT64}, "INVALID_ARGUMENT", "INVALID_DTYPE", "dtype"),
    "layer": ({"filter": v1.TokenFilter(layer="xpos")}, "INVALID_ARGUMENT", "UNKNOWN_LAYER", "filter.layer"),
    "edit": (
        {"interventions": [edits.Intervention(neurons=common_pb2.Neurons(site="x"), ablate=edits.Ablate())]},
        "INVALID_ARGUMENT",
        "UNKNOWN_SITE",
        "interventions[0].neurons.site",
    ),
    "sets": ({"intervention_sets": ["interventionSets/x"]}, "NOT_FOUND", "INTERVENTION_SET_NOT_FOUND", ""),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_can_be_seen_at_once_is_refused_at_once(client: Client, case: str) -> None:
    fields, code, reason, field = BAD[case]
    before = await client.operations.ListOperations(operations_pb2.ListOperationsRequest(name="operations"))
    found = await refused(client.start(**fields))
    assert (found[0], found[2]) == (code, field)
    assert not reason or found[1] == reason
    after = await client.operations.ListOperations(operations_pb2.ListOperationsRequest(name="operations"))
    assert len(after.operations) == len(before.operations)


async def test_a_name_that_is_taken(client: Client) -> None:
    await client.made(activation_set_id="taken")
    assert (await refused(client.start(activation_set_id="taken")))[0] == "ALREADY_EXISTS"


async def test_an_operation_that_fails_leaves_nothing(client: Client) -> None:
    corpus = await client.upload("too-long", [["a"], ["b"] * 300])
    assert await client.failed(corpus, activation_set_id="failing") == ("INVALID_ARGUMENT", "PROMPT_TOO_LONG")
    assert not list((client.folder / "activation-sets").glob("failing*"))
    call = client.activations.GetActivationSet(v1.GetActivationSetRequest(name="activationSets/failing"))
    assert (await refused(call))[0] == "NOT_FOUND"


async def test_a_corpus_that_is_read_stays(client: Client) -> None:
    corpus = await client.upload("read", WORDS * 300)
    operation = await client.start(corpus, model="models/tiny-llama", activation_set_id="reading")
    call = client.corpora.DeleteCorpus(corpora_pb2.DeleteCorpusRequest(name=corpus))
    assert (await refused(call))[:2] == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    await client.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name))
    ended = await client.ended(operation)
    assert ended.error.code == code_pb2.CANCELLED
    assert not list((client.folder / "activation-sets").glob("reading*"))
    await client.corpora.DeleteCorpus(corpora_pb2.DeleteCorpusRequest(name=corpus))


async def test_generation_goes_on_beside_it(client: Client) -> None:
    corpus = await client.upload("beside", WORDS * 300)
    operation = await client.start(corpus, model="models/tiny-llama", activation_set_id="beside")
    request = inference.GenerateRequest(model="models/tiny-llama", prompt="the nurse said", max_new_tokens=20)
    alone = [event async for event in client.inference.Generate(request)]
    again = [event async for event in client.inference.Generate(request)]
    assert [event.token.id for event in alone] == [event.token.id for event in again]
    assert (await client.ended(operation)).HasField("response")
