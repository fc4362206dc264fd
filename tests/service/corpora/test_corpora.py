"""Corpora over the wire: listed, read, annotated, sampled and removed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from patchclamp.v1 import corpora_pb2 as v1
from patchclamp_service.store.staging import held, staging, sweep
from sqlalchemy import Connection

from tests.service.corpora.corpus_server import (
    SENTENCE,
    TEXT,
    TSV,
    Running,
    file,
    refused,
    rule,
    running,
    sentences,
    stored,
)
from tests.service.work import METHOD, soon

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("data"), corpus_bytes=5_000_000) as server:
        yield server


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


@pytest.mark.parametrize("size", [10, 1_500_000], ids=["in a thread", "in a process"])
@pytest.mark.parametrize("method", ["AnnotateCorpus", "SampleCorpus"])
async def test_a_source_that_is_removed_while_its_turn_is_waited_for(tmp_path: Path, method: str, size: int) -> None:
    requests = {
        "AnnotateCorpus": v1.AnnotateCorpusRequest(
            corpus="corpora/source", rules=[rule("x", "y", length=v1.TokenLength(max=4))]
        ),
        "SampleCorpus": v1.SampleCorpusRequest(corpus="corpora/source", split=v1.Split(fractions=[1.0])),
    }
    async with running(tmp_path) as server:
        words = b"a few\n" * (size // 6 + 1)
        await stored(server, "source", [file("words", words)])
        writer = server.library.corpora._writer
        slots = writer._small if size == 10 else writer._middling._slots
        async with slots, slots:
            call = asyncio.ensure_future(getattr(server.stub, method)(requests[method]))
            while not any(name.startswith(".") for name in server.directories()):
                await server.stub.GetCorpus(v1.GetCorpusRequest(name="corpora/source"))
            await server.stub.DeleteCorpus(v1.DeleteCorpusRequest(name="corpora/source"))
        assert (await refused(call))[:3] == ("NOT_FOUND", "NOT_FOUND", "corpus")
        assert server.directories() == []


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


async def test_what_cannot_be_swept_stays(tmp_path: Path) -> None:
    """And is in the way of nothing else."""

    async def wanted(name: str) -> bool:
        if name == "locked":
            raise PermissionError(1, "Operation not permitted")
        return False

    for name in ("a", "locked", "z"):
        (tmp_path / name).mkdir()
        long_ago(tmp_path / name)
    assert sorted(await sweep(tmp_path, wanted)) == ["a", "z"]
    assert (tmp_path / "locked").exists()


async def test_nothing_is_swept_while_the_database_is_of_no_use(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        crashed = server.folder / "crashed@1"
        crashed.mkdir(parents=True)
        rename = "ALTER TABLE {} RENAME TO {}".format
        database = server.library.corpora._resources._database
        for names, left in ((("resources", "lost"), ["crashed@1"]), (("lost", "resources"), [])):
            long_ago(crashed)
            await database.run(partial(Connection.exec_driver_sql, statement=rename(*names)))
            await server.library.corpora.sweep()
            assert server.directories() == left


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
