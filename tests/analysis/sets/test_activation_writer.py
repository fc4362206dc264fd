from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from patchclamp_analysis.errors import BadData, Busy
from patchclamp_analysis.sets.activation_sets import ActivationSet
from patchclamp_analysis.sets.activation_writer import ActivationSetWriter, Finished
from patchclamp_analysis.sets.set_layout import Place, RowBlock, SetDescription

from tests.analysis.stored_sets import Example, example, write

ROOT = Path(__file__).parents[3]


def partial_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


class Never(Iterator[RowBlock]):
    """Rows that nobody may ask for."""

    def __next__(self) -> RowBlock:
        raise AssertionError("rows were consumed")


def opened(path: Path, source: Example, cuts: Sequence[int] = ()) -> ActivationSetWriter:
    return ActivationSetWriter.open(path, source.description, source.blocks(cuts))


def test_what_it_returns(tmp_path):
    source = example(layers={"upos": ("ADJ", "NOUN"), "ner": ("PER",)})
    finished = write(source, tmp_path / "set.h5", cuts=(9, 30))
    data = (tmp_path / "set.h5").read_bytes()
    assert finished == Finished(
        tmp_path / "set.h5",
        hashlib.sha256(data).hexdigest(),
        len(data),
        source.rows,
        len(set(source.sentences.tolist())),
        int(source.masked.sum()),
        {
            "upos": {label: source.labels["upos"].count(label) for label in ("ADJ", "NOUN")},
            "ner": {"PER": source.labels["ner"].count("PER")},
        },
    )
    assert Finished.of(tmp_path / "set.h5") == finished
    assert list(tmp_path.iterdir()) == [tmp_path / "set.h5"]


def test_it_goes_on_where_it_was_durable(tmp_path):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        writer.write(*source.part(slice(0, 20)))
        writer.commit()
        writer.write(*source.part(slice(20, 30)))
        assert (writer.rows_done, writer.rows_written) == (20, 30)
    with ActivationSetWriter.open(path, source.description, Never()) as writer:
        assert (writer.rows, writer.rows_done, writer.rows_written) == (50, 20, 20)
        writer.write(*source.part(slice(20, 50)))
        resumed = writer.finish()
    assert resumed.sha256 == write(source, tmp_path / "other.h5").sha256


def test_it_can_be_told_to_begin_anew(tmp_path):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        writer.write(*source.part(slice(0, 20)))
        writer.commit()
    other = replace(source, words=["other"] * 50)
    with ActivationSetWriter.open(path, other.description, other.blocks(), resume=False) as writer:
        assert writer.rows_done == 0
        writer.write(*other.part(slice(0, 50)))
        writer.finish()
    with ActivationSet.open(path) as stored:
        assert set(stored.words) == {"other"}


@pytest.mark.parametrize("change", ["model", "sites", "dtype", "labels", "corpus_digest"])
def test_another_description_begins_anew(tmp_path, change):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        writer.write(*source.part(slice(0, 20)))
        writer.commit()
    changes: dict[str, dict[str, Any]] = {
        "model": {"model": "models/other"},
        "sites": {"sites": (("layers.1.residual", 5), ("layers.0.residual", 3))},
        "dtype": {"dtype": "float16"},
        "labels": {"layers": (("upos", ("ADJ", "NOUN", "VERB", "X")),)},
        "corpus_digest": {"corpus_digest": "0" * 64},
    }
    other = replace(source, description=replace(source.description, **changes[change]))
    with opened(path, other) as writer:
        assert (writer.rows_done, writer.description) == (0, other.description)


@pytest.mark.parametrize("damage", ["torn progress", "impossible progress", "cut off", "no file of ours"])
def test_a_damaged_partial_file_begins_anew(tmp_path, damage):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        writer.write(*source.part(slice(0, 20)))
        writer.commit()
    partial = partial_of(path)
    with h5py.File(partial) as file:
        place = Place.of(file["progress"])
    with partial.open("r+b") as file:
        if damage == "torn progress":
            place.write(file.fileno(), np.array([[30, 0]]))
        elif damage == "impossible progress":
            numbers = np.array([[51, 0]])
            place.write(file.fileno(), np.concatenate([numbers, ~numbers]))
        elif damage == "cut off":
            file.truncate(partial.stat().st_size - 1)
        else:
            file.write(bytes(100))
    with opened(path, source) as writer:
        assert writer.rows_done == 0
        writer.write(*source.part(slice(0, 50)))
        resumed = writer.finish()
    assert resumed.sha256 == write(source, tmp_path / "other.h5").sha256


