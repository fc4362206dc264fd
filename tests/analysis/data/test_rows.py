from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchclamp_analysis.data.neurons import Neuron, Neurons, Site
from patchclamp_analysis.data.rows import LEAST_MEMORY, Data
from patchclamp_analysis.errors import BadData
from patchclamp_analysis.sets.activation_sets import ActivationSet

from tests.analysis.stored_sets import Example, example, examples, write


def numbered(rows: int = 10, width: int = 6, **options: object) -> Data:
    """Activation 100·row + neuron."""
    x = 100.0 * np.arange(rows)[:, None] + np.arange(width)
    return Data.from_arrays(x, np.arange(rows) % 2, **options)  # type: ignore[arg-type]


def test_classes_are_sorted_strings():
    data = Data.from_arrays(np.zeros((4, 1)), ["verb", "Noun", "adj", "verb"])
    assert data.classes == ("Noun", "adj", "verb")
    assert data.y.tolist() == [2, 0, 1, 2]
    assert data.counts.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series(["b", None, "a"]),
        pd.Series(["b", pd.NA, "a"], dtype="string"),
        pd.Categorical(["b", None, "a"]),
        np.array(["b", np.nan, "a"], dtype=object),
        ["b", np.nan, "a"],
    ],
)
def test_labels_of_other_kinds(labels):
    data = Data.from_arrays(np.zeros((3, 1)), labels)
    assert data.classes == ("a", "b")
    assert data.unlabelled == 1


@pytest.mark.parametrize("labels", [[10, 9, -1], np.array([10, 9, -1], dtype=object)])
def test_classes_that_are_numbers_are_sorted_as_numbers(labels):
    assert Data.from_arrays(np.zeros((3, 1)), labels).classes == ("-1", "9", "10")


def test_a_frames_numbers_stay_integers_where_one_is_missing():
    frame = pd.DataFrame({"neuron": [0.5, 1.5, 2.5, 3.5], "kind": [10, None, 9, 100]})
    assert Data.from_frame(frame, "kind").classes == ("9", "10", "100")
    with pytest.raises(BadData, match="numbers to predict go to targets"):
        Data.from_frame(frame, "neuron")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_row_without_a_word_is_refused_where_it_counts(missing):
    words = np.array(["a", missing, "c"], dtype=object)
    assert Data.from_arrays(np.zeros((3, 1)), ["x", "", "y"], words=words).words.tolist() == ["a", "c"]
    with pytest.raises(BadData, match=f"words, row 1: {missing} is no word"):
        Data.from_arrays(np.zeros((3, 1)), words=words)


def test_neurons_by_mask():
    assert list(numbered().keep(np.arange(6) % 3 == 0).neurons) == [Neuron("neurons", 0), Neuron("neurons", 3)]


@pytest.mark.parametrize(
    ("places", "message"),
    [([0, 6], "place 6 is out of range: there are 6 neurons, 0 to 5"), ([-1], "place -1"), (np.ones(5, bool), "mask")],
)
def test_neurons_that_are_not_there(places, message):
    with pytest.raises(BadData, match=message):
        numbered().keep(places)


def test_rows_that_are_masked_or_unlabelled_are_left_out():
    labels = np.array(["a", "", None, "b", "a"], dtype=object)
    data = Data.from_arrays(
        np.arange(5.0)[:, None], labels, words=list("vwxyz"), sentences=[1, 2, 3, 4, 5], masked=[0, 1, 0, 0, 1]
    )
    assert data.matrix()[:, 0].tolist() == [0.0, 3.0]
    assert data.words.tolist() == ["v", "y"]
    assert data.sentences.tolist() == [1, 4]
    assert (data.masked, data.unlabelled) == (2, 1)


