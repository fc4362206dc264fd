"""Corpora over the wire: a server on a real port, its files and its database."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from patchclamp.v1 import corpora_pb2 as v1
from patchclamp.v1 import corpora_pb2_grpc
from patchclamp_analysis.corpus import Sentence, write_corpus
from patchclamp_analysis.corpus_files import CorpusFiles, Format, Source
from patchclamp_service.library import Library
from patchclamp_service.metrics import Metrics
from patchclamp_service.server import assemble
from patchclamp_service.servicers.registry import Registry
from patchclamp_service.settings import load_settings
from patchclamp_service.staging import held, staging

from tests.service.work import METHOD, Work, soon

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS, POS, MOOD = b"Neurons fire\nagain\nAnd again\n", b"NOUN VERB\nADV\n_ ADV\n", b"calm\n\ncalm\n"
LINES, TSV, JSONL, TEXT = (
    v1.CORPUS_FORMAT_LINES,
    v1.CORPUS_FORMAT_TSV,
    v1.CORPUS_FORMAT_JSONL,
    v1.CORPUS_FORMAT_TEXT,
)
SENTENCE = v1.LABEL_LEVEL_SENTENCE


@dataclass(frozen=True)
class Running:
    """A server in this process, a stub that talks to it, and what is behind it."""

    stub: Any
    library: Library
    work: Work

    @property
    def folder(self) -> Path:
        return self.library.corpora.folder

    def directories(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []


@asynccontextmanager
async def running(data_dir: Path, **flags: Any) -> AsyncIterator[Running]:
    settings = load_settings({"models": ["a"], "listen": "127.0.0.1:0", "data_dir": data_dir} | flags)
    library, work = Library.open(settings), Work()
    library.jobs.register(METHOD, v1.Corpus, work.run)  # type: ignore[arg-type]
    await library.jobs.resume()
    server = assemble(settings, Registry(), library, Metrics())
    await server.grpc.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Running(corpora_pb2_grpc.CorpusServiceStub(channel), library, work)
    await server.drain(0)
    library.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("data"), corpus_bytes=5_000_000) as server:
        yield server


def file(name: str, data: bytes, layer: str = "", **options: Any) -> tuple[v1.CorpusFile, bytes]:
    checked: dict[str, Any] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | options
    return v1.CorpusFile(name=name, layer=layer, **checked), data


def parts(
    form: int, files: Sequence[tuple[v1.CorpusFile, bytes]], chunk: int = 0, **header: Any
) -> Iterator[v1.UploadCorpusRequest]:
    """An upload in chunks of so many bytes; 0: five chunks a file."""
    described = v1.CorpusHeader(format=form, files=[file for file, _ in files], **header)  # type: ignore[arg-type]
    yield v1.UploadCorpusRequest(header=described)
    for i, (_, data) in enumerate(files):
        step = chunk or len(data) // 5 + 1
        for start in range(0, len(data), step):
            yield v1.UploadCorpusRequest(chunk=v1.CorpusChunk(file=i, data=data[start : start + step]))


def rule(layer: str, label: str, **test: Any) -> v1.AnnotationRule:
    return v1.AnnotationRule(layer=layer, label=label, **test)


FILES = (file("w", WORDS), file("pos", POS, "pos"), file("mood", MOOD, "mood", level=SENTENCE))


async def stored(server: Running, corpus_id: str, files: Any = FILES, form: int = LINES, **header: Any) -> v1.Corpus:
    corpus = await server.stub.UploadCorpus(parts(form, files, corpus_id=corpus_id, **header))
    assert isinstance(corpus, v1.Corpus)
    return corpus


async def refused(call: Any) -> tuple[str, str, str, str]:
    """Code, reason, field and text with which a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error: Any = caught.value
    info = error_details_pb2.ErrorInfo()
    details = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]).details
    assert details[0].Unpack(info)
    return error.code().name, info.reason, info.metadata.get("field", ""), error.details()


async def sentences(server: Running, name: str, size: int = 0) -> list[v1.AnnotatedSentence]:
    found: list[v1.AnnotatedSentence] = []
    token = ""
    while True:
        request = v1.ListCorpusSentencesRequest(corpus=name, page_size=size, page_token=token)
        page = await server.stub.ListCorpusSentences(request)
        assert not size or len(page.sentences) <= size
        found += page.sentences
        token = page.next_page_token
        if not token:
            return found


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


# List, pages, delete