def test_a_partial_file_is_no_set(tmp_path):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        for rows in (slice(0, 20), slice(20, 50)):
            writer.write(*source.part(rows))
            writer.commit()
            with pytest.raises(BadData, match="still being written"):
                ActivationSet.open(partial_of(path))
    with pytest.raises(BadData, match=r"set\.h5\.partial: is not whole"):
        ActivationSet.open(partial_of(path))
    partial_of(path).rename(path)
    with pytest.raises(BadData, match="is not whole"):
        ActivationSet.open(path)
    with pytest.raises(BadData, match="is not whole"):
        Finished.of(path)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("float32", np.nan, r"layers.1.residual, row 12 \(sentence \d+, place \d+: 'wörd5'\): neuron 3 is NaN"),
        ("float32", np.inf, "neuron 3 is infinite, and"),
        ("float16", -np.inf, "neuron 3 is infinite; float16 ends at 65,504"),
        ("float16", np.nan, "neuron 3 is NaN, and"),
        ("bfloat16", 0x7F80, "neuron 3 is infinite, and"),
        ("bfloat16", 0xFFC1, "neuron 3 is NaN"),
    ],
)
def test_what_is_not_finite_is_refused_with_its_place(tmp_path, dtype, value, message):
    source = example(dtype=dtype)
    source.masked[[5, 12]] = [True, False]
    source.values["layers.1.residual"][[5, 12], 3] = value
    with opened(tmp_path / "set.h5", source) as writer:
        writer.write(*source.part(slice(0, 10)))
        with pytest.raises(BadData, match=message):
            writer.write(*source.part(slice(10, 20)))
        assert writer.rows_written == 10


def test_the_largest_numbers_are_finite(tmp_path):
    source = example(dtype="bfloat16")
    source.values["layers.0.residual"][:] = 0x7F7F
    write(source, tmp_path / "set.h5")
    with ActivationSet.open(tmp_path / "set.h5") as stored:
        assert np.nanmax(stored.read("layers.0.residual")) == np.float32(3.3895314e38)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("layers.0.residual"), "values are of layers.1.residual, the set's sites are"),
        (lambda values: values.update(other=values["layers.0.residual"]), "values are of .*, other, the set's"),
        (lambda values: values.update({"layers.0.residual": np.zeros((10, 4), np.float32)}), r"\(10, 4\) instead"),
        (lambda values: values.update({"layers.0.residual": np.zeros((9, 3), np.float32)}), r"\(9, 3\) instead"),
        (lambda values: values.update({"layers.0.residual": np.zeros((10, 3))}), "float64 of shape"),
    ],
)
def test_blocks_must_fit(tmp_path, change, message):
    source = example()
    values, masked = source.part(slice(0, 10))
    change(values)
    with opened(tmp_path / "set.h5", source) as writer, pytest.raises(BadData, match=message):
        writer.write(values, masked)


def test_too_many_and_too_few_rows(tmp_path):
    source = example()
    with opened(tmp_path / "set.h5", source) as writer:
        writer.write(*source.part(slice(0, 30)))
        with pytest.raises(BadData, match="only 30 of 50 rows"):
            writer.finish()
        with pytest.raises(BadData, match="60 rows are more than the 50"):
            writer.write(*source.part(slice(20, 50)))