def test_targets_that_are_no_number_are_left_out():
    data = Data.from_arrays(np.arange(3.0)[:, None], targets=[0.5, np.nan, 2.0])
    assert data.targets.tolist() == [0.5, 2.0]
    assert data.classes == ()
    assert data.y.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros(3)}, "rows × neurons, not of shape"),
        ({"x": np.zeros((3, 2)), "labels": ["a", "b"]}, r"labels: has shape \(2,\); there are 3 rows"),
        ({"x": np.zeros((3, 2)), "words": ["a"]}, "words: has shape"),
        ({"x": np.zeros((3, 2)), "sentences": [1]}, "sentences: has shape"),
        ({"x": np.zeros((2, 2)), "labels": [0.5, 1.5]}, "numbers to predict go to targets"),
        ({"x": np.zeros((2, 2)), "labels": ["", ""]}, "no row has a label"),
        ({"x": np.zeros((2, 2)), "annotations": {"case": ["a"]}}, r"annotations\.case: has shape \(1,\)"),
        ({"x": np.zeros((2, 2)), "annotations": {"case": [0.5, 1.5]}}, r"annotations\.case: labels must be strings"),
        ({"x": np.zeros((2, 2)), "labels": ["a", "b"], "targets": [1, 2]}, "labels or targets, not both"),
        ({"x": np.zeros((2, 2)), "targets": [1, np.inf]}, "row 1: the target is inf"),
        ({"x": np.zeros((2, 2)), "masked": [1, 1]}, "no row is left: of 2, 2 are masked and 0 unlabelled"),
        ({"x": np.zeros((2, 0))}, "no neuron is left"),
        ({"x": np.zeros((2, 2), complex)}, "must be numbers, not complex128"),
        ({"x": {"a": np.zeros((2, 2)), "b": np.zeros((3, 2))}}, "b: has 3 rows of 2, not 2 rows of 2"),
        ({"x": {}}, "at least one site"),
        ({"x": np.zeros((2, 3)), "sites": [Site("a", 2)]}, r"sites of 2 neurons in all do not cut an array"),
        ({"x": np.zeros((2, 4)), "sites": [Site("a", 2), Site("a", 2)]}, "a site stands there twice"),
        ({"x": np.zeros((2, 2)), "labels": ["a", "b"], "classes": ["a", "a"]}, "a class stands there twice"),
        ({"x": np.zeros((2, 2)), "sentences": [0.0, 1.7]}, "sentences: must be integers, not float64"),
        ({"x": np.zeros((2, 2)), "masked": ["True", "False"]}, "masked: must be integers"),
        ({"x": np.zeros((2, 2)), "memory_bytes": 1000}, "memory_bytes = 1000 is too little"),
    ],
)
def test_what_is_wrong_is_named(arguments, message):
    with pytest.raises(BadData, match=message):
        Data.from_arrays(**arguments)


def test_what_float32_cannot_hold_is_refused():
    data = Data.from_arrays(np.array([[1.0], [1e300]]))
    with pytest.raises(BadData, match=r"neurons\[0\], row 1: the activation is inf"):
        data.matrix()


def test_every_half_is_itself():
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(halves)
    values = np.column_stack((halves[finite], halves[finite]))
    for kept in (values, values[::-1, :1], np.asfortranarray(values)):
        assert np.array_equal(Data.from_arrays(kept).matrix().view(np.uint32), kept.astype(np.float32).view(np.uint32))
    for wrong in halves[~finite]:
        with pytest.raises(BadData, match=r"neurons\[0\], row 1: the activation is (nan|-?inf)"):
            Data.from_arrays(np.array([[0.0], [wrong]], np.float16)).matrix()


def test_large_values_that_are_numbers_are_not():
    data = Data.from_arrays(np.full((2, 3), 3e38, np.float32))
    assert (data.matrix() == np.float32(3e38)).all()


