"""Uploads over the wire: whole and right, or nothing is kept."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from patchclamp.v1 import corpora_pb2 as v1
from patchclamp_analysis.corpora.corpus import Sentence, write_corpus
from patchclamp_analysis.corpora.files import CorpusFiles, Format, Source

from tests.service.corpora.corpus_server import (
    FILES,
    JSONL,
    LINES,
    POS,
    SENTENCE,
    TEXT,
    TSV,
    WORDS,
    Running,
    file,
    parts,
    refused,
    rule,
    running,
    sentences,
    stored,
)
from tests.service.work import soon

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("data"), corpus_bytes=5_000_000) as server:
        yield server


# Upload


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
async def test_upload(server: Running, chunk: int) -> None:
    corpus = await server.stub.UploadCorpus(
        parts(LINES, FILES, chunk, corpus_id=f"upload-{chunk}", no_label="_", request_id=f"r{chunk}")
    )
    assert corpus.name == f"corpora/upload-{chunk}"
    assert (corpus.sentence_count, corpus.word_count, corpus.content) == (3, 5, v1.CORPUS_CONTENT_WORDS)
    mood, pos = corpus.layers
    assert (mood.name, mood.level, mood.unlabelled) == ("mood", SENTENCE, 1)
    assert [(each.label, each.count) for each in pos.labels] == [("ADV", 2), ("NOUN", 1), ("VERB", 1)]
    assert (pos.unlabelled, corpus.source) == (1, "")
    assert corpus.create_time.ToDatetime() <= datetime.now(UTC).replace(tzinfo=None)
    assert await server.stub.GetCorpus(v1.GetCorpusRequest(name=corpus.name)) == corpus


async def test_what_was_stored_can_be_read_by_others(server: Running) -> None:
    stored_corpus = await stored(server, "read", no_label="_")
    corpus = await server.library.corpora.open("corpora/read")
    assert corpus.summary.digest == stored_corpus.digest
    assert next(iter(corpus)) == Sentence(
        ("Neurons", "fire"), labels={"pos": ("NOUN", "VERB")}, sentence_labels={"mood": "calm"}
    )


async def test_an_id_is_made_up(server: Running) -> None:
    first, second = await stored(server, ""), await stored(server, "")
    assert first.name != second.name
    assert first.digest == second.digest


@pytest.mark.parametrize(
    ("form", "data", "options", "words"),
    [
        (TSV, b"NOUN\tNeurons\nVERB\tfire\n", {"word_column": 2}, ["Neurons", "fire"]),
        (v1.CORPUS_FORMAT_CONLLU, b"1\tNeurons\tneuron\tNOUN" + b"\t_" * 6 + b"\n", {}, ["Neurons"]),
    ],
)
async def test_columns(server: Running, form: int, data: bytes, options: dict[str, Any], words: list[str]) -> None:
    columns = [v1.CorpusColumn(column=1 if form == TSV else 4, layer="pos")]
    corpus = await stored(server, "", [file("f", data)], form, columns=columns, **options)
    (sentence,) = await sentences(server, corpus.name)
    assert list(sentence.words) == words
    assert sentence.labels["pos"].labels[0] == "NOUN"


@pytest.mark.parametrize(
    ("form", "data", "content"),
    [
        (TEXT, b"one\ntwo\n", v1.CORPUS_CONTENT_TEXT),
        (JSONL, b'{"text": "one", "second": "two"}\n', v1.CORPUS_CONTENT_PAIRS),
    ],
)
async def test_texts(server: Running, form: int, data: bytes, content: int) -> None:
    corpus = await stored(server, "", [file("f", data)], form)
    assert (corpus.content, corpus.word_count) == (content, 0)
    assert (await sentences(server, corpus.name))[0].text == "one"


async def test_sizes_and_checksums_may_be_left_out(server: Running) -> None:
    assert (await stored(server, "", [file("w", WORDS, size_bytes=0, sha256="")])).sentence_count == 3


@pytest.mark.parametrize(
    ("options", "field", "text"),
    [
        ({"sha256": "0" * 64}, "sha256", "w has the SHA-256 "),
        ({"size_bytes": len(WORDS) + 1}, "size_bytes", f"w has {len(WORDS)} bytes instead of the {len(WORDS) + 1} "),
        ({"size_bytes": 5}, "size_bytes", "w has more than the 5 bytes promised"),
    ],
)
async def test_bytes_that_are_not_the_promised(server: Running, options: Any, field: str, text: str) -> None:
    call = server.stub.UploadCorpus(parts(LINES, [file("w", WORDS, **options)], corpus_id="lost"))
    code, reason, where, said = await refused(call)
    assert (code, reason, where) == ("DATA_LOSS", "UPLOAD_MISMATCH", f"header.files[0].{field}")
    assert said.startswith(text)
    assert (await refused(server.stub.GetCorpus(v1.GetCorpusRequest(name="corpora/lost"))))[0] == "NOT_FOUND"


async def test_a_wrong_file_is_named_with_line_and_column(server: Running) -> None:
    files = [file("dev.words", WORDS), file("dev.pos", b"NOUN VERB\nADV\nADV  ADV\n", "pos")]
    assert await refused(server.stub.UploadCorpus(parts(LINES, files))) == (
        "INVALID_ARGUMENT",
        "BAD_DATA",
        "header.files[1]",
        "dev.pos, line 3, column 4: a blank too many: single blanks separate words",
    )


async def test_files_without_a_sentence(server: Running) -> None:
    call = server.stub.UploadCorpus(parts(TEXT, [file("f", b"")]))
    assert (await refused(call))[1:] == ("BAD_DATA", "header.files", "there are no sentences")


@pytest.mark.parametrize(
    ("form", "files", "header", "reason", "field"),
    [
        (LINES, [file("w", WORDS), file("w", POS, "pos")], {}, "BAD_LAYOUT", "header.files[1].name"),
        (LINES, [file("w", WORDS), file("x", POS)], {}, "BAD_LAYOUT", "header.files[1].layer"),
        (LINES, [file("w", WORDS, "pos")], {}, "BAD_LAYOUT", "header.files"),
        (TEXT, [file("w", WORDS)], {"word_column": 2}, "BAD_LAYOUT", "header.word_column"),
        (
            TSV,
            [file("w", WORDS)],
            {"columns": [v1.CorpusColumn(column=1, layer="a b")]},
            "BAD_LAYOUT",
            "header.columns[0].layer",
        ),
        (LINES, [file("w", WORDS)], {"corpus_id": "A"}, "INVALID_ID", "header.corpus_id"),
        (LINES, [file("w", WORDS)], {"corpus_id": "../x"}, "INVALID_ID", "header.corpus_id"),
        (0, [file("w", WORDS)], {}, "INVALID_REQUEST", "header.format"),
        (LINES, [], {}, "INVALID_REQUEST", "header.files"),
        (LINES, [file("", WORDS)], {}, "INVALID_REQUEST", "header.files[0].name"),
        (LINES, [file("w", WORDS, sha256="x")], {}, "INVALID_REQUEST", "header.files[0].sha256"),
    ],
)
async def test_headers_that_make_no_sense(
    server: Running, form: int, files: Any, header: dict[str, Any], reason: str, field: str
) -> None:
    """Refused before any byte of a file has come."""
    call = server.stub.UploadCorpus()
    await call.write(next(parts(form, files, **header)))
    assert (await soon(refused(call)))[:3] == ("INVALID_ARGUMENT", reason, field)


def chunk(index: int, data: bytes = b"a\n") -> v1.UploadCorpusRequest:
    return v1.UploadCorpusRequest(chunk=v1.CorpusChunk(file=index, data=data))


HEADER = next(parts(LINES, [file("w", WORDS, size_bytes=0, sha256=""), file("pos", POS, "pos")]))


@pytest.mark.parametrize(
    ("stream", "reason", "field"),
    [
        ([], "NO_HEADER", "header"),
        ([chunk(0)], "NO_HEADER", "header"),
        ([HEADER, HEADER], "SECOND_HEADER", "header"),
        ([HEADER, chunk(0), HEADER], "SECOND_HEADER", "header"),
        ([HEADER, chunk(2)], "BAD_CHUNK", "chunk.file"),
        ([HEADER, chunk(1), chunk(0)], "BAD_CHUNK", "chunk.file"),
        ([HEADER, v1.UploadCorpusRequest()], "INVALID_REQUEST", "part"),
    ],
)
async def test_parts_that_do_not_follow_one_another(
    server: Running, stream: list[v1.UploadCorpusRequest], reason: str, field: str
) -> None:
    before = server.directories()
    assert (await refused(server.stub.UploadCorpus(iter(stream))))[:3] == ("INVALID_ARGUMENT", reason, field)
    assert server.directories() == before


async def test_too_large(server: Running) -> None:
    for promised in (6_000_000, 0):  # known from the header, or not
        files = [file("w", b"a\n" * 3_000_000, size_bytes=promised, sha256="")]
        code, reason, _, text = await refused(server.stub.UploadCorpus(parts(LINES, files, 1 << 20)))
        assert (code, reason) == ("RESOURCE_EXHAUSTED", "CORPUS_TOO_LARGE")
        assert text.endswith("the limit corpus_bytes is 5000000")


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "\x1b[31m", "a\u2028b"])
async def test_a_name_that_would_break_the_line_of_an_error(server: Running, name: str) -> None:
    code, reason, field, text = await refused(
        server.stub.UploadCorpus(parts(LINES, [file("w", WORDS), file(name, POS)]))
    )
    assert (code, reason, field) == ("INVALID_ARGUMENT", "INVALID_FILE_NAME", "header.files[1].name")
    assert text.isprintable()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("data", [b"ab " * 1_000_000 + b"c\n", b"a\n" * 900_000], ids=["upload", "corpus"])
async def test_a_full_disk(server: Running, data: bytes) -> None:
    before = server.directories()
    with files_no_larger_than(2 << 20):
        call = server.stub.UploadCorpus(parts(LINES, [file("w", data)], 1 << 20))
        assert (await refused(call))[:2] == ("RESOURCE_EXHAUSTED", "DISK_FULL")
    assert server.directories() == before
    assert (await stored(server, "")).sentence_count == 3


async def test_a_stream_that_breaks_off_leaves_nothing(server: Running) -> None:
    before = server.directories()
    call = server.stub.UploadCorpus()
    for part in list(parts(LINES, FILES, corpus_id="broken"))[:-1]:
        await call.write(part)
    async with asyncio.timeout(30):
        while server.directories() == before:
            await asyncio.sleep(0)
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    async with asyncio.timeout(30):
        while server.directories() != before:
            await asyncio.sleep(0)
    assert (await refused(server.stub.GetCorpus(v1.GetCorpusRequest(name="corpora/broken"))))[0] == "NOT_FOUND"


LARGE = b"And again\n" + b"Neurons fire\n" * 150_000


async def test_a_large_corpus_is_written_elsewhere(server: Running, tmp_path: Path) -> None:
    """In a process of its own, with the same outcome."""
    (tmp_path / "w").write_bytes(LARGE)
    here = write_corpus(CorpusFiles(Format.LINES, [Source.at(tmp_path / "w")]).read(), tmp_path / "corpus")
    corpus = await stored(server, "large", [file("w", LARGE)])
    assert (corpus.sentence_count, corpus.digest) == (150_001, here.summary.digest)
    rules = [rule("x", "y", regex=v1.RegularExpression(pattern="(?i)N.*"))]
    annotated = await server.stub.AnnotateCorpus(v1.AnnotateCorpusRequest(corpus=corpus.name, rules=rules))
    assert annotated.layers[0].labels[0].count == 150_000
    wrong = [file("w", LARGE + b"a  b\n")]
    assert (await refused(server.stub.UploadCorpus(parts(LINES, wrong))))[3].startswith("w, line 150002, column 2: ")


async def test_a_caller_who_leaves_while_it_is_written_leaves_nothing(server: Running) -> None:
    before = server.directories()
    call = server.stub.UploadCorpus(parts(LINES, [file("w", LARGE)], corpus_id="left"))
    async with asyncio.timeout(60):
        while len(server.directories()) < len(before) + 2:  # what has come, and what is being made of it
            await asyncio.sleep(0)
        call.cancel()
        while server.directories() != before:
            await asyncio.sleep(0)
    assert (await refused(server.stub.GetCorpus(v1.GetCorpusRequest(name="corpora/left"))))[0] == "NOT_FOUND"


# Names and request ids


async def test_an_id_that_is_taken(server: Running) -> None:
    first = await stored(server, "taken")
    before = server.directories()

    call = server.stub.UploadCorpus()
    await call.write(next(parts(LINES, [file("w", b"other\n")], corpus_id="taken")))  # refused by the header alone
    assert (await soon(refused(call)))[:3] == ("ALREADY_EXISTS", "ALREADY_EXISTS", "header.corpus_id")
    request = v1.SampleCorpusRequest(corpus="corpora/taken", corpus_id="taken", split=v1.Split(fractions=[1.0]))
    assert (await refused(server.stub.SampleCorpus(request)))[:3] == ("ALREADY_EXISTS", "ALREADY_EXISTS", "corpus_id")
    assert server.directories() == before
    assert await server.stub.GetCorpus(v1.GetCorpusRequest(name="corpora/taken")) == first
    assert len(await sentences(server, "corpora/taken")) == 3


async def test_of_two_at_the_same_time_one_wins(server: Running) -> None:
    before = server.directories()
    datas = [b"first\n", b"second\n"]
    calls = [server.stub.UploadCorpus(parts(TEXT, [file("f", data)], corpus_id="race")) for data in datas]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    won = [answer for answer in ended if isinstance(answer, v1.Corpus)]
    lost = [answer.code() for answer in ended if isinstance(answer, grpc.aio.AioRpcError)]
    assert (len(won), lost) == (1, [grpc.StatusCode.ALREADY_EXISTS])
    assert len(server.directories()) == len(before) + 1
    text = (await sentences(server, "corpora/race"))[0].text
    assert f"{text}\n".encode() == datas[ended.index(won[0])]


async def test_a_request_that_is_repeated(server: Running) -> None:
    first = await stored(server, "", request_id="once")
    before = server.directories()
    assert await stored(server, "", request_id="once") == first
    assert server.directories() == before


async def test_two_equal_requests_at_the_same_time(server: Running) -> None:
    before = server.directories()
    first, second = await asyncio.gather(*(stored(server, "", request_id="together") for _ in range(2)))
    assert first == second
    assert len(server.directories()) == len(before) + 1


OTHER: dict[str, dict[str, Any]] = {
    "header": {"no_label": "x"},
    "bytes": {"files": [file("w", b"other words\n")]},
    "id": {"corpus_id": "z"},
}


@pytest.mark.parametrize("other", OTHER)
async def test_a_request_id_that_is_reused(server: Running, other: str) -> None:
    given: dict[str, Any] = {"corpus_id": f"reused-{other}", "request_id": f"reused-{other}", "files": FILES}
    await server.stub.UploadCorpus(parts(LINES, **given))
    call = server.stub.UploadCorpus(parts(LINES, **(given | OTHER[other])))
    assert (await refused(call))[:3] == ("ALREADY_EXISTS", "REQUEST_ID_REUSED", "request_id")