def block(**changes: Any) -> RowBlock:
    parts: dict[str, Any] = {
        "sentences": np.array([0, 0, 2]),
        "places": np.array([0, 1, 0], np.int32),
        "words": ["a", "b", "c"],
        "labels": {"upos": ["X", "", "Y"]},
    }
    return RowBlock(**(parts | changes))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "there are no rows"),
        ([block(), block()], "row 3: the sentence comes after a later one"),
        ([block(sentences=np.array([1, 0, 2]))], "row 1: the sentence comes after"),
        ([block(sentences=np.array([-5, 0, 2]))], "row 0: the sentence"),
        ([block(words=["a", "b"])], "not of the same rows"),
        ([block(places=np.zeros(2, np.int32))], "not of the same rows"),
        ([block(labels={})], "and layers"),
        ([block(labels={"upos": ["X", "Y"]})], "2 labels of the layer upos for 3 rows"),
        ([block(labels={"upos": ["X", "Z", "Y"]})], "row 1: 'Z' is not among the labels of the layer upos"),
        ([block(words=["a", "b\0", "c"])], "row 1: the word .* contains a NUL character"),
        ([block(words=["a", "b", "\ud800"])], "row 2: the word .* contains half of a surrogate pair"),
    ],
)
def test_rows_must_be_right(tmp_path, blocks, message):
    description = SetDescription((("embeddings", 2),), "float32", layers=(("upos", ("X", "Y")),))
    with pytest.raises(BadData, match=message):
        ActivationSetWriter.open(tmp_path / "set.h5", description, blocks)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float64"}, "there is no element type 'float64'; there are float32, float16, bfloat16"),
        ({"sites": ()}, "at least one site"),
        ({"sites": (("a", 1), ("a", 1))}, "every site needs a name of its own"),
        ({"sites": (("a", 0),)}, "a has 0 neurons"),
        ({"sites": (("a\0", 1),)}, "the site .* contains a NUL"),
        ({"layers": (("x", ("b", "a")),)}, "the labels of x are not in sorted order"),
        ({"layers": (("x", ("", "a")),)}, "every label of x needs a name"),
        ({"layers": (("x", ()), ("x", ()))}, "every layer needs a name of its own"),
        ({"model": "\ud800"}, "the model .* contains half"),
    ],
)
def test_descriptions_must_be_right(tmp_path, changes, message):
    parts: dict[str, Any] = {"sites": (("embeddings", 2),), "dtype": "float32"} | changes
    with pytest.raises(BadData, match=message):
        ActivationSetWriter.open(tmp_path / "set.h5", SetDescription(**parts), Never())
    assert not list(tmp_path.iterdir())


def test_one_writer_at_a_time(tmp_path):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        with pytest.raises(Busy, match="is being written by somebody else"):
            ActivationSetWriter.open(path, source.description, Never())
        writer.write(*source.part(slice(0, 50)))
        writer.finish()


def test_a_set_is_never_written_over(tmp_path):
    source, path = example(), tmp_path / "set.h5"
    before = write(source, path)
    with pytest.raises(FileExistsError):
        ActivationSetWriter.open(path, source.description, Never())
    assert list(tmp_path.iterdir()) == [path]
    assert Finished.of(path) == before


def test_a_file_that_came_meanwhile_stays(tmp_path):
    source, path = example(), tmp_path / "set.h5"
    with opened(path, source) as writer:
        writer.write(*source.part(slice(0, 50)))
        path.write_text("mine")
        with pytest.raises(FileExistsError):
            writer.finish()
    assert path.read_text() == "mine"


def test_discard_leaves_nothing(tmp_path):
    source = example()
    writer = opened(tmp_path / "set.h5", source)
    writer.write(*source.part(slice(0, 20)))
    writer.discard()
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_what_report_raises_ends_the_work_for_now(tmp_path):
    class Enough(Exception):
        pass

    def enough(stage, done, total):
        raise Enough

    source, told = example(), []
    with opened(tmp_path / "set.h5", source) as writer:
        writer.write(*source.part(slice(0, 50)))
        with pytest.raises(Enough):
            writer.finish(enough)
        with pytest.raises(BadData):
            ActivationSet.open(partial_of(tmp_path / "set.h5"))
        finished = writer.finish(lambda *step: told.append(step))
    size = finished.size_bytes
    assert told == [("statistics", 600, 1600), ("statistics", 1600, 1600), ("digest", size, size)]
    assert finished.sha256 == write(source, tmp_path / "other.h5").sha256


def test_a_set_that_is_read_again_says_how_far_it_is_and_can_be_stopped(tmp_path):
    class Enough(Exception):
        pass

    def enough(stage, done, total):
        raise Enough

    path, told = tmp_path / "set.h5", []
    finished = write(example(), path)
    assert Finished.of(path, lambda *step: told.append(step)) == finished
    assert told == [("digest", finished.size_bytes, finished.size_bytes)]
    with pytest.raises(Enough):
        Finished.of(path, enough)


@pytest.mark.parametrize("rows", [20_000, 80_000])
def test_rows_pass_through_in_blocks(tmp_path, rows):
    """What creation holds in memory does not grow with the rows."""

    def blocks() -> Iterator[RowBlock]:
        for start in range(0, rows, 2000):
            numbers = np.arange(start, start + 2000)
            yield RowBlock(numbers, numbers.astype(np.int32), [f"word{number}" for number in numbers], {})

    tracemalloc.start()
    try:
        ActivationSetWriter.open(tmp_path / "set.h5", SetDescription((("embeddings", 1),), "float32"), blocks()).close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000