@given(
    st.integers(1, 40),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.data(),
)
def test_blocks_columns_and_matrix_agree(rows, widths, draw):
    x = np.arange(rows * sum(widths), dtype=np.float64).reshape(rows, -1)
    data = Data.from_arrays(x, sites=[Site(f"s{number}", width) for number, width in enumerate(widths)])
    chosen = draw.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=50))
    kept = sorted(draw.draw(st.sets(st.integers(0, x.shape[1] - 1), min_size=1)))
    data = data.take(chosen).keep(kept)
    expected = x[chosen][:, kept]
    assert np.array_equal(data.matrix(), expected)
    assert np.array_equal(np.concatenate([block for _, block in data.blocks()]), expected)
    assert np.array_equal(np.concatenate([block for _, block in data.columns()], axis=1), expected)
    assert [neuron.index for neuron in data.neurons] == [kept_[1] for kept_ in map(place_of(widths), kept)]


def place_of(widths: list[int]) -> Callable[[int], tuple[str, int]]:
    places = [(f"s{number}", index) for number, width in enumerate(widths) for index in range(width)]
    return lambda column: places[column]


def test_blocks_are_small_and_multiples():
    data = Data.from_arrays(np.zeros((10_000, 100), np.float32))
    sizes = [rows.stop - rows.start for rows, _ in data.blocks(96)]
    assert all(size % 96 == 0 for size in sizes[:-1])
    assert sum(sizes) == 10_000
    assert max(sizes) * 400 <= 2**20


def test_blocks_of_an_array_are_views_that_cannot_be_written():
    x = np.zeros((100, 4), np.float32)
    ((_, block),) = Data.from_arrays(x).blocks()
    assert np.shares_memory(block, x)
    assert not block.flags.writeable
    assert x.flags.writeable


