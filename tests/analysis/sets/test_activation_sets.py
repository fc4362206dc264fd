from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter
from patchclamp_analysis.sets.element_types import ELEMENT_TYPES

from tests.analysis.stored_sets import Example, example, examples, slices, write


@pytest.fixture(scope="module")
def source() -> Example:
    return example(rows=60, layers={"upos": ("ADJ", "NOUN"), "ner": ("LOC", "NOUN", "PER")})


@pytest.fixture(scope="module")
def path(source: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "set.h5"
    write(source, path)
    return path


@pytest.fixture
def stored(path):
    with ActivationSet.open(path) as stored:
        yield stored


@settings(max_examples=40, deadline=None)
@given(examples(), st.lists(st.integers(0, 40)), st.lists(st.integers(0, 40)), st.lists(st.booleans(), min_size=41))
def test_what_is_read_is_what_was_written(tmp_path_factory, source, row_cuts, value_cuts, stops):
    """Any names, words, labels, types and shapes; rows and numbers in any blocks; interrupted anywhere."""
    path = tmp_path_factory.mktemp("set") / "set.h5"
    writer = ActivationSetWriter.open(path, source.description, source.blocks(row_cuts))
    for rows in slices(source.rows, value_cuts):
        writer.write(*source.part(rows))
        if stops[rows.stop]:
            if stops[rows.start]:
                writer.commit()
            writer.close()
            writer = ActivationSetWriter.open(path, source.description, [])
            writer.write(*source.part(slice(writer.rows_done, rows.stop)))
    writer.finish()
    with ActivationSet.open(path) as stored:
        assert stored.description == source.description
        assert (stored.rows, stored.sites) == (source.rows, dict(source.description.sites))
        assert stored.words.tolist() == source.words
        np.testing.assert_array_equal(stored.sentences, source.sentences)
        np.testing.assert_array_equal(stored.places, source.places)
        np.testing.assert_array_equal(stored.masked, source.masked)
        starts = np.flatnonzero(np.diff(source.sentences, prepend=-1))
        np.testing.assert_array_equal(stored.sentence_offsets, [*starts, source.rows])
        for layer, labels in source.labels.items():
            assert stored.labels(layer).tolist() == labels
        for site in stored.sites:
            np.testing.assert_array_equal(stored.read(site), source.stored(site))
            np.testing.assert_array_equal(stored.site(site)[~source.masked], source.values[site][~source.masked])
            check_statistics(stored, source, site)


def check_statistics(stored: ActivationSet, source: Example, site: str) -> None:
    values = source.stored(site).astype(np.float64)
    for layer, label in [("", ""), *((layer, label) for layer, names in source.description.layers for label in names)]:
        chosen = ~source.masked
        if layer:
            chosen &= np.array(source.labels[layer]) == label
        found = stored.statistics(site, label, layer)
        assert found.count == chosen.sum()
        rows = values[chosen] if chosen.any() else np.full((1, values.shape[1]), np.nan)
        for one, other in (
            (found.mean, rows.mean(0)),
            (found.variance, rows.var(0)),
            (found.minimum, rows.min(0)),
            (found.maximum, rows.max(0)),
        ):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", ELEMENT_TYPES)
@pytest.mark.parametrize("rows", [slice(None), slice(3, 20), slice(20, 3), slice(-9, 99), slice(None, None, 7)])
def test_any_slice(tmp_path, dtype, rows):
    source = example(dtype=dtype)
    write(source, tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        found = stored.read("layers.1.residual", rows)
        assert found.dtype == np.float32
        assert found.flags.writeable
        np.testing.assert_array_equal(found, source.stored("layers.1.residual")[rows])


@pytest.mark.parametrize("rows", [[], [5], [59, 0, 0, 7], [-1, 3]])
def test_any_rows(stored, source, rows):
    found = stored.read("layers.0.residual", np.array(rows, int))
    np.testing.assert_array_equal(found, source.stored("layers.0.residual")[rows])


def test_rows_that_are_not_there(stored):
    with pytest.raises(IndexError, match="60"):
        stored.read("layers.0.residual", np.array([3, 60]))


@pytest.mark.parametrize("sites", [None, ["layers.1.residual"], ["layers.1.residual", "layers.0.residual"]])
def test_blocks_keep_to_the_bound(tmp_path, sites):
    source = example(rows=5000, widths={"layers.0.residual": 40, "layers.1.residual": 60})
    write(source, tmp_path / "set.h5")
    bound = 1_600_000
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        blocks = list(stored.blocks(sites, memory_bytes=bound))
    assert len(blocks) > 1
    assert all(2 * block.nbytes <= bound for _, block in blocks)
    assert [rows.start for rows, _ in blocks[1:]] == [rows.stop for rows, _ in blocks[:-1]]
    expected = np.concatenate([source.stored(site) for site in sites or source.values], axis=1)
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), expected)


