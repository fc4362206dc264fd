"""From annotated text to activations on disk, through the SDK and the command line, against the real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from patchclamp import (
    ActivationSetFile,
    AlreadyExists,
    AsyncClient,
    Cancelled,
    Client,
    CorpusSource,
    InvalidArgument,
    NotFound,
    Pair,
    Progress,
    TokenFilter,
    ablate,
    rules,
    set_to_mean,
)

WORDS = [
    ["The", "nurse", "said", "that", "she", "left", "at", "10", "."],
    ["12", "doctors", "were", "late", "."],
    ["Nobody", "saw", "the", "3", "neurons", "again", "."],
]
TAGS = [
    ["DET", "NOUN", "VERB", "SCONJ", "PRON", "VERB", "ADP", "NUM", "PUNCT"],
    ["NUM", "NOUN", "AUX", "ADJ", "PUNCT"],
    ["PRON", "VERB", "DET", "NUM", "NOUN", "ADV", "PUNCT"],
]
SITES = ["layers.*.residual", "layers.1.neurons"]
KINDS = [
    rules.regex("kind", "number", "[0-9]+"),
    rules.affix("kind", "plural", suffixes=["s"]),
    rules.otherwise("kind", "other"),
]


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


@pytest.fixture(scope="module")
def corpus(client: Client) -> str:
    """Words with two layers of labels."""
    source = CorpusSource.sentences(WORDS, labels={"upos": TAGS}, sentence_labels={"about": ["care", "", "science"]})
    uploaded = client.corpora.upload(source, id="e2e")
    assert (uploaded.sentence_count, uploaded.word_count, uploaded.layers["upos"].counts["NUM"]) == (3, 21, 3)
    return client.corpora.annotate(uploaded, KINDS, id="e2e-kinds").name


def extracted(client: Client, **options: Any) -> dict[str, np.ndarray]:
    """The same by `extract`, sentence after sentence."""
    sentences = list(client.extract(WORDS, SITES, **options))
    return {
        site: np.concatenate([sentence.activations[site].astype(np.float32) for sentence in sentences])
        for site in sentences[0].activations
    }


def test_labels_come_back_as_they_went(client: Client, corpus: str) -> None:
    sentences = list(client.corpora.sentences(corpus, page_size=2))
    assert [list(sentence.words) for sentence in sentences] == WORDS
    assert [list(sentence.labels["upos"]) for sentence in sentences] == TAGS
    assert [sentence.sentence_labels["about"] for sentence in sentences] == ["care", "", "science"]
    assert sentences[1].labels["kind"] == ("number", "plural", "other", "other", "other")
    found = client.corpora.get(corpus)
    assert found.source == "corpora/e2e"
    assert found.layers["kind"].counts == {"number": 3, "other": 16, "plural": 2}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_set_on_disk_is_what_extract_gives(client: Client, corpus: str, tmp_path: Path, dtype: str) -> None:
    told: list[Progress] = []
    options: dict[str, Any] = {"dtype": dtype, "interventions": [ablate("layers.0.mlp[3]")]}
    operation = client.activation_sets.create(corpus, SITES, id=f"e2e-{dtype}", progress=told.append, **options)
    made = operation.result(timeout=60)
    wanted = extracted(client, **options)
    path = client.activation_sets.download(made, tmp_path)
    assert path == tmp_path / f"e2e-{dtype}.h5"
    assert (made.row_count, made.sentence_count, made.sites) == (21, 3, {site: len(a[0]) for site, a in wanted.items()})
    assert operation.done
    assert told[-1].stage
    with ActivationSetFile(path) as file:
        assert list(file.words) == [word for words in WORDS for word in words]
        assert list(file.labels("upos")) == [tag for tags in TAGS for tag in tags]
        assert file.description["corpus"] == corpus
        for site, values in wanted.items():
            np.testing.assert_allclose(file[site], values, rtol=0, atol=1e-5 if dtype == "float32" else 2e-2)
        frame = file.to_pandas("layers.1.neurons")
    assert frame.groupby("kind").size().to_dict() == {"number": 3, "other": 16, "plural": 2}
    assert path.stat().st_size == made.size_bytes


def test_statistics_are_those_of_the_rows(client: Client, corpus: str) -> None:
    made = client.activation_sets.create(corpus, ["layers.1.neurons"], id="e2e-stats").result(timeout=60)
    rows = extracted(client)["layers.1.neurons"]
    numbers = [tag == "NUM" for tags in TAGS for tag in tags]
    for label, chosen in (("", rows), ("NUM", rows[numbers])):
        found = client.activation_sets.statistics(made, "layers.1.neurons[5,2]", label=label)
        assert found.count == len(chosen)
        for statistic, name in ((found.mean, "mean"), (found.variance, "var"), (found.min, "min"), (found.max, "max")):
            np.testing.assert_allclose(statistic, getattr(chosen, name)(axis=0)[[5, 2]], rtol=1e-4, atol=1e-6)


def test_a_set_gives_the_means_of_an_edit(client: Client, corpus: str) -> None:
    made = client.activation_sets.create(corpus, ["layers.1.neurons"], id="e2e-means").result(timeout=60)
    mean = client.activation_sets.statistics(made, "layers.1.neurons[5]", label="NUM").mean[0]
    edit = set_to_mean("layers.1.neurons[5]", made, label="upos/NUM")
    (sentence,) = client.extract([WORDS[0]], ["layers.1.neurons"], interventions=[edit])
    assert sentence.activations["layers.1.neurons"][:, 5].tolist() == pytest.approx([mean] * len(WORDS[0]), rel=1e-5)


def test_a_filter_keeps_some_rows(client: Client, corpus: str, tmp_path: Path) -> None:
    wanted = TokenFilter(layer="upos", labels=["NUM", "NOUN"], per_label=2, seed=1)
    made = client.activation_sets.create(corpus, ["embeddings"], id="e2e-filter", filter=wanted).result(timeout=60)
    assert (made.row_count, made.filter) == (4, wanted)
    with ActivationSetFile(client.activation_sets.download(made, tmp_path / "a.h5")) as file:
        assert sorted(file.labels("upos")) == ["NOUN", "NOUN", "NUM", "NUM"]


def test_each_source_makes_the_same_corpus(client: Client, tmp_path: Path) -> None:
    conllu, tsv, words, tags, jsonl = (
        tmp_path / name for name in ("a.conllu", "a.tsv", "a.words", "a.upos", "a.jsonl")
    )
    pairs = [list(zip(ws, ts, strict=True)) for ws, ts in zip(WORDS, TAGS, strict=True)]
    blank = "\t_" * 6
    conllu.write_text(
        "".join(
            "# a comment\n" + "".join(f"{n}\t{w}\t_\t{t}{blank}\n" for n, (w, t) in enumerate(pair, 1)) + "\n"
            for pair in pairs
        )
    )
    tsv.write_text("".join("".join(f"{w}\t{t}\n" for w, t in pair) + "\n" for pair in pairs))
    words.write_text("".join(" ".join(ws) + "\n" for ws in WORDS))
    tags.write_text("".join(" ".join(ts) + "\n" for ts in TAGS))
    jsonl.write_text(
        "".join(json.dumps({"words": w, "labels": {"upos": t}}) + "\n" for w, t in zip(WORDS, TAGS, strict=True))
    )
    flat = pd.DataFrame(
        [(n, w, t) for n, pair in enumerate(pairs) for w, t in pair], columns=["sentence", "word", "upos"]
    )
    dataset = datasets.Dataset.from_dict({"tokens": WORDS, "upos": TAGS})
    sources = [
        CorpusSource.sentences(WORDS, labels={"upos": TAGS}),
        CorpusSource.conllu(conllu, {"upos": 4}),
        CorpusSource.tsv(tsv, {"upos": 2}),
        CorpusSource.lines(words, labels={"upos": tags}),
        CorpusSource.jsonl(jsonl),
        CorpusSource.from_pandas(flat, words="word", sentence="sentence", labels=["upos"]),
        CorpusSource.from_dataset(dataset, words="tokens", labels=["upos"]),
    ]
    corpora = [client.corpora.upload(source) for source in sources]
    assert len({corpus.digest for corpus in corpora}) == 1
    for corpus in corpora:
        client.corpora.delete(corpus)


def test_texts_and_pairs(client: Client, tmp_path: Path) -> None:
    texts = CorpusSource.sentences(["the nurse said that", "nobody"])
    pairs = CorpusSource.sentences([Pair("the nurse", "said that"), Pair("a", "b")], sentence_labels={"y": [1, 0]})
    text = client.corpora.upload(texts)
    pair = client.corpora.upload(pairs)
    by_token = client.activation_sets.create(text, ["embeddings"]).result(timeout=60)
    by_pair = client.activation_sets.create(pair, ["layers.2.residual"], model="models/tiny-bert").result(timeout=60)
    (one, _) = client.extract(
        [Pair("the nurse", "said that"), Pair("a", "b")],
        ["layers.2.residual"],
        model="models/tiny-bert",
        aggregation="sentence_average",
    )
    assert by_token.row_count > 2
    assert (by_pair.row_count, by_pair.aggregation) == (2, "sentence_average")
    with ActivationSetFile(client.activation_sets.download(by_pair, tmp_path)) as file:
        assert list(file.labels("y")) == ["1", "0"]
        assert file["layers.2.residual"][0].tolist() == pytest.approx(
            one.activations["layers.2.residual"][0].tolist(), abs=1e-5
        )


def test_samples_and_splits(client: Client, corpus: str) -> None:
    even = client.corpora.sample_balanced(corpus, "upos", labels=["NUM", "NOUN"], per_label=2, seed=1)
    assert even.layers["upos"].counts == {"NOUN": 2, "NUM": 2}
    parts = client.corpora.split(corpus, [2 / 3, 1 / 3], seed=1, ids=["e2e-train", "e2e-test"])
    assert [part.name for part in parts] == ["corpora/e2e-train", "corpora/e2e-test"]
    dealt = [sentence.words for part in parts for sentence in client.corpora.sentences(part)]
    assert sorted(dealt) == sorted(tuple(words) for words in WORDS)


def test_what_is_wrong_in_a_file_is_said_with_its_place(client: Client, tmp_path: Path) -> None:
    words, tags = tmp_path / "a.words", tmp_path / "a.upos"
    words.write_text("a b\nc d\n")
    tags.write_text("X Y\nX\n")
    with pytest.raises(InvalidArgument, match=r"a\.upos, line 2"):
        client.corpora.upload(CorpusSource.lines(words, labels={"upos": tags}), id="e2e-wrong")
    with pytest.raises(NotFound):
        client.corpora.get("corpora/e2e-wrong")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.corpora.upload(CorpusSource.sentences(WORDS), id="e2e"), AlreadyExists),
        (lambda c: c.corpora.annotate("corpora/e2e", ["k=a:regex:(?=x)"]), InvalidArgument),
        (lambda c: c.corpora.annotate("corpora/none", KINDS), NotFound),
        (lambda c: c.corpora.get("corpora/../x"), InvalidArgument),
        (lambda c: c.activation_sets.create("corpora/none", ["embeddings"]), NotFound),
        (lambda c: c.activation_sets.create("corpora/e2e", ["nowhere"]), InvalidArgument),
        (lambda c: c.activation_sets.download("activationSets/none", "x"), NotFound),
        (lambda c: c.operations.get("operations/none"), NotFound),
    ],
)
def test_refusals_have_a_type(client: Client, corpus: str, call, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(client)


def test_the_same_request_is_done_once(client: Client, corpus: str) -> None:
    first, second = (client.corpora.upload(CorpusSource.sentences(WORDS), request_id="e2e-once") for _ in range(2))
    assert first == second
    works = [client.activation_sets.create(corpus, ["embeddings"], request_id="e2e-once") for _ in range(2)]
    assert works[0].name == works[1].name
    assert works[0].result(timeout=60) == client.operations.get(works[0].name).result(timeout=60)


def test_work_is_cancelled_and_leaves_nothing(client: Client) -> None:
    large = client.corpora.upload(CorpusSource.sentences([WORDS[0]] * 20_000), id="e2e-large")
    work = client.activation_sets.create(large, ["layers.*.residual"], id="e2e-cancelled")
    assert not work.wait(0)
    assert work.name in {operation.name for operation in client.operations.list(done=False)}
    work.cancel()
    with pytest.raises(Cancelled):
        work.result(timeout=60)
    with pytest.raises(NotFound):
        client.activation_sets.get("activationSets/e2e-cancelled")
    work.delete()
    assert work.name not in {operation.name for operation in client.operations.list()}


async def test_the_async_half_gives_the_same(address: str, client: Client, corpus: str, tmp_path: Path) -> None:
    async with AsyncClient(address) as other:
        uploaded = await other.corpora.upload(CorpusSource.sentences(WORDS, labels={"upos": TAGS}))
        sentences = [sentence async for sentence in other.corpora.sentences(uploaded)]
        works = [await other.activation_sets.create(uploaded, ["layers.1.neurons"]) for _ in range(2)]
        sets = await asyncio.gather(*(work.result(timeout=60) for work in works))
        path = await other.activation_sets.download(sets[0], tmp_path / "a.h5")
    assert [list(sentence.words) for sentence in sentences] == WORDS
    wanted = await asyncio.to_thread(lambda: extracted(client)["layers.1.neurons"])
    with ActivationSetFile(path) as file:
        np.testing.assert_allclose(file["layers.1.neurons"], wanted, atol=1e-5)