async def test_pages_of_corpora(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        names = [f"corpora/{name}" for name in ("a", "a.b", "b", "c-1")]
        for name in reversed(names):
            await stored(server, name.removeprefix("corpora/"))
        found: list[str] = []
        token = ""
        while True:
            page = await server.stub.ListCorpora(v1.ListCorporaRequest(page_size=3, page_token=token))
            found += [corpus.name for corpus in page.corpora]
            token = page.next_page_token
            if not token:
                break
        assert found == names
        assert page.corpora[0].layers[1].labels
        call = server.stub.ListCorpora(v1.ListCorporaRequest(page_token="x"))
        assert (await refused(call))[:3] == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", "page_token")


async def test_pages_of_corpora_with_many_labels_stay_small(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        columns = [v1.CorpusColumn(column=i, layer=f"x{i}") for i in (1, 2)]
        lines = [f"w{'x' * 200}{i}\t{'y' * 200}{i}\n\n" for i in range(3000)]
        for name in "abc":
            await stored(server, name, [file("f", "".join(lines).encode())], TSV, columns=columns)
        found, token, pages = [], "", 0
        while not pages or token:
            page = await server.stub.ListCorpora(v1.ListCorporaRequest(page_token=token))
            assert page.ByteSize() < 4 << 20
            found += [corpus.name for corpus in page.corpora]
            token, pages = page.next_page_token, pages + 1
        assert (found, pages) == (["corpora/a", "corpora/b", "corpora/c"], 3)


async def test_pages_of_sentences(server: Running) -> None:
    data = b"".join(b"%d\n" % i for i in range(2500))
    corpus = await stored(server, "pages", [file("f", data)], TEXT)
    for size in (0, 1000, 999):
        texts = [sentence.text for sentence in await sentences(server, corpus.name, size)]
        assert texts == [str(i) for i in range(2500)]


async def test_pages_of_long_sentences_stay_small(server: Running) -> None:
    data = b"".join(b"%d" % i + b"x" * 900_000 + b"\n" for i in range(5))
    corpus = await stored(server, "long", [file("f", data)], TEXT)
    page = await server.stub.ListCorpusSentences(v1.ListCorpusSentencesRequest(corpus=corpus.name))
    assert len(page.sentences) == 2
    assert [sentence.text[0] for sentence in await sentences(server, corpus.name)] == list("01234")


async def test_sentences_with_their_labels(server: Running) -> None:
    corpus = await stored(server, "labels", no_label="_")
    *_, last = await sentences(server, corpus.name)
    assert list(last.words) == ["And", "again"]
    assert list(last.labels["pos"].labels) == ["", "ADV"]
    assert dict(last.sentence_labels) == {"mood": "calm"}


async def test_a_token_is_for_one_corpus(server: Running) -> None:
    """Also when another has got its name."""
    for name in ("one", "two"):
        await stored(server, name, [file("f", f"{name}\nx\n".encode())], TEXT)
    page = await server.stub.ListCorpusSentences(v1.ListCorpusSentencesRequest(corpus="corpora/one", page_size=1))
    await server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name="corpora/one"))
    await stored(server, "one", [file("f", b"y\nz\n")], TEXT)
    for name in ("corpora/one", "corpora/two"):
        request = v1.ListCorpusSentencesRequest(corpus=name, page_size=1, page_token=page.next_page_token)
        assert (await refused(server.stub.ListCorpusSentences(request)))[:2] == (
            "INVALID_ARGUMENT",
            "INVALID_PAGE_TOKEN",
        )


async def test_delete(server: Running) -> None:
    before = server.directories()
    corpus = await stored(server, "gone")
    await server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name=corpus.name))
    assert server.directories() == before
    for call in (
        server.stub.GetCorpus(v1.GetCorpusRequest(name=corpus.name)),
        server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name=corpus.name)),
        server.stub.ListCorpusSentences(v1.ListCorpusSentencesRequest(corpus=corpus.name)),
        server.stub.SampleCorpus(v1.SampleCorpusRequest(corpus=corpus.name, split=v1.Split(fractions=[1.0]))),
    ):
        assert (await refused(call))[0] == "NOT_FOUND"
    assert (await stored(server, "gone", [file("f", b"new\n")], TEXT)).sentence_count == 1


async def test_a_corpus_that_is_read_is_not_deleted(server: Running) -> None:
    corpus = await stored(server, "in-use")
    operation = await server.library.jobs.start(METHOD, v1.Corpus(), target="things/a", reads=[corpus.name])
    call = server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name=corpus.name))
    assert (await refused(call))[:2] == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert len(await sentences(server, corpus.name)) == 3
    await server.library.jobs.cancel(operation.name)
    await soon(server.library.jobs.wait(operation.name, None))
    await server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name=corpus.name))