def test_a_block_has_at_least_a_row(stored):
    assert [rows for rows, _ in stored.blocks(memory_bytes=1)] == [slice(row, row + 1) for row in range(60)]


def test_a_site_is_mapped_and_outlives_the_set(path, source):
    with ActivationSet.open(path) as stored:
        values, words, masked = stored.site("layers.0.residual"), stored.words, stored.masked
    assert isinstance(values, np.memmap)
    assert not values.flags.writeable
    assert values.flags.aligned
    np.testing.assert_array_equal(values[~masked], source.values["layers.0.residual"][~masked])
    assert words[0] == "wörd0"


def test_codes(stored, source):
    codes, labels = stored.codes("upos")
    assert labels == ("ADJ", "NOUN")
    assert [labels[code] if code >= 0 else "" for code in codes] == source.labels["upos"]
    assert stored.label_counts("upos") == {label: source.labels["upos"].count(label) for label in labels}


def test_a_label_finds_its_layer(stored):
    assert (
        stored.statistics("layers.0.residual", "PER").count
        == stored.statistics("layers.0.residual", "PER", "ner").count
    )


@pytest.mark.parametrize(
    ("site", "label", "layer", "message"),
    [
        ("layers.9.residual", "", "", r"no site 'layers.9.residual'; there are layers.0.residual, layers.1.residual"),
        ("layers.0.residual", "NOUN", "", "the label 'NOUN' is in several layers, upos, ner: choose one"),
        ("layers.0.residual", "X", "", "the label 'X' is in no layer"),
        ("layers.0.residual", "PER", "upos", "the layer upos has no label 'PER'; it has ADJ, NOUN"),
        ("layers.0.residual", "PER", "xpos", "there is no layer 'xpos'; there are upos, ner"),
        ("layers.0.residual", "", "upos", "the layer upos has no label ''"),
    ],
)
def test_statistics_of_what_is_not_there(stored, site, label, layer, message):
    with pytest.raises(BadData, match=message):
        stored.statistics(site, label, layer)


def test_many_labels_are_measured_when_asked_for(tmp_path):
    names = [f"label{number:03}" for number in range(257)]
    source = example(rows=4000, layers={"many": names, "few": names[:256]})
    write(source, tmp_path / "set.h5")
    with h5py.File(tmp_path / "set.h5") as file:
        assert len(file["statistics/count"]) == 257
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        check_statistics(stored, source, "layers.1.residual")


def test_stored_statistics_are_those_of_a_pass(tmp_path):
    """Bit by bit, over several blocks."""
    source = example(rows=9000, widths={"wide": 300})
    write(source, tmp_path / "stored.h5")
    with h5py.File(tmp_path / "stored.h5") as file, h5py.File(tmp_path / "none.h5", "w") as without:
        for name in file:
            if name != "statistics":
                file.copy(name, without)
        without.attrs.update(file.attrs)
    with ActivationSet.open(tmp_path / "stored.h5") as stored, ActivationSet.open(tmp_path / "none.h5") as none:
        for label in ("", "NOUN"):
            one, other = stored.statistics("wide", label), none.statistics("wide", label)
            assert one.count == other.count
            for quantity in ("mean", "variance", "minimum", "maximum"):
                np.testing.assert_array_equal(getattr(one, quantity), getattr(other, quantity))


def test_what_another_program_has_compressed(tmp_path, path, source):
    with h5py.File(path) as file, h5py.File(tmp_path / "small.h5", "w") as small:
        small.attrs.update(file.attrs)

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                small.create_dataset(name, data=item[()], dtype=item.dtype, compression="gzip", chunks=True)

        file.visititems(copy)
    with ActivationSet.open(tmp_path / "small.h5") as stored:
        np.testing.assert_array_equal(
            stored.read("layers.0.residual", slice(5, 50)), source.stored("layers.0.residual")[5:50]
        )
        np.testing.assert_array_equal(stored.site("layers.0.residual"), source.stored("layers.0.residual"))
        np.testing.assert_array_equal(stored.masked, source.masked)
        check_statistics(stored, source, "layers.1.residual")


