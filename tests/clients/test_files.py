"""Files of activations: what is in them, and that there is no half of one."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp import Limits, Model, SentenceActivations, Site
from patchclamp._batches import batches, most_tokens
from patchclamp._files import SUFFIXES, writing
from patchclamp.v1 import models_pb2


def sentence(index: int, tokens: list[str], dtype: str = "float32") -> SentenceActivations:
    values = np.arange(len(tokens) * 3).reshape(-1, 3) + 10 * index
    masked = np.array([token == "?" for token in tokens], np.bool_)
    return SentenceActivations(index, tuple(tokens), {"layers.1.mlp": values.astype(dtype)}, masked)


SENTENCES = [sentence(0, ["a", "?"]), sentence(1, []), sentence(2, ["ü\n", '"c"', "d"])]
ROWS = np.concatenate([one.activations["layers.1.mlp"] for one in SENTENCES])


def write(path: Path, sentences: list[SentenceActivations]) -> None:
    with writing(path) as writer:
        for one in sentences:
            writer.write(one)


def test_npz(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", SENTENCES)
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["layers.1.mlp"], ROWS)
        assert archive["offsets"].tolist() == [0, 2, 2, 5]
        assert archive["tokens"].tolist() == ["a", "?", "ü\n", '"c"', "d"]
        assert archive["masked"].tolist() == [False, True, False, False, False]


def test_h5(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", SENTENCES)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["activations/layers.1.mlp"][:], ROWS)
        assert file["offsets"][:].tolist() == [0, 2, 2, 5]
        assert file["tokens"].asstr()[:].tolist() == ["a", "?", "ü\n", '"c"', "d"]
        assert file["masked"][:].tolist() == [False, True, False, False, False]


def test_jsonl(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", SENTENCES)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["sentence"] for line in lines] == [0, 1, 2]
    assert [line["tokens"] for line in lines] == [["a", "?"], [], ["ü\n", '"c"', "d"]]
    assert lines[0]["masked"] == [False, True]
    assert lines[2]["activations"]["layers.1.mlp"] == ROWS[2:].tolist()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_sentences_and_each_type(tmp_path: Path, suffix: str, dtype: str) -> None:
    write(tmp_path / f"none{suffix}", [])
    write(tmp_path / f"one{suffix}", [sentence(0, ["a"], dtype)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"none{suffix}", f"one{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), writing(path) as writer:
        writer.write(SENTENCES[0])
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"should end in one of \.npz, \.h5, \.jsonl"), writing(tmp_path / "a.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'patchclamp\[h5\]'"), writing(tmp_path / "a.h5"):
        pass
    assert list(tmp_path.iterdir()) == []


def model(sentences: int, request_tokens: int, capture_bytes: int) -> Model:
    zeros = dict.fromkeys(Limits.__dataclass_fields__, 0)
    given = {"sentences": sentences, "request_tokens": request_tokens, "capture_bytes": capture_bytes}
    limits = Limits(**(zeros | given))
    sites = tuple(Site(f"layers.{layer}.{part}", 8, "m") for layer in range(3) for part in ("mlp", "heads"))
    return dataclasses.replace(Model.from_proto(models_pb2.Model()), limits=limits, sites=sites)


@given(st.lists(st.text(max_size=30)), st.integers(1, 5), st.integers(1, 60))
def test_batches_hold_every_sentence_once_and_in_order(texts: list[str], most: int, tokens: int) -> None:
    cut = list(batches(texts, model(most, tokens, 1 << 30), ["layers.0.mlp"], "float32"))
    assert [number for batch in cut for number in batch] == list(range(len(texts)))
    for batch in cut:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(len(texts[number].encode()) + 2 for number in batch) <= tokens


@pytest.mark.parametrize(
    ("sites", "dtype", "tokens"),
    [
        (["layers.0.mlp"], "float32", 960 // 32),
        (["layers.*.mlp"], "float32", 960 // 96),
        (["layers.*.mlp", "layers.0.mlp"], "float16", 960 // 48),
        (["elsewhere"], "float32", 500),
    ],
)
def test_tokens_are_limited_by_the_bytes_of_their_activations(sites: list[str], dtype: str, tokens: int) -> None:
    assert most_tokens(model(9, 500, 960), sites, dtype) == tokens  # type: ignore[arg-type]
