"""Corpora: what the client sends, and what it makes of the replies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, text_format
from google.protobuf.timestamp_pb2 import Timestamp
from patchclamp import (
    AnnotatedSentence,
    Corpus,
    CorpusContent,
    CorpusSource,
    InvalidArgument,
    LabelLayer,
    LabelLevel,
    NotationError,
    Progress,
    Unavailable,
    rules,
)
from patchclamp.v1 import corpora_pb2

from tests.clients.halves import Half
from tests.clients.scripted import RECEIVED, Failure, Script

WIRE = corpora_pb2.Corpus(
    name="corpora/a",
    create_time=Timestamp(seconds=1_700_000_000),
    sentence_count=2,
    word_count=3,
    content=corpora_pb2.CORPUS_CONTENT_WORDS,
    layers=[
        corpora_pb2.LabelLayer(
            name="upos",
            level=corpora_pb2.LABEL_LEVEL_WORD,
            labels=[corpora_pb2.LabelCount(label="NOUN", count=2)],
            unlabelled=1,
        )
    ],
    digest="d",
    source="corpora/b",
    size_bytes=90,
)
CORPUS = Corpus(
    "corpora/a",
    datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
    2,
    3,
    CorpusContent.WORDS,
    {"upos": LabelLayer("upos", LabelLevel.WORD, {"NOUN": 2}, 1)},
    "d",
    "corpora/b",
    90,
)
GONE = Failure(grpc.StatusCode.UNAVAILABLE, "gone")


def header_of(script: Script, upload: int = 0) -> corpora_pb2.CorpusHeader:
    header: corpora_pb2.CorpusHeader = script.requests[upload][0].header
    return header


def sent(script: Script, upload: int = 0) -> list[bytes]:
    """The bytes of each file of an upload, as the server put them together."""
    files = [b""] * len(header_of(script, upload).files)
    for message in script.requests[upload][1:]:
        files[message.chunk.file] += message.chunk.data
    return files


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


async def test_an_upload_sends_files_with_their_sizes_and_checksums(script: Script, half: Half, tmp_path: Path) -> None:
    words, upos = (
        write(tmp_path / "dev.words", "a b\nü\n" * 100_000),
        write(tmp_path / "dev.upos", "D N\nN\n" * 100_000),
    )
    script.reply("UploadCorpus", WIRE)
    async with half.client(script.target) as client:
        source = CorpusSource.lines(words, labels={"upos": upos})
        corpus = await half.wait(client.corpora.upload, source, id="dev", no_label="_")
    header = header_of(script)
    assert corpus == CORPUS
    assert (header.corpus_id, header.no_label, header.format) == ("dev", "_", corpora_pb2.CORPUS_FORMAT_LINES)
    assert [(file.name, file.layer, file.level) for file in header.files] == [
        ("dev.words", "", corpora_pb2.LABEL_LEVEL_UNSPECIFIED),
        ("dev.upos", "upos", corpora_pb2.LABEL_LEVEL_WORD),
    ]
    contents = [words.read_bytes(), upos.read_bytes()]
    assert sent(script) == contents
    assert [file.size_bytes for file in header.files] == [len(content) for content in contents]
    assert [file.sha256 for file in header.files] == [hashlib.sha256(content).hexdigest() for content in contents]
    sizes = [len(message.chunk.data) for message in script.requests[0][1:]]
    assert max(sizes) == 256 << 10


@pytest.mark.parametrize(
    ("make", "wire"),
    [
        (CorpusSource.text, "format: CORPUS_FORMAT_TEXT"),
        (CorpusSource.jsonl, "format: CORPUS_FORMAT_JSONL"),
        (
            lambda path: CorpusSource.lines(path, sentence_labels={"s": path}),
            'format: CORPUS_FORMAT_LINES files { name: "f" layer: "s" level: LABEL_LEVEL_SENTENCE }',
        ),
        (
            lambda path: CorpusSource.conllu(path, {"upos": 4, "number": (6, "Number")}),
            'format: CORPUS_FORMAT_CONLLU word_column: 2 columns { column: 4 layer: "upos" } '
            'columns { column: 6 layer: "number" key: "Number" }',
        ),
        (
            lambda path: CorpusSource.tsv(path, {"ner": 2}, word_column=3),
            'format: CORPUS_FORMAT_TSV word_column: 3 columns { column: 2 layer: "ner" }',
        ),
    ],
)
async def test_each_source_says_what_it_is(
    script: Script, half: Half, tmp_path: Path, make: Callable[[Path], CorpusSource], wire: str
) -> None:
    file = write(tmp_path / "f", "x\n")
    script.reply("UploadCorpus", WIRE)
    async with half.client(script.target) as client:
        await half.wait(client.corpora.upload, make(file), request_id="r")
    header = header_of(script)
    for described in header.files:
        assert (described.size_bytes, len(described.sha256)) == (2, 64)
        described.size_bytes, described.sha256 = 0, ""
    wanted = text_format.Parse(f'request_id: "r" {wire}', corpora_pb2.CorpusHeader())
    wanted.files.insert(0, corpora_pb2.CorpusFile(name="f"))
    assert header == wanted


async def test_an_empty_file_is_sent_as_one(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("UploadCorpus", WIRE)
    async with half.client(script.target) as client:
        await half.wait(client.corpora.upload, CorpusSource.text(write(tmp_path / "f", "")))
    assert (len(script.requests[0]), header_of(script).files[0].size_bytes) == (1, 0)


async def test_what_can_be_read_once_only_is_kept_meanwhile(script: Script, half: Half, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe\n")
    os.close(writing)
    script.reply("UploadCorpus", WIRE)
    async with half.client(script.target) as client:
        await half.wait(client.corpora.upload, CorpusSource.text(f"/dev/fd/{reading}"))
    os.close(reading)
    assert sent(script) == [b"from a pipe\n"]


async def test_a_refusal_comes_before_everything_is_sent(script: Script, half: Half, tmp_path: Path) -> None:
    source = CorpusSource.text(write(tmp_path / "f", "x" * (8 << 20)))
    async with half.client(script.target) as client:
        for _ in range(20):  # gRPC's own report of this is a matter of luck
            script.reply("UploadCorpus", Failure(grpc.StatusCode.INVALID_ARGUMENT, "bad header"))
            with pytest.raises(InvalidArgument, match="bad header"):
                await half.wait(client.corpora.upload, source)
    assert {len(request) for request in script.requests} == {1}


async def test_progress_is_told_up_to_the_end(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("UploadCorpus", WIRE)
    told: list[Progress] = []
    async with half.client(script.target) as client:
        source = CorpusSource.text(write(tmp_path / "f", "x" * 600_000))
        await half.wait(client.corpora.upload, source, progress=told.append)
    assert [progress.done for progress in told] == [0, 262_144, 524_288, 600_000]
    assert {(progress.stage, progress.total, progress.unit) for progress in told} == {("uploading", 600_000, "bytes")}


async def test_what_goes_wrong_on_this_side_is_raised_as_it_is(script: Script, half: Half, tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.done:
            raise KeyError("mine")

    script.reply("UploadCorpus", WIRE)
    async with half.client(script.target) as client:
        with pytest.raises(KeyError, match="mine"):
            await half.wait(client.corpora.upload, CorpusSource.text(write(tmp_path / "f", "x")), progress=fail)
        with pytest.raises(FileNotFoundError):
            await half.wait(client.corpora.upload, CorpusSource.text(tmp_path / "nowhere"))
    assert len(script.requests) == 1


async def test_an_upload_is_tried_again_as_the_same_request(script: Script, half: Half, tmp_path: Path) -> None:
    content = "x" * 600_000
    script.reply("UploadCorpus", RECEIVED, GONE)
    script.reply("UploadCorpus", WIRE)
    async with half.client(script.target, retries=1) as client:
        assert await half.wait(client.corpora.upload, CorpusSource.text(write(tmp_path / "f", content))) == CORPUS
    assert [sent(script, upload) for upload in (0, 1)] == [[content.encode()]] * 2
    first, second = header_of(script, 0).request_id, header_of(script, 1).request_id
    assert first == second != ""


async def test_tries_of_an_upload_are_counted(script: Script, half: Half, tmp_path: Path) -> None:
    script.reply("UploadCorpus", RECEIVED, GONE)
    async with half.client(script.target, retries=0) as client:
        with pytest.raises(Unavailable, match="gone"):
            await half.wait(client.corpora.upload, CorpusSource.text(write(tmp_path / "f", "x" * 600_000)))


async def test_each_upload_is_a_request_of_its_own(script: Script, half: Half, tmp_path: Path) -> None:
    source = CorpusSource.text(write(tmp_path / "f", "x"))
    async with half.client(script.target) as client:
        for _ in range(2):
            script.reply("UploadCorpus", WIRE)
            await half.wait(client.corpora.upload, source)
    assert header_of(script, 0).request_id != header_of(script, 1).request_id


async def test_annotate_sends_rules_in_their_order(script: Script, half: Half) -> None:
    script.reply("AnnotateCorpus", WIRE)
    async with half.client(script.target) as client:
        given = [rules.regex("kind", "number", "[0-9]+"), "kind=other:otherwise"]
        assert await half.wait(client.corpora.annotate, CORPUS, given, id="b", request_id="r") == CORPUS
    wire = """
        corpus: "corpora/a" corpus_id: "b" request_id: "r"
        rules { layer: "kind" label: "number" regex { pattern: "[0-9]+" } }
        rules { layer: "kind" label: "other" otherwise {} }
    """
    assert script.requests == [text_format.Parse(wire, corpora_pb2.AnnotateCorpusRequest())]


@pytest.mark.parametrize(("given", "error"), [("kind=x:otherwise", TypeError), (["kind=x:otherwis"], NotationError)])
async def test_annotate_refuses_what_is_no_list_of_rules(half: Half, given: Any, error: type[Exception]) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(error):
            await half.wait(client.corpora.annotate, "corpora/a", given)


async def test_sample_balanced(script: Script, half: Half) -> None:
    script.reply("SampleCorpus", WIRE)
    async with half.client(script.target) as client:
        options = {"per_label": 5, "labels": ["N", "V"], "seed": 7, "id": "b", "request_id": "r"}
        assert await half.wait(client.corpora.sample_balanced, "corpora/a", "upos", **options) == CORPUS
    wire = """
        corpus: "corpora/a" corpus_id: "b" seed: 7 request_id: "r"
        balanced { layer: "upos" per_label: 5 labels: ["N", "V"] }
    """
    assert script.requests == [text_format.Parse(wire, corpora_pb2.SampleCorpusRequest())]


@pytest.mark.parametrize(("ids", "wanted"), [([], ["", ""]), (["train", "test"], ["train", "test"])])
async def test_split_makes_every_part(script: Script, half: Half, ids: list[str], wanted: list[str]) -> None:
    for name in ("corpora/x", "corpora/y"):
        script.reply("SampleCorpus", corpora_pb2.Corpus(name=name))
    async with half.client(script.target) as client:
        train, test = await half.wait(client.corpora.split, CORPUS, [0.75, 0.25], seed=3, ids=ids)
    assert (train.name, test.name) == ("corpora/x", "corpora/y")
    assert [request.corpus_id for request in script.requests] == wanted
    assert [request.split.part for request in script.requests] == [0, 1]
    assert {(tuple(request.split.fractions), request.seed) for request in script.requests} == {((0.75, 0.25), 3)}
    assert len({request.request_id for request in script.requests}) == 2


async def test_split_wants_an_id_for_each_part(half: Half) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="1 ids are given for 2 parts"):
            await half.wait(client.corpora.split, "corpora/a", [0.5, 0.5], ids=["x"])


async def test_a_seed_is_not_negative(half: Half) -> None:
    async with half.client("127.0.0.1:1") as client:
        for call in (client.corpora.sample_balanced, client.corpora.split):
            with pytest.raises(ValueError, match="seed is -1"):
                await half.wait(call, "corpora/a", [], seed=-1)


async def test_get_and_delete(script: Script, half: Half) -> None:
    script.reply("GetCorpus", WIRE)
    script.reply("GetCorpus", WIRE)
    script.reply("DeleteCorpus", empty_pb2.Empty())
    async with half.client(script.target) as client:
        corpus = await half.wait(client.corpora.get, "corpora/a")
        assert await half.wait(client.corpora.get, corpus) == corpus
        assert await half.wait(client.corpora.delete, corpus) is None
    assert [request.name for request in script.requests] == ["corpora/a"] * 3


async def test_list_reads_every_page(script: Script, half: Half) -> None:
    script.reply("ListCorpora", corpora_pb2.ListCorporaResponse(corpora=[WIRE], next_page_token="n"))
    script.reply("ListCorpora", corpora_pb2.ListCorporaResponse(corpora=[WIRE]))
    async with half.client(script.target) as client:
        assert await half.wait(client.corpora.list) == (CORPUS, CORPUS)
    assert [request.page_token for request in script.requests] == ["", "n"]


async def test_sentences_are_fetched_as_they_are_read(script: Script, half: Half) -> None:
    first = corpora_pb2.AnnotatedSentence(
        words=["a", "b"],
        labels={layer: corpora_pb2.WordLabels(labels=["", layer]) for layer in ("upos", "ner")},
        sentence_labels={"z": "1", "y": "2"},
    )
    second = corpora_pb2.AnnotatedSentence(text="c", second="d")
    script.reply("ListCorpusSentences", corpora_pb2.ListCorpusSentencesResponse(sentences=[first], next_page_token="n"))
    script.reply("ListCorpusSentences", corpora_pb2.ListCorpusSentencesResponse(sentences=[second]))
    async with half.client(script.target) as client:
        stream = client.corpora.sentences(CORPUS, page_size=1)
        sentence = await half.next(stream)
        assert len(script.requests) == 1
        rest = await half.items(stream)
    assert sentence == AnnotatedSentence(
        ("a", "b"), "", "", {"ner": ("", "ner"), "upos": ("", "upos")}, {"y": "2", "z": "1"}
    )
    assert rest == [AnnotatedSentence((), "c", "d", {}, {})]
    assert [(request.corpus, request.page_size, request.page_token) for request in script.requests] == [
        ("corpora/a", 1, ""),
        ("corpora/a", 1, "n"),
    ]


def test_what_the_wire_may_come_to_say_is_unknown() -> None:
    wire = text_format.Parse('content: 9 layers { name: "a" level: 9 }', corpora_pb2.Corpus())
    corpus = Corpus.from_proto(wire)
    assert (corpus.content, corpus.layers["a"].level) == (CorpusContent.UNKNOWN, LabelLevel.UNKNOWN)
