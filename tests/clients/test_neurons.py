"""The notation of neurons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patchclamp import Neurons, NotationError
from patchclamp.v1 import common_pb2

SITES = st.one_of(
    st.sampled_from(["embeddings", "layers.10.neurons", "encoder.layers.0.heads", "decoder.layers.3.residual"]),
    st.from_regex(r"module:[a-z_0-9.]{1,12}\.(input|output)", fullmatch=True),
)
RUN = st.builds(lambda start, length: range(start, start + length), st.integers(0, 5000), st.integers(1, 70))
INDICES = st.one_of(
    st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=40),
    st.lists(RUN, max_size=5).map(lambda runs: list(dict.fromkeys(index for run in runs for index in run))),
)


@given(SITES, INDICES)
def test_printing_and_parsing_gives_the_same_indices_in_the_same_order(site: str, indices: list[int]) -> None:
    neurons = Neurons(site, indices)
    parsed = Neurons.parse(str(neurons))
    assert (parsed.site, list(parsed.indices)) == (site, indices)
    assert str(parsed) == str(neurons)


@given(SITES, INDICES)
def test_the_wire_loses_nothing(site: str, indices: list[int]) -> None:
    message = Neurons(site, indices).to_proto()
    assert Neurons.from_proto(common_pb2.Neurons.FromString(message.SerializeToString())) == Neurons(site, indices)


@pytest.mark.parametrize(
    ("text", "indices", "canonical"),
    [
        ("layers.10.neurons[17]", [17], "layers.10.neurons[17]"),
        ("layers.10.neurons[3,17,40]", [3, 17, 40], "layers.10.neurons[3,17,40]"),
        ("layers.10.neurons[0:64]", list(range(64)), "layers.10.neurons[0:64]"),
        ("layers.10.neurons[0:4,9]", [0, 1, 2, 3, 9], "layers.10.neurons[0:4,9]"),
        ("layers.3.mlp", [], "layers.3.mlp"),
        ("module:model.layers.0.mlp.output[3]", [3], "module:model.layers.0.mlp.output[3]"),
        ("layers.1.neurons[ 4 , 0:2 ]", [4, 0, 1], "layers.1.neurons[4,0,1]"),
        ("layers.1.neurons[3,2,1]", [3, 2, 1], "layers.1.neurons[3,2,1]"),
        ("layers.1.neurons[5:6]", [5], "layers.1.neurons[5]"),
        ("layers.1.neurons[7,8,9]", [7, 8, 9], "layers.1.neurons[7:10]"),
    ],
)
def test_notation(text: str, indices: list[int], canonical: str) -> None:
    neurons = Neurons.parse(text)
    assert list(neurons.indices) == indices
    assert str(neurons) == canonical


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "dotted name"),
        ("layers..neurons[1]", 7, "dotted name"),
        ("layers.1.neurons [1]", 17, "dotted name"),
        ("layers.*.neurons[1]", 8, "'*' is for captures"),
        ("module:lm_head[1]", 1, "'.input' or '.output'"),
        ("layers.1.neurons[", 18, "ends the text with ']'"),
        ("layers.1.neurons[1", 19, "ends the text with ']'"),
        ("layers.1.neurons[1]x", 20, "ends the text with ']'"),
        ("layers.1.neurons[]", 18, "whole number"),
        ("layers.1.neurons[1,]", 20, "whole number"),
        ("layers.1.neurons[1, x]", 21, "'x' is no index"),
        ("layers.1.neurons[-1]", 18, "'-1' is no index"),
        ("layers.1.neurons[1.5]", 18, "'1.5' is no index"),
        ("layers.1.neurons[:4]", 18, "a slice is start:stop"),
        ("layers.1.neurons[0:8:2]", 18, "a slice is start:stop"),
        ("layers.1.neurons[4:4]", 18, "4:4 is empty"),
        ("layers.1.neurons[3,1:5]", 20, "index 3 is given twice"),
        ("layers.1.neurons[4294967296]", 18, "the largest index is 4294967295"),
        ("layers.1.neurons[0:99999999]", 18, "1048576 indices"),
        ("layers.1.neurons[٣]", 18, "is no index"),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, column: int, says: str) -> None:
    with pytest.raises(NotationError, match=r"column \d+: ") as caught:
        Neurons.parse(text)
    assert (caught.value.column, caught.value.text) == (column, text)
    assert says in str(caught.value)


@given(st.text(alphabet="layers.1neu[]:,0- *module", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        neurons = Neurons.parse(text)
    except NotationError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert Neurons.parse(str(neurons)) == neurons


@pytest.mark.parametrize(
    ("indices", "says"), [([1, 1], "index 1 .* twice"), ([-1], "index -1"), ([2**32], "not from 0")]
)
def test_indices_that_no_site_has_are_refused(indices: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Neurons("layers.1.neurons", indices)