def test_plain_hdf5_reads_it(path, source):
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["activations/layers.0.residual"], source.stored("layers.0.residual"))
        assert file["rows/words"].asstr()[:].tolist() == source.words
        assert json.loads(file.attrs["sites"]) == [["layers.0.residual", 3], ["layers.1.residual", 5]]
        assert file.attrs["model"] == "models/tiny"
        assert json.loads(file.attrs["versions"])["h5py"] == h5py.__version__


def test_frame(stored, source):
    frame = stored.to_pandas()
    assert frame.columns.tolist() == ["sentence", "place", "word", "masked", "upos", "ner"]
    assert frame.word.tolist() == source.words
    assert frame.upos.cat.add_categories("").fillna("").tolist() == source.labels["upos"]
    assert frame.masked.sum() == source.masked.sum()


def test_a_layer_named_like_a_column(tmp_path):
    source = example(layers={"word": ("a",)})
    write(source, tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        frame = stored.to_pandas()
    assert frame.word.tolist() == source.words
    assert frame.word_label.value_counts()["a"] == source.labels["word"].count("a")


def test_threads_read_side_by_side(tmp_path):
    source = example(rows=3000, widths={"embeddings": 64})
    write(source, tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored, ThreadPoolExecutor(8) as pool:
        starts = list(range(0, 2900, 13)) * 4
        parts = pool.map(lambda start: stored.read("embeddings", slice(start, start + 100)), starts)
        for start, part in zip(starts, parts, strict=True):
            np.testing.assert_array_equal(part, source.stored("embeddings")[start : start + 100])


def damaged(path: Path, kind: str, target: Path) -> None:
    data = path.read_bytes()
    target.write_bytes(data[: len(data) // 2] if kind == "cut off" else data)
    if kind == "text":
        target.write_text("not this")
    if kind == "empty":
        target.write_bytes(b"")
    if kind in ("text", "empty", "cut off"):
        return
    with h5py.File(target, "r+") as file:
        if kind == "other":
            del file.attrs["format"]
        elif kind == "newer":
            file.attrs["format_version"] = 2
        elif kind == "garbled":
            file.attrs["sites"] = "["
        elif kind == "no site":
            del file["activations/layers.0.residual"]
        elif kind == "no words":
            del file["rows/words"]
        elif kind == "shape":
            del file["activations/layers.0.residual"]
            file["activations/layers.0.residual"] = np.zeros((60, 4), np.float32)
        elif kind == "type":
            del file["activations/layers.0.residual"]
            file["activations/layers.0.residual"] = np.zeros((60, 3))
        elif kind == "rows":
            del file["rows/word"]
            file["rows/word"] = np.zeros(59, np.int32)
        elif kind == "unfinished":
            file["progress"][...] = np.array([[60, 0], [~60, ~0]])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "is no HDF5 file"),
        ("empty", "is no HDF5 file"),
        ("cut off", "is damaged, cut off"),
        ("other", "is no activation set"),
        ("newer", "is of format 2; this version of patchclamp reads formats up to 1"),
        ("garbled", "is a damaged activation set: Expecting value"),
        ("no site", "is a damaged activation set: .*layers.0.residual"),
        ("no words", "is a damaged activation set: .*words"),
        ("shape", r"layers.0.residual holds float32 of shape \(60, 4\), not float32 of \(60, 3\)"),
        ("type", "layers.0.residual holds float64"),
        ("rows", "rows/word has 59 entries for 60 rows"),
        ("unfinished", "is not whole"),
    ],
)
def test_what_is_no_set_is_refused(path, tmp_path, kind, message):
    damaged(path, kind, tmp_path / "bad.h5")
    with pytest.raises(BadData, match=f"^bad.h5: {message}"):
        ActivationSet.open(tmp_path / "bad.h5")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        ActivationSet.open(tmp_path / "none.h5")


def test_sites_that_look_like_paths(tmp_path):
    widths = {"module:a/b.output": 2, ".": 1, "%2E": 3, "a/../b": 1}
    source = example(widths=widths, layers={"x/y": ("a/b",)})
    write(replace(source), tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        for site in widths:
            np.testing.assert_array_equal(stored.read(site), source.stored(site))
        assert stored.labels("x/y").tolist() == source.labels["x/y"]
