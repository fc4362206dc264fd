"""Files of activation sets: what the SDK reads is what the library wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from patchclamp import ActivationSetFile
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, RowBlock, SetDescription

SITES = (("layers.0.mlp", 3), ("module:a/b.output", 2))
WORDS = ("The", "ü/nurse", "said", "that", "so")
LAYERS = {"upos": ("D", "N", "", "", "R"), "a/b": ("x", "x", "y", "y", "y")}
MASKED = np.array([False, False, True, False, False])
VALUES = {site: np.arange(5 * width, dtype=np.float32).reshape(5, width) / 8 for site, width in SITES}


def write(path: Path, dtype: str) -> Path:
    layers = tuple((layer, tuple(sorted(set(labels) - {""}))) for layer, labels in LAYERS.items())
    description = SetDescription(
        sites=SITES,
        dtype=dtype,
        aggregation="average",
        model="models/m",
        model_digest="md",
        tokenizer="t",
        corpus="corpora/c",
        corpus_digest="cd",
        layers=layers,
    )
    block = RowBlock(np.array([2, 2, 2, 7, 7]), np.array([0, 1, 2, 0, 4], np.int32), WORDS, LAYERS)
    with ActivationSetWriter.open(path, description, [block]) as writer:
        writer.write({site: stored(values, dtype) for site, values in VALUES.items()}, MASKED)
        writer.finish()
    return path


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(dtype)


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def wanted(site: str) -> np.ndarray:
    return np.where(MASKED[:, None], np.nan, VALUES[site])


def test_activations_are_numpy_arrays(tmp_path: Path, dtype: str) -> None:
    with ActivationSetFile(write(tmp_path / "a.h5", dtype)) as file:
        arrays = {site: file[site] for site in file.sites}
        part = file.read("layers.0.mlp", 1, 4)
    assert list(arrays) == [site for site, _ in SITES]
    for site, array in arrays.items():
        np.testing.assert_array_equal(array, wanted(site))  # the values are short enough for each type
        assert array.dtype.name == ("float16" if dtype == "float16" else "float32")
    np.testing.assert_array_equal(part, wanted("layers.0.mlp")[1:4])
    assert part.dtype.name == "float32"


def test_what_is_mapped_cannot_be_changed(tmp_path: Path) -> None:
    file = ActivationSetFile(write(tmp_path / "a.h5", "float32"))
    array = file["layers.0.mlp"]
    file.close()
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_rows_and_labels(tmp_path: Path) -> None:
    with ActivationSetFile(str(write(tmp_path / "a.h5", "float32"))) as file:
        assert (len(file), file.dtype) == (5, "float32")
        assert tuple(file.words) == WORDS
        assert file.sentences.tolist() == [2, 2, 2, 7, 7]
        assert file.places.tolist() == [0, 1, 2, 0, 4]
        assert file.sentence_offsets.tolist() == [0, 3, 5]
        assert file.masked.tolist() == MASKED.tolist()
        assert file.layers == {"upos": ("D", "N", "R"), "a/b": ("x", "y")}
        for layer, labels in LAYERS.items():
            assert tuple(file.labels(layer)) == labels
        assert file.description["model"] == "models/m"
        assert file.description["corpus_digest"] == "cd"
        assert file.description["filter"] == ""


def test_a_data_frame(tmp_path: Path) -> None:
    with ActivationSetFile(write(tmp_path / "a.h5", "bfloat16")) as file:
        frame = file.to_pandas()
        wide = file.to_pandas("module:a/b.output")
    assert list(frame.columns) == ["sentence", "place", "word", "masked", "upos", "a/b"]
    assert frame["upos"].tolist() == list(LAYERS["upos"])
    assert list(wide.columns) == [*frame.columns, 0, 1]
    np.testing.assert_array_equal(wide[[0, 1]], wanted("module:a/b.output"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda file: file["layers.1.mlp"], "has no site 'layers.1.mlp'; it has layers.0.mlp, module:a/b.output"),
        (lambda file: file.labels("ner"), "has no layer 'ner'; it has upos, a/b"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, call, says: str) -> None:
    with ActivationSetFile(write(tmp_path / "a.h5", "float32")) as file, pytest.raises(KeyError, match=says):
        call(file)


def test_what_is_no_activation_set_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("text")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    for name in ("text.h5", "other.h5"):
        with pytest.raises(ValueError, match=f"{name}' is no activation set"):
            ActivationSetFile(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.h5"):
        ActivationSetFile(tmp_path / "nowhere.h5")


def test_a_later_format_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "float32")
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(ValueError, match="is of format 2; this patchclamp reads formats up to 1"):
        ActivationSetFile(path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'patchclamp\[h5\]'"):
        ActivationSetFile(tmp_path / "a.h5")


def test_a_file_that_was_written_again_in_pieces_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "copy.h5"
    with h5py.File(write(tmp_path / "a.h5", "float32")) as source, h5py.File(path, "w") as copy:
        copy.attrs.update(source.attrs)
        for name in ("rows", "labels", "label_names", "sentence_offsets"):
            source.copy(name, copy)
        for site, data in source["activations"].items():
            copy.create_dataset(f"activations/{site}", data=data[:], chunks=(2, 2), compression="gzip")
    with ActivationSetFile(path) as file:
        np.testing.assert_array_equal(file["layers.0.mlp"], wanted("layers.0.mlp"))