def test_columns_fit_into_the_memory_bound():
    data = Data.from_arrays(np.zeros((100_000, 50), np.float32), memory_bytes=LEAST_MEMORY)
    blocks = list(data.columns(working_bytes=12))
    assert len(blocks) == len(data.columns(working_bytes=12)) > 1
    assert all(block.size * 16 <= LEAST_MEMORY // 2 for _, block in blocks)
    assert all(block.T.flags.c_contiguous for _, block in blocks)


def test_a_matrix_beyond_the_bound_is_mapped():
    x = np.arange(3_000_000, dtype=np.float32).reshape(1000, -1)
    data = Data.from_arrays(x, memory_bytes=LEAST_MEMORY).take(np.arange(1000)[::-1])
    whole = data.matrix()
    assert isinstance(whole, np.memmap)
    assert np.array_equal(whole, x[::-1])


def test_a_matrix_that_is_there_is_not_copied():
    x = np.random.default_rng(0).standard_normal((3000, 300)).astype(np.float32)
    data = Data.from_arrays(x)
    whole = data.take(np.arange(5, 2900)).matrix()
    assert np.shares_memory(whole, x) and not whole.flags.writeable
    assert np.array_equal(whole, x[5:2900])
    for chosen in (data.take(np.arange(0, 3000, 2)), data.keep(np.arange(0, 300, 2)), data.keep(np.arange(200))):
        assert not np.shares_memory(chosen.matrix(), x)


def test_take_by_mask_and_by_place():
    data = numbered()
    assert data.take(data.y == 1).matrix()[:, 0].tolist() == [100.0, 300.0, 500.0, 700.0, 900.0]
    assert data.take([5, 5, 0]).matrix()[:, 0].tolist() == [500.0, 500.0, 0.0]


def test_of_site():
    data = numbered(sites=[Site("a", 2), Site("b", 4)])
    assert data.of_site("b").matrix()[0].tolist() == [2.0, 3.0, 4.0, 5.0]
    with pytest.raises(BadData, match="c: no such site; there are a, b"):
        data.of_site("c")


def test_with_classes_of_other_data():
    data = Data.from_arrays(np.zeros((3, 1)), ["b", "c", "a"]).with_classes(["c", "b", "z"])
    assert data.y.tolist() == [1, 0, -1]
    assert data.counts.tolist() == [1, 1, 0]


def test_with_other_labels():
    data = numbered(5).with_labels(["x", "y", "", "y", "x"], "control")
    assert data.label == "control"
    assert data.y.tolist() == [0, 1, 1, 0]
    assert data.matrix()[:, 0].tolist() == [0.0, 100.0, 300.0, 400.0]


@given(st.integers(0, 50), st.floats(0.1, 0.6))
def test_split_keeps_sentences_whole_and_classes_in_the_first_part(seed, share):
    draw = np.random.default_rng(seed)
    sentences = np.sort(draw.integers(0, 30, 200))
    data = Data.from_arrays(np.arange(200.0)[:, None], draw.integers(0, 6, 200), sentences=sentences)
    first, second = data.split(share, seed)
    assert first.sentences is not None
    assert second.sentences is not None
    assert not np.isin(first.sentences, second.sentences).any()
    assert sorted([*first.matrix()[:, 0], *second.matrix()[:, 0]]) == list(range(200))
    assert set(first.y) == set(data.y)
    assert len(second) <= share * 200
    assert len(second) > share * 200 - 80


def test_split_needs_two_parts():
    with pytest.raises(BadData, match="2 rows cannot be split"):
        numbered(2).split(0.1)


def test_split_off_gives_all_where_there_are_too_few():
    data = numbered(2)
    first, second = data.split_off(0.1)
    assert first is data
    assert second is None


def open_data(made: Example, path: Path, label: str = "upos", **options: object) -> Data:
    write(made, path)
    return Data.from_activation_set(ActivationSet.open(path), label, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_from_an_activation_set(tmp_path, dtype):
    made = example(dtype=dtype)
    data = open_data(made, tmp_path / "set.h5")
    kept = ~made.masked & (np.array(made.labels["upos"]) != "")
    expected = np.concatenate([made.stored(site)[kept] for site in made.values], axis=1)
    assert np.array_equal(data.matrix(), expected)
    assert [data.classes[number] for number in data.y] == np.array(made.labels["upos"])[kept].tolist()
    assert data.words.tolist() == np.array(made.words)[kept].tolist()
    assert data.sentences.tolist() == made.sentences[kept].tolist()
    assert data.neurons[4] == Neuron("layers.1.residual", 1)


def test_some_sites_of_a_set(tmp_path):
    data = open_data(example(), tmp_path / "set.h5", sites=["layers.1.residual"])
    assert data.neurons.sites == (Site("layers.1.residual", 5),)
    with pytest.raises(BadData, match=r"layers\.9: the set has no such site"):
        Data.from_activation_set(ActivationSet.open(tmp_path / "set.h5"), "upos", sites=["layers.9"])


def test_a_set_without_labels(tmp_path):
    made = example()
    data = open_data(made, tmp_path / "set.h5", label="")
    assert len(data) == np.sum(~made.masked)
    assert data.classes == ()


def test_a_set_without_this_layer(tmp_path):
    with pytest.raises(BadData, match="no layer 'xpos'; there are upos"):
        open_data(example(), tmp_path / "set.h5", label="xpos")


@settings(max_examples=25, deadline=None)
@given(examples())
def test_every_set_reads_as_it_was_written(tmp_path_factory, made):
    if made.masked.all():
        return
    data = open_data(made, tmp_path_factory.mktemp("sets") / "set.h5", label="")
    expected = np.concatenate([made.stored(site)[~made.masked] for site in made.values], axis=1)
    assert np.array_equal(data.matrix(), expected)


def test_all_layers_of_a_set(tmp_path):
    made = example(layers={"upos": ("ADJ", "NOUN"), "number": ("pl", "sg"), "none": ()})
    data = open_data(made, tmp_path / "set.h5", label="upos")
    kept = ~made.masked & (np.array(made.labels["upos"]) != "")
    assert sorted(data.annotations) == ["none", "number", "upos"]
    for layer, (codes, names) in data.annotations.items():
        assert [(*names, "")[code] for code in codes] == np.array(made.labels[layer])[kept].tolist()


def test_annotations_stay_with_their_rows():
    layers = {"case": np.array(["nom", "", "acc", None, "nom"], object), "empty": np.array([""] * 5, object)}
    data = Data.from_arrays(
        np.arange(5.0)[:, None], ["a", "b", "", "a", "b"], annotations=layers, masked=[1, 0, 0, 0, 0]
    )
    changed = data.keep([0]).with_classes(["b", "a"])
    for made, wanted in ((data, [-1, -1, 1]), (changed, [-1, -1, 1]), (data.take([2, 0]), [1, -1])):
        codes, names = made.annotations["case"]
        assert (codes.tolist(), names) == (wanted, ("acc", "nom"))
        assert (made.annotations["empty"][0] == -1).all()
    assert data.with_labels(["x", "", "y"]).annotations["case"][0].tolist() == [-1, 1]


def test_splits_carry_annotations():
    labels = [f"l{row}" for row in range(20)]
    for part in numbered(20, annotations={"own": labels}).split(0.3):
        codes, names = part.annotations["own"]
        assert [names[code] for code in codes] == [f"l{row // 100:.0f}" for row in part.matrix()[:, 0]]


def test_from_a_frame():
    frame = pd.DataFrame({"word": ["x", "y", "z"], "n1": [1, 2, 3], "upos": ["N", None, "V"], "n2": [0.5, 1.5, 2.5]})
    data = Data.from_frame(frame, "upos", word="word")
    assert data.matrix().tolist() == [[1.0, 0.5], [3.0, 2.5]]
    assert data.words.tolist() == ["x", "z"]
    with pytest.raises(BadData, match="no column 'xpos'"):
        Data.from_frame(frame, "xpos")


def test_from_what_neurox_loads():
    activations = [np.ones((2, 6), np.float32), 2 * np.ones((1, 6), np.float32)]
    tokens = {"source": [["a", "b"], ["c"]], "target": [["N", "V"], ["N"]]}
    data = Data.from_neurox(activations, tokens, layers=2)
    assert [site.name for site in data.neurons.sites] == ["embeddings", "layers.0.residual"]
    assert data.sentences.tolist() == [0, 0, 1]
    assert data.words.tolist() == ["a", "b", "c"]
    with pytest.raises(BadData, match="target, sentence 1: 1 rows for 2 words"):
        Data.from_neurox(activations, tokens | {"target": [["N", "V"], ["N", "V"]]})
    with pytest.raises(BadData, match="6 neurons are not 4 layers"):
        Data.from_neurox(activations, tokens, layers=4)


def test_neurons_know_their_sites():
    neurons = Neurons.all_of([Site("a", 2), Site("b", 3)]).keep([4, 1, 1, 2])
    assert list(neurons) == [Neuron("a", 1), Neuron("b", 0), Neuron("b", 2)]
    assert neurons.site_numbers.tolist() == [0, 1, 1]
    assert neurons.indices.tolist() == [1, 0, 2]
    assert neurons.of_site(1) == slice(1, 3)
    assert str(neurons[2]) == "b[2]"


def test_neurons_are_equal_by_what_they_are():
    one = Neurons.all_of([Site("a", 2)])
    assert one == Neurons((Site("a", 2),), np.array([0, 1]))
    assert one != one.keep([1])
    assert one != Neurons.all_of([Site("b", 2)])


def test_columns_out_of_range():
    with pytest.raises(BadData, match="between 0 and 1"):
        Neurons((Site("a", 2),), np.array([2]))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"labels": ["a", "b", "a"]}, "<Data: 3 rows × 2 neurons, 2 classes of upos>"),
        ({"targets": [1.0, 2.0, 3.0]}, "<Data: 3 rows × 2 neurons, targets of upos>"),
        ({}, "<Data: 3 rows × 2 neurons>"),
    ],
)
def test_shows_itself_in_a_line(given, shown):
    assert repr(Data.from_arrays(np.zeros((3, 2)), label="upos", **given)) == shown
