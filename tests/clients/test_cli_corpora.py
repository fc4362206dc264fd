"""`patchclamp corpora …`, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import empty_pb2, text_format
from patchclamp.v1 import corpora_pb2

from tests.clients.scripted import Script
from tests.clients.shell import Shell

CORPUS = corpora_pb2.Corpus(
    name="corpora/a",
    sentence_count=1200,
    word_count=3400,
    content=corpora_pb2.CORPUS_CONTENT_WORDS,
    layers=[
        corpora_pb2.LabelLayer(
            name="upos",
            level=corpora_pb2.LABEL_LEVEL_WORD,
            labels=[corpora_pb2.LabelCount(label="[N]", count=1234)],
            unlabelled=7,
        )
    ],
)
ROW = "corpora/a words 1,200 3,400 upos uploaded"


def rows(out: str) -> list[str]:
    """Lines with single blanks."""
    return [" ".join(line.split()) for line in out.splitlines()]


async def test_of_many_labels_the_most_frequent_are_shown(script: Script, shell: Shell) -> None:
    labels = [corpora_pb2.LabelCount(label=f"l{number:02}", count=number) for number in range(1, 31)]
    layer = corpora_pb2.LabelLayer(name="x", level=corpora_pb2.LABEL_LEVEL_WORD, labels=labels)
    script.reply("GetCorpus", corpora_pb2.Corpus(name="corpora/a", layers=[layer]))
    _, out, _ = await shell.run("corpora", "get", "corpora/a")
    shown = [row for row in rows(out) if row.startswith("x word")]
    assert (shown[0], shown[19:]) == ("x word l30 30", ["x word l11 11", "x word (10 more: --json) 55"])


@pytest.mark.parametrize(
    ("name", "options", "wire"),
    [
        ("a.txt", [], "format: CORPUS_FORMAT_TEXT"),
        ("a.jsonl", ["--id", "a", "--no-label", "_"], 'format: CORPUS_FORMAT_JSONL corpus_id: "a" no_label: "_"'),
        (
            "a.conllu",
            ["--column", "upos=4", "--column", "number=6:Number"],
            'format: CORPUS_FORMAT_CONLLU word_column: 2 columns { column: 4 layer: "upos" } '
            'columns { column: 6 layer: "number" key: "Number" }',
        ),
        (
            "a.tsv",
            ["--column", "ner=1", "--word-column", "2"],
            'format: CORPUS_FORMAT_TSV word_column: 2 columns { column: 1 layer: "ner" }',
        ),
        (
            "a.txt",
            ["--labels", "upos={file}", "--sentence-labels", "s={file}"],
            'format: CORPUS_FORMAT_LINES files { name: "a.txt" layer: "upos" level: LABEL_LEVEL_WORD } '
            'files { name: "a.txt" layer: "s" level: LABEL_LEVEL_SENTENCE }',
        ),
        ("a.conllu", ["--format", "text"], "format: CORPUS_FORMAT_TEXT"),
        ("a.txt", ["--format", "lines"], "format: CORPUS_FORMAT_LINES"),
    ],
)
async def test_upload(script: Script, shell: Shell, tmp_path: Path, name: str, options: list[str], wire: str) -> None:
    file = tmp_path / name
    file.write_text("a b\n")
    script.reply("UploadCorpus", CORPUS)
    given = [option.format(file=file) for option in options]
    code, out, err = await shell.run("corpora", "upload", str(file), *given)
    assert (code, err, rows(out)[1]) == (0, "", ROW)
    assert rows(out)[3:] == ["upos word [N] 1,234", "upos word (none) 7"]
    header = script.requests[0][0].header
    header.request_id = ""
    for described in header.files:
        described.sha256, described.size_bytes = "", 0
    wanted = text_format.Parse(wire, corpora_pb2.CorpusHeader())
    wanted.files.insert(0, corpora_pb2.CorpusFile(name=name))
    assert header == wanted


async def test_annotate_tries_rules_of_a_file_then_vocabularies_then_the_others(
    script: Script, shell: Shell, tmp_path: Path
) -> None:
    listed, words = tmp_path / "rules.json", tmp_path / "words.txt"
    listed.write_text('["k=a:otherwise", {"layer": "k", "label": "b", "casing": {"kind": "CASING_KIND_UPPER"}}]')
    words.write_text("red\n\n light blue \n")
    script.reply("AnnotateCorpus", CORPUS)
    given = ["-r", "k=d:regex:x:y", "--vocabulary", f"k=c:{words}", "--rules", str(listed), "--id", "b"]
    code, _, err = await shell.run("corpora", "annotate", "corpora/a", *given)
    assert (code, err) == (0, "")
    (request,) = script.requests
    assert (request.corpus, request.corpus_id) == ("corpora/a", "b")
    assert [(rule.label, rule.WhichOneof("rule")) for rule in request.rules] == [
        ("a", "otherwise"),
        ("b", "casing"),
        ("c", "vocabulary"),
        ("d", "regex"),
    ]
    assert list(request.rules[2].vocabulary.words) == ["red", "light blue"]
    assert request.rules[3].regex.pattern == "x:y"


async def test_sample(script: Script, shell: Shell) -> None:
    script.reply("SampleCorpus", CORPUS)
    given = ["--per-label", "5", "--label", "N", "--label", "V", "--seed", "7", "--id", "b"]
    code, _, _ = await shell.run("corpora", "sample", "corpora/a", "upos", *given)
    script.requests[0].request_id = ""
    wire = 'corpus: "corpora/a" corpus_id: "b" seed: 7 balanced { layer: "upos" per_label: 5 labels: ["N", "V"] }'
    assert (code, script.requests) == (0, [text_format.Parse(wire, corpora_pb2.SampleCorpusRequest())])


async def test_split(script: Script, shell: Shell) -> None:
    for _ in range(2):
        script.reply("SampleCorpus", CORPUS)
    code, out, _ = await shell.run("corpora", "split", "corpora/a", "train=0.75", "test=0.25", "--seed", "3")
    assert (code, rows(out)[1:]) == (0, [ROW, ROW])
    assert [(request.corpus_id, request.split.part, request.seed) for request in script.requests] == [
        ("train", 0, 3),
        ("test", 1, 3),
    ]
    assert list(script.requests[0].split.fractions) == [0.75, 0.25]


@pytest.mark.parametrize("as_json", [False, True])
async def test_list(script: Script, shell: Shell, as_json: bool) -> None:
    script.reply("ListCorpora", corpora_pb2.ListCorporaResponse(corpora=[CORPUS, CORPUS]))
    code, out, _ = await shell.run("corpora", "list", *(["--json"] if as_json else []))
    assert code == 0
    if as_json:
        assert [(corpus["name"], corpus["layers"]["upos"]["counts"]) for corpus in json.loads(out)] == [
            ("corpora/a", {"[N]": 1234})
        ] * 2
    else:
        assert rows(out)[1:] == [ROW, ROW]


async def test_get_as_json(script: Script, shell: Shell) -> None:
    script.reply("GetCorpus", CORPUS)
    code, out, _ = await shell.run("corpora", "get", "corpora/a", "--json")
    found = json.loads(out)
    assert (code, found["content"], found["create_time"]) == (0, "words", "1970-01-01T00:00:00+00:00")


@pytest.mark.parametrize(("options", "count"), [(["-n", "1"], 1), (["-n", "0"], 3), ([], 3)])
async def test_show(script: Script, shell: Shell, options: list[str], count: int) -> None:
    wire = """
        sentences {
            words: "The" words: "nurse" labels { key: "upos" value { labels: "D" labels: "" } }
            labels { key: "ner" value { labels: "" labels: "X" } } sentence_labels { key: "s" value: "good" }
        }
        sentences { text: "A text." sentence_labels { key: "s" value: "" } }
        sentences { text: "One." second: "Two." }
    """
    script.reply("ListCorpusSentences", text_format.Parse(wire, corpora_pb2.ListCorpusSentencesResponse()))
    code, out, _ = await shell.run("corpora", "show", "corpora/a", *options)
    lines = ["[s=good] The/-/D nurse/X/-", "A text.", "One. || Two."]
    assert (code, out.splitlines()) == (0, lines[:count])


async def test_show_as_json_is_an_object_a_line(script: Script, shell: Shell) -> None:
    sentences = [corpora_pb2.AnnotatedSentence(text=text) for text in "ab"]
    script.reply("ListCorpusSentences", corpora_pb2.ListCorpusSentencesResponse(sentences=sentences))
    _, out, _ = await shell.run("corpora", "show", "corpora/a", "--json")
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["a", "b"]


async def test_delete(script: Script, shell: Shell) -> None:
    script.reply("DeleteCorpus", empty_pb2.Empty())
    assert await shell.run("corpora", "delete", "corpora/a") == (0, "", "")
    assert script.requests[0].name == "corpora/a"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["upload", "{txt}", "--column", "upos=4"], "--column is for files of the format conllu or tsv"),
        (["upload", "{txt}", "--word-column", "2"], "--word-column is for files of the format conllu or tsv"),
        (["upload", "{conllu}", "--labels", "upos=x"], "--labels is for files of the format lines"),
        (["upload", "{txt}", "--labels", "upos"], "--labels 'upos': NAME=VALUE is wanted"),
        (["upload", "{txt}", "--labels", "a=x", "--labels", "a=y"], "'a' is given twice"),
        (["upload", "{conllu}", "--column", "upos=FORM"], "LAYER=N or LAYER=N:KEY is wanted"),
        (["upload", "{conllu}", "--column", "upos=0"], "LAYER=N or LAYER=N:KEY is wanted"),
        (["upload", "/nowhere.txt"], "No such file or directory: '/nowhere.txt'"),
        (["annotate", "corpora/a"], "give a rule"),
        (["annotate", "corpora/a", "-r", "k=a:regexp:x"], "column 5: 'regexp' is not one of"),
        (["annotate", "corpora/a", "--vocabulary", "k=a"], "LAYER=LABEL:FILE is wanted"),
        (["split", "corpora/a", "0.5"], "NAME=VALUE is wanted"),
        (["split", "corpora/a", "a=half"], "split a=half: a share is a number"),
    ],
)
async def test_an_error_is_one_line(shell: Shell, tmp_path: Path, arguments: list[str], says: str) -> None:
    files = {"txt": tmp_path / "a.txt", "conllu": tmp_path / "a.conllu"}
    for file in files.values():
        file.write_text("a")
    code, out, err = await shell.run("corpora", *(argument.format_map(files) for argument in arguments))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("patchclamp: ")
    assert says in err