@pytest.mark.parametrize("name", ["x", "corpora/", "corpora/../x", "/etc/passwd", "models/x", "corpora/X"])
async def test_names_that_are_none(server: Running, name: str) -> None:
    calls = [
        (server.stub.GetCorpus(v1.GetCorpusRequest(name=name)), "name"),
        (server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name=name)), "name"),
        (server.stub.ListCorpusSentences(v1.ListCorpusSentencesRequest(corpus=name)), "corpus"),
    ]
    for call, field in calls:
        assert (await refused(call))[:3] == ("INVALID_ARGUMENT", "INVALID_NAME", field)


# Annotate


async def test_annotate(server: Running) -> None:
    source = await stored(server, "to-annotate")
    rules = [
        rule("kind", "list", vocabulary=v1.Vocabulary(words=["neurons"], ignore_case=True)),
        rule("kind", "title", casing=v1.Casing(kind=v1.CASING_KIND_TITLE)),
        rule("kind", "first", position=v1.WordPosition(indices=[0])),
        rule("kind", "rest", otherwise=v1.Otherwise()),
        rule("end", "re", affix=v1.Affix(suffixes=["re"])),
        rule("end", "n", regex=v1.RegularExpression(pattern=".*n")),
        rule("short", "yes", length=v1.TokenLength(max=4)),
        rule("question", "no", regex=v1.RegularExpression(pattern="again$", search=True), level=SENTENCE),
    ]
    request = v1.AnnotateCorpusRequest(corpus=source.name, corpus_id="annotated", rules=rules, request_id="annotate")
    corpus = await server.stub.AnnotateCorpus(request)
    assert (corpus.name, corpus.source) == ("corpora/annotated", source.name)
    assert [layer.name for layer in corpus.layers] == ["end", "kind", "mood", "pos", "question", "short"]
    found = await sentences(server, corpus.name)
    assert [list(each.labels["kind"].labels) for each in found] == [["list", "rest"], ["first"], ["title", "rest"]]
    assert [list(each.labels["end"].labels) for each in found] == [["", "re"], ["n"], ["", "n"]]
    assert [list(each.labels["short"].labels) for each in found] == [["", "yes"], [""], ["yes", ""]]
    assert [each.sentence_labels["question"] for each in found] == ["", "no", "no"]
    await server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name=source.name))
    assert await server.stub.AnnotateCorpus(request) == corpus  # repeated, though its source is gone


async def test_a_hostile_pattern_is_done_at_once(server: Running) -> None:
    corpus = await stored(server, "as", [file("f", b"a" * 100_000 + b"!\n")])
    rules = [
        rule("x", str(i), regex=v1.RegularExpression(pattern=pattern))
        for i, pattern in enumerate(["(a+)+", "(a|aa)+$", "((a*)*)*b", "(.*a){100}"])
    ]
    call = server.stub.AnnotateCorpus(v1.AnnotateCorpusRequest(corpus=corpus.name, rules=rules), timeout=60)
    assert (await call).layers[0].unlabelled == 1


async def test_a_vocabulary_of_a_million_words(server: Running) -> None:
    corpus = await stored(server, "million")
    words = [*(f"word{i}" for i in range(999_999)), "again"]
    request = v1.AnnotateCorpusRequest(
        corpus=corpus.name, rules=[rule("x", "y", vocabulary=v1.Vocabulary(words=words))]
    )
    (count,) = next(layer for layer in (await server.stub.AnnotateCorpus(request)).layers if layer.name == "x").labels
    assert count.count == 2


@pytest.mark.parametrize(
    ("rules", "reason", "field"),
    [
        ([], "INVALID_REQUEST", "rules"),
        ([rule("x", "y")], "INVALID_REQUEST", "rules[0].rule"),
        ([rule("x", "", otherwise=v1.Otherwise())], "INVALID_REQUEST", "rules[0].label"),
        ([rule("x", "y", casing=v1.Casing())], "INVALID_REQUEST", "rules[0].casing.kind"),
        ([rule("pos", "y", otherwise=v1.Otherwise())], "BAD_RULE", "rules[0].layer"),
        ([rule("x", "y", length=v1.TokenLength(min=2, max=1))], "BAD_RULE", "rules[0].length.max"),
        (
            [
                rule("x", "y", length=v1.TokenLength(min=2)),
                rule("x", "z", regex=v1.RegularExpression(pattern="(?<=a)b")),
            ],
            "BAD_RULE",
            "rules[1].regex.pattern",
        ),
    ],
)
async def test_wrong_rules(server: Running, rules: list[v1.AnnotationRule], reason: str, field: str) -> None:
    corpus = await stored(server, "")
    call = server.stub.AnnotateCorpus(v1.AnnotateCorpusRequest(corpus=corpus.name, rules=rules))
    assert (await refused(call))[:3] == ("INVALID_ARGUMENT", reason, field)


