from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchclamp_analysis.corpora.sentences import Sentence
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.neurox.exchange import export_neurox, import_neurox, site_of_layer
from patchclamp_analysis.neurox.files import NeuroxSentence, noted_sites, read_neurox, write_neurox
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.analysis.stored_sets import example, write

GOLDEN = Path(__file__).parents[1] / "golden" / "neurox_formats"
FORMATS = json.loads((GOLDEN / "formats.json").read_text())
WORDS = [tuple(words) for words in FORMATS["inputs"]["sentences"]]


def as_loaded(activations: NDArray[Any]) -> NDArray[Any]:
    """[words, layers × neurons], as NeuroX's loader gives a sentence."""
    return activations.transpose(1, 0, 2).reshape(activations.shape[1], -1)


def loaded(path: Path) -> tuple[list[NDArray[Any]], int]:
    """What NeuroX's loader makes of a file, by its own rules: the order of the index; layers one after the other."""
    if path.suffix == ".hdf5":
        with h5py.File(path) as file:
            index = json.loads(file["sentence_to_index"][0])
            sentences = [file[name][()] for name in index.values()]
        return [as_loaded(each) for each in sentences], sentences[0].shape[0]
    lines = [json.loads(line)["features"] for line in path.read_text().splitlines()]
    rows = [
        np.vstack([np.concatenate([layer["values"] for layer in token["layers"]]) for token in line]) for line in lines
    ]
    return rows, len(lines[0][0]["layers"])


@pytest.mark.parametrize("name", ["full.hdf5", "f16.hdf5", "full.json", "f16.json"])
def test_what_neurox_writes_is_read(name):
    sentences, expected = list(read_neurox(GOLDEN / f"format_{name}")), FORMATS[name]
    assert [sentence.words for sentence in sentences] == WORDS
    for sentence, values in zip(sentences, expected["loaded"], strict=True):
        assert sentence.activations.shape[0] == expected["num_layers"]
        np.testing.assert_array_equal(as_loaded(sentence.activations), np.array(values, sentence.activations.dtype))
    assert sentences[0].activations.dtype == expected["dtype"]


@pytest.mark.parametrize("suffix", ["hdf5", "json"])
def test_one_layer_of_a_decomposed_file(tmp_path, suffix):
    import_neurox(GOLDEN / f"format_decomposed-layer1.{suffix}", tmp_path / "set.h5", layers=[1])
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        assert stored.sites == {"layers.0.residual": 8}
        expected = np.concatenate([np.array(each)[1] for each in FORMATS["inputs"]["activations"]])
        np.testing.assert_allclose(stored.read("layers.0.residual"), expected, atol=1e-8)


@pytest.mark.parametrize("name", ["full.hdf5", "f16.hdf5", "full.json", "f16.json"])
def test_import(tmp_path, name):
    finished = import_neurox(GOLDEN / f"format_{name}", tmp_path / "set.h5", model="models/x", aggregation="last")
    assert (finished.rows, finished.sentences, finished.masked_rows) == (8, 3, 0)
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        assert list(stored.sites) == ["embeddings", "layers.0.residual", "layers.1.residual"]
        assert stored.description.dtype == FORMATS[name]["dtype"]
        assert stored.words.tolist() == [word for words in WORDS for word in words]
        assert stored.places.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
        values = np.concatenate([np.array(each, np.float32) for each in FORMATS[name]["loaded"]])
        np.testing.assert_array_equal(np.concatenate([stored.read(site) for site in stored.sites], axis=1), values)