# Sample


async def test_split(server: Running) -> None:
    data = b"".join(b"%d\n" % i for i in range(100))
    source = await stored(server, "to-split", [file("f", data)], TEXT)
    texts: list[str] = []
    for part, size in enumerate((70, 20, 10)):
        split = v1.Split(fractions=[0.7, 0.2, 0.1], part=part)
        corpus = await server.stub.SampleCorpus(v1.SampleCorpusRequest(corpus=source.name, split=split, seed=3))
        assert (corpus.sentence_count, corpus.source) == (size, source.name)
        texts += [sentence.text for sentence in await sentences(server, corpus.name)]
    assert sorted(map(int, texts)) == list(range(100))


async def test_balanced(server: Running) -> None:
    source = await stored(server, "to-balance", no_label="_")
    request = v1.SampleCorpusRequest(corpus=source.name, balanced=v1.Balanced(layer="pos"))
    pos = (await server.stub.SampleCorpus(request)).layers[1]
    assert [(each.label, each.count) for each in pos.labels] == [("ADV", 1), ("NOUN", 1), ("VERB", 1)]


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ({}, "method"),
        ({"balanced": v1.Balanced(layer="absent")}, "balanced.layer"),
        ({"balanced": v1.Balanced(layer="pos", per_label=9)}, "balanced.per_label"),
        ({"balanced": v1.Balanced(layer="pos", labels=["ADV", "X"])}, "balanced.labels[1]"),
        ({"split": v1.Split(fractions=[0.5], part=1)}, "split.part"),
        ({"split": v1.Split(fractions=[0.5, 0.7])}, "split.fractions"),
        ({"split": v1.Split(fractions=[0.5, float("nan")])}, "split.fractions[1]"),
        ({"split": v1.Split(fractions=[0.01])}, "split.fractions[0]"),
    ],
)
async def test_wrong_samples(server: Running, method: dict[str, Any], field: str) -> None:
    corpus = await stored(server, "")
    call = server.stub.SampleCorpus(v1.SampleCorpusRequest(corpus=corpus.name, **method))
    assert (await refused(call))[::2] == ("INVALID_ARGUMENT", field)


# What lies on the disk


async def test_corpora_survive_the_server(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        corpus = await stored(server, "kept")
    async with running(tmp_path) as server:
        await server.library.corpora.sweep()
        assert await server.stub.GetCorpus(v1.GetCorpusRequest(name="corpora/kept")) == corpus
        assert len(await sentences(server, "corpora/kept")) == 3


def long_ago(*directories: Path) -> None:
    for directory in directories:
        os.utime(directory, (1, 1))


async def test_what_a_crash_has_left_is_swept(tmp_path: Path) -> None:
    """A directory without a row, and one in the making; but not what somebody holds, has kept, or put there."""
    async with running(tmp_path) as server:
        corpus = await stored(server, "kept")
        (kept,) = server.directories()
        folder = server.folder
        made = ["kept@1", "crashed@1", "." + "0" * 16, "lost+found", "held@1", "new@1"]
        for name in made:
            (folder / name / "corpus").mkdir(parents=True)
            long_ago(folder / name)
        long_ago(folder / kept)
        (folder / "new@1" / "x").mkdir()
        async with staging(folder) as staged:
            long_ago(staged)
            with held(folder / "held@1"):
                await server.library.corpora.sweep()
            assert server.directories() == sorted([kept, "lost+found", "held@1", "new@1", staged.name])
        assert server.directories() == sorted([kept, "lost+found", "held@1", "new@1"])
        assert (await server.library.corpora.open(corpus.name)).summary.digest == corpus.digest


@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
async def test_damaged_files_are_not_read(tmp_path: Path, damage: str) -> None:
    async with running(tmp_path) as server:
        await stored(server, "other", [file("f", b"other\n")], TEXT)
        (other,) = server.directories()
        corpus = await stored(server, "damaged", [file("f", b"right\n")], TEXT)
        directory = server.folder / next(name for name in server.directories() if name != other)
        if damage == "gone":
            directory.rename(server.folder / "moved")
        elif damage == "cut":
            (directory / "sentences.jsonl").write_bytes(b"")
        else:
            for name in ("sentences.jsonl", "summary.json"):
                (directory / name).write_bytes((server.folder / other / name).read_bytes())
        call = server.stub.ListCorpusSentences(v1.ListCorpusSentencesRequest(corpus=corpus.name))
        assert (await refused(call))[:3] == ("DATA_LOSS", "DATA_LOST", "corpus")