@pytest.mark.parametrize("kind", ["hdf5", "json"])
def test_what_is_written_has_the_structure_of_neurox(tmp_path, kind):
    import_neurox(GOLDEN / f"format_full.{kind}", tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        sites = export_neurox(stored, tmp_path / f"ours.{kind}")
    assert sites == tuple(map(site_of_layer, range(3)))
    if kind == "json":
        numbers: tuple[list[float], list[float]] = ([], [])
        lines = [
            [without_numbers(json.loads(line), found) for line in path.read_text().splitlines()]
            for path, found in zip((tmp_path / "ours.json", GOLDEN / "format_full.json"), numbers, strict=True)
        ]
        assert lines[0] == lines[1]
        np.testing.assert_allclose(*numbers, atol=1e-7)
        return
    with h5py.File(tmp_path / "ours.hdf5") as ours, h5py.File(GOLDEN / "format_full.hdf5") as theirs:
        assert list(ours) == FORMATS["hdf5_keys"]
        for name in theirs:
            one, other = ours[name], theirs[name]
            assert (one.shape, one.dtype, dict(one.attrs)) == (other.shape, other.dtype, dict(other.attrs))
            assert h5py.check_string_dtype(one.dtype) == h5py.check_string_dtype(other.dtype)
            np.testing.assert_array_equal(one[()], other[()])
        assert ours["sentence_to_index"][0].decode() == FORMATS["sentence_to_index"]


def without_numbers(value: Any, numbers: list[float]) -> Any:
    """The structure of JSON, keys in their order; numbers go to a list."""
    if isinstance(value, float):
        numbers.append(value)
        return None
    if isinstance(value, dict):
        return [(key, without_numbers(each, numbers)) for key, each in value.items()]
    return [without_numbers(each, numbers) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", ["hdf5", "json"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_sets_survive_the_round_trip(tmp_path, kind, dtype, monkeypatch):
    monkeypatch.setattr("patchclamp_analysis.neurox.exchange._BATCH_BYTES", 999)
    widths = {
        "layers.1.residual": 4,
        "embeddings": 4,
        "layers.10.residual": 4,
        "layers.0.residual": 4,
        "layers.0.mlp": 7,
    }
    source = example(rows=80, widths=widths, dtype=dtype, words=[f"w{number}" for number in range(80)])
    write(source, tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        sites = export_neurox(stored, tmp_path / f"out.{kind}")
        assert sites == ("embeddings", "layers.0.residual", "layers.1.residual", "layers.10.residual")
        import_neurox(tmp_path / f"out.{kind}", tmp_path / "back.h5", layers=[0, 1, 2, 11])
        with ActivationSet.open(tmp_path / "back.h5") as back:
            assert back.words.tolist() == source.words
            np.testing.assert_array_equal(back.masked, source.masked)
            np.testing.assert_array_equal(back.sentence_offsets, stored.sentence_offsets)
            for site in sites:
                np.testing.assert_array_equal(back.read(site), source.stored(site))
    rows, layers = loaded(tmp_path / f"out.{kind}")
    assert layers == 4
    expected = np.concatenate([source.stored(site) for site in sites], axis=1)
    np.testing.assert_array_equal(np.concatenate(rows).astype(np.float32), expected)


@pytest.mark.parametrize("kind", ["hdf5", "json"])
@pytest.mark.parametrize("sites", [None, ("layers.1.residual",), ("layers.0.mlp", "embeddings")])
def test_sites_that_are_not_the_first_layers_come_back_as_they_were(tmp_path, kind, sites):
    names = ["layers.0.residual", "layers.1.residual", *(["layers.0.mlp", "embeddings"] if sites else [])]
    source = example(rows=20, widths=dict.fromkeys(names, 4), words=[f"w{number}" for number in range(20)])
    write(source, tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        chosen = export_neurox(stored, tmp_path / f"out.{kind}", sites=sites)
    import_neurox(tmp_path / f"out.{kind}", tmp_path / "back.h5")
    with ActivationSet.open(tmp_path / "back.h5") as back:
        assert tuple(back.sites) == chosen == (sites or tuple(names))
        for site in chosen:
            np.testing.assert_array_equal(back.read(site), source.stored(site))
    expected = np.hstack([source.stored(site) for site in chosen])
    np.testing.assert_array_equal(np.vstack(loaded(tmp_path / f"out.{kind}")[0]), expected)


@pytest.mark.parametrize("kind", ["hdf5", "json"])
@pytest.mark.parametrize(
    ("noted", "layers", "message"),
    [
        (["layers.0.residual", "layers.1.residual"], [0, 1], "its layers are layers.0.residual, .*, not embeddings"),
        (["layers.0.residual"], None, "the file has 2 layers and notes 1 sites"),
        (["a", "a"], None, "patchclamp_sites is no list of distinct names"),
        ([["a"], "b"], None, "patchclamp_sites is no list of distinct names"),
    ],
)
def test_noted_sites_that_are_not_right(tmp_path, kind, noted, layers, message):
    write_neurox(tmp_path / f"file.{kind}", [NeuroxSentence(("a",), ones(2, 1))], sites=noted)
    with pytest.raises(BadData, match=message):
        import_neurox(tmp_path / f"file.{kind}", tmp_path / "set.h5", layers=layers)
    assert [path.name for path in tmp_path.iterdir()] == [f"file.{kind}"]


@pytest.mark.parametrize("note", ["{", "1", '{"a": 1}', 7])
def test_a_note_of_hdf5_that_cannot_be_read(tmp_path, note):
    bad_hdf5(tmp_path / "file.hdf5", '{"a": "s0"}', s0=ones(1, 1))
    with h5py.File(tmp_path / "file.hdf5", "a") as file:
        file.attrs["patchclamp_sites"] = note
    with pytest.raises(BadData, match=r"file\.hdf5: patchclamp_sites"):
        noted_sites(tmp_path / "file.hdf5")


_word = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0 "), min_size=1, max_size=6)
_words = st.lists(st.one_of(_word, st.sampled_from(["(Occurrence", "2)", "3)", "x"])), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(_words, min_size=1, max_size=8), st.sampled_from([".hdf5", ".json"]))
def test_any_words_survive(tmp_path_factory, sentences, suffix):
    path = tmp_path_factory.mktemp("neurox") / f"file{suffix}"
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal((2, len(words), 3)).astype(np.float32) for words in sentences]
    write_neurox(path, map(NeuroxSentence, map(tuple, sentences), arrays))
    for found, words, array in zip(read_neurox(path), sentences, arrays, strict=True):
        assert found.words == tuple(words)
        np.testing.assert_array_equal(found.activations, array)


def test_labels_come_from_a_corpus(tmp_path):
    tags = [("INTJ", "PUNCT", "NOUN"), ("X", ""), ("INTJ", "PUNCT", "NOUN")]
    corpus = [
        Sentence(words, labels={"upos": labels}, sentence_labels={"tone": "warm" if len(words) > 2 else ""})
        for words, labels in zip(WORDS, tags, strict=True)
    ]
    finished = import_neurox(GOLDEN / "format_full.hdf5", tmp_path / "set.h5", corpus=corpus)
    assert finished.layers == {"tone": {"warm": 6}, "upos": {"INTJ": 2, "NOUN": 2, "PUNCT": 2, "X": 1}}
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        assert stored.labels("upos").tolist() == [label for labels in tags for label in labels]
        assert stored.statistics("embeddings", "INTJ").count == 2


def test_a_corpus_tells_words_with_blanks(tmp_path):
    words = [("New York", "is"), ("big",)]
    write_neurox(
        tmp_path / "file.hdf5", [NeuroxSentence(each, np.ones((1, len(each), 2), np.float32)) for each in words]
    )
    with pytest.raises(BadData, match="sentence '0': has 2 rows for the words 'New York is'; give the words"):
        import_neurox(tmp_path / "file.hdf5", tmp_path / "set.h5")
    import_neurox(tmp_path / "file.hdf5", tmp_path / "set.h5", corpus=[Sentence(each) for each in words])
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        assert stored.words.tolist() == ["New York", "is", "big"]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (WORDS[:2], "there are words of fewer sentences than the file has"),
        ([*WORDS, ("x",)], "there are words of more sentences than the file has"),
        ([WORDS[0], WORDS[0], WORDS[2]], "sentence '1': the words given are others: 'Hello , world', not 'a.b c/d'"),
        ([("Hello ,", "world"), *WORDS[1:]], "sentence '0': the words given are others"),
    ],
)
def test_a_corpus_of_other_sentences_is_refused(tmp_path, corpus, message):
    with pytest.raises(BadData, match=message):
        import_neurox(
            GOLDEN / "format_full.hdf5", tmp_path / "set.h5", corpus=[Sentence(tuple(each)) for each in corpus]
        )
    assert not list(tmp_path.iterdir())


def test_a_corpus_that_can_be_read_once_only(tmp_path):
    with pytest.raises(BadData, match="not an iterator"):
        import_neurox(GOLDEN / "format_full.hdf5", tmp_path / "set.h5", corpus=iter([Sentence(("a",))]))


def test_layers_must_be_as_many(tmp_path):
    with pytest.raises(BadData, match="the file has 3 layers, not 2"):
        import_neurox(GOLDEN / "format_full.hdf5", tmp_path / "set.h5", layers=[0, 1])


def bad_hdf5(path: Path, index: str | None, **datasets: NDArray[Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        if index is not None:
            file.create_dataset("sentence_to_index", (1,), h5py.string_dtype())[0] = index


def ones(layers: int, words: int) -> NDArray[np.float32]:
    return np.ones((layers, words, 2), np.float32)


@pytest.mark.parametrize(
    ("index", "datasets", "message"),
    [
        (None, {"s0": ones(1, 1)}, "is no NeuroX file: sentence_to_index"),
        ("[1]", {}, "is no NeuroX file: sentence_to_index is no mapping"),
        ("{", {}, "is no NeuroX file: sentence_to_index"),
        ("{}", {}, "has no sentences"),
        ('{"a": "s0"}', {}, "'s0': is no dataset of floats"),
        ('{"a": "s0"}', {"s0": np.ones((1, 1), np.float32)}, "'s0': is no dataset of floats"),
        ('{"a": "s0"}', {"s0": np.ones((1, 1, 2), int)}, "'s0': is no dataset of floats"),
        ('{"a b": "s0"}', {"s0": ones(1, 3)}, "sentence 's0': has 3 rows for the words 'a b'"),
        (
            '{"a": "s0", "b": "s1"}',
            {"s0": ones(1, 1), "s1": ones(2, 1)},
            "sentence 1: has 2 layers of 2, those before 1",
        ),
        ('{"a": "s0"}', {"s0": ones(1, 1) * np.inf}, "embeddings, row 0 .* neuron 0 is infinite"),
        ('{"a": "s0"}', {"s0": np.full((1, 1, 2), 1e39)}, "embeddings, row 0 .* neuron 0 is infinite"),
    ],
)
def test_hdf5_that_is_not_right(tmp_path, index, datasets, message):
    bad_hdf5(tmp_path / "file.hdf5", index, **datasets)
    with pytest.raises(BadData, match=message):
        import_neurox(tmp_path / "file.hdf5", tmp_path / "set.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["file.hdf5"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: is no sentence of a NeuroX file"),
        ("[]", "line 2: is no sentence"),
        ('{"features": [{"token": "a"}]}', "line 2: is no sentence of a NeuroX file: there is no 'layers'"),
        ('{"features": []}', "line 2: its words differ in layers or neurons, or it has none"),
        (
            '{"features": [{"token": "a", "layers": [{"values": [1]}]}, {"token": "b", "layers": []}]}',
            "line 2: is no sen",
        ),
        ('{"features": [{"token": "a", "layers": [{"values": ["x"]}]}]}', "line 2: is no sentence"),
    ],
)
def test_json_that_is_not_right(tmp_path, line, message):
    first = (GOLDEN / "format_full.json").read_text().splitlines()[0]
    (tmp_path / "file.json").write_text(f"{first}\n{line}\n")
    with pytest.raises(BadData, match=message):
        import_neurox(tmp_path / "file.json", tmp_path / "set.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("target", "sites", "message"),
    [
        ("out.txt", ["layers.0.residual"], r"out.txt: NeuroX files end in .hdf5 or .json"),
        ("out.hdf5", ["layers.9.residual"], "there is no site 'layers.9.residual'"),
        ("out.hdf5", None, "a NeuroX file has one width; layers.0.residual: 3, layers.1.residual: 5"),
        ("out.hdf5", [], "there is no residual stream"),
    ],
)
def test_what_cannot_be_exported(tmp_path, target, sites, message):
    write(example(), tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored, pytest.raises(BadData, match=message):
        export_neurox(stored, tmp_path / target, sites=sites)
    assert [path.name for path in tmp_path.iterdir()] == ["set.h5"]


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(FileExistsError):
        write_neurox(tmp_path / "out.json", [])
    assert (tmp_path / "out.json").read_text() == "mine"


@pytest.mark.parametrize("kind", ["hdf5", "json"])
def test_a_full_disk_leaves_nothing(tmp_path, kind):
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system")
    try:
        sentences = (NeuroxSentence((f"w{number}",), np.ones((2, 1, 999), np.float32)) for number in range(9999))
        with pytest.raises(OSError, match="No space left"):
            write_neurox(tmp_path / f"out.{kind}", sentences)
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
