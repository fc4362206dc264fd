"""Activation sets: what the client sends, and what it makes of the replies."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, text_format
from google.protobuf.timestamp_pb2 import Timestamp
from patchclamp import (
    ActivationSet,
    LabelLayer,
    LabelLevel,
    ProtocolError,
    TokenFilter,
    ablate,
    set_to_mean,
)
from patchclamp.v1 import activations_pb2, common_pb2, corpora_pb2

from tests.clients.halves import Half
from tests.clients.scripted import Failure, Script

WIRE = activations_pb2.ActivationSet(
    name="activationSets/a",
    create_time=Timestamp(seconds=1_700_000_000),
    corpus="corpora/c",
    model="models/m",
    sites=[activations_pb2.SiteWidth(site="layers.0.mlp", width=2)],
    aggregation=activations_pb2.SENTENCE_MAX,
    dtype=common_pb2.BFLOAT16,
    row_count=5,
    masked_count=1,
    layers=[corpora_pb2.LabelLayer(name="upos", level=corpora_pb2.LABEL_LEVEL_WORD, unlabelled=5)],
    size_bytes=99,
    sha256="5a",
    filter=activations_pb2.TokenFilter(layer="upos", labels=["N"], per_label=9, seed=1),
)
GONE = Failure(grpc.StatusCode.UNAVAILABLE, "gone")


async def test_create_sends_what_it_is_given(script: Script, half: Half) -> None:
    script.reply("CreateActivationSet", operations_pb2.Operation(name="operations/x"))
    async with half.client(script.target) as client:
        operation = await half.wait(
            client.activation_sets.create,
            "corpora/c",
            ["layers.*.mlp"],
            id="a",
            model="models/m",
            aggregation="first",
            dtype="float16",
            filter=TokenFilter(layer="upos", labelled_only=True, labels=["N"], per_label=2, per_word_type=3, seed=4),
            interventions=[ablate("layers.0.mlp")],
            intervention_sets=["interventionSets/s"],
            include_special_tokens=True,
            request_id="r",
        )
    assert (operation.name, operation.done) == ("operations/x", False)
    wire = """
        activation_set_id: "a" corpus: "corpora/c" model: "models/m" sites: "layers.*.mlp" aggregation: FIRST
        dtype: FLOAT16 interventions { neurons { site: "layers.0.mlp" } ablate {} } request_id: "r"
        intervention_sets: "interventionSets/s" include_special_tokens: true
        filter { layer: "upos" labelled_only: true labels: "N" per_label: 2 per_word_type: 3 seed: 4 }
    """
    assert script.requests == [text_format.Parse(wire, activations_pb2.CreateActivationSetRequest())]


async def test_create_leaves_the_rest_to_the_server_and_is_a_request_of_its_own(script: Script, half: Half) -> None:
    async with half.client(script.target) as client:
        for _ in range(2):
            script.reply("CreateActivationSet", operations_pb2.Operation())
            await half.wait(client.activation_sets.create, "corpora/c", ["embeddings"])
    ids = [request.request_id for request in script.requests]
    assert ids[0] != ids[1]
    script.requests[0].request_id = ""
    wire = 'corpus: "corpora/c" sites: "embeddings" dtype: FLOAT32'
    assert script.requests[0] == text_format.Parse(wire, activations_pb2.CreateActivationSetRequest())


async def test_create_is_tried_again_as_the_same_request(script: Script, half: Half) -> None:
    script.reply("CreateActivationSet", GONE)
    script.reply("CreateActivationSet", operations_pb2.Operation(name="operations/x"))
    async with half.client(script.target) as client:
        await half.wait(client.activation_sets.create, "corpora/c", ["embeddings"])
    assert script.requests[0] == script.requests[1]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"sites": "embeddings"}, TypeError, r"give a list: \['embeddings'\]"),
        ({"sites": [], "aggregation": "max"}, ValueError, "aggregation is 'max'; it can be none, first"),
        ({"sites": [], "dtype": "float64"}, ValueError, "dtype is 'float64'"),
    ],
)
async def test_create_refuses_what_it_cannot_send(
    half: Half, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    async with half.client("127.0.0.1:1") as client:
        with pytest.raises(error, match=says):
            await half.wait(client.activation_sets.create, "corpora/c", **options)


def test_a_filter_has_a_list_of_labels_and_counts() -> None:
    with pytest.raises(TypeError, match=r"give a list: \['N'\]"):
        TokenFilter(layer="upos", labels="N")
    with pytest.raises(ValueError, match="per_label is -1"):
        TokenFilter(per_label=-1)


def test_a_filter_has_what_the_wire_has() -> None:
    wire = [field.name for field in activations_pb2.TokenFilter.DESCRIPTOR.fields]
    assert list(TokenFilter.__dataclass_fields__) == wire


async def test_get_list_and_delete(script: Script, half: Half) -> None:
    script.reply("GetActivationSet", WIRE)
    script.reply("GetActivationSet", WIRE)
    page = activations_pb2.ListActivationSetsResponse(activation_sets=[WIRE], next_page_token="n")
    script.reply("ListActivationSets", page)
    script.reply("ListActivationSets", activations_pb2.ListActivationSetsResponse(activation_sets=[WIRE]))
    script.reply("DeleteActivationSet", empty_pb2.Empty())
    async with half.client(script.target) as client:
        found = await half.wait(client.activation_sets.get, "activationSets/a")
        assert await half.wait(client.activation_sets.get, found) == found
        assert await half.wait(client.activation_sets.list) == (found, found)
        await half.wait(client.activation_sets.delete, found)
    assert isinstance(found, ActivationSet)
    assert (found.sites, found.aggregation, found.dtype) == ({"layers.0.mlp": 2}, "sentence_max", "bfloat16")
    assert found.filter == TokenFilter(layer="upos", labels=["N"], per_label=9, seed=1)
    assert (found.size_bytes, found.sha256, found.row_count, found.masked_count) == (99, "5a", 5, 1)
    assert found.layers == {"upos": LabelLayer("upos", LabelLevel.WORD, {}, 5)}
    assert (script.requests[3].page_token, script.requests[4].name) == ("n", "activationSets/a")


def test_an_element_type_that_is_none_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="element type 4"):
        ActivationSet.from_proto(activations_pb2.ActivationSet(dtype=common_pb2.INT64))


def vector(*values: float) -> common_pb2.Tensor:
    data = np.array(values, "<f4").tobytes()
    return common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[len(values)], data=data)


async def test_statistics(script: Script, half: Half) -> None:
    reply = activations_pb2.ActivationStatistics(
        count=3, mean=vector(1, 2), variance=vector(3, 4), min=vector(5, 6), max=vector(7, 8)
    )
    script.reply("GetActivationStatistics", reply)
    async with half.client(script.target) as client:
        found = await half.wait(
            client.activation_sets.statistics, "activationSets/a", "layers.0.mlp[1,0]", layer="upos", label="N"
        )
    wire = """
        activation_set: "activationSets/a" neurons { site: "layers.0.mlp" indices: [1, 0] } layer: "upos" label: "N"
    """
    assert script.requests == [text_format.Parse(wire, activations_pb2.GetActivationStatisticsRequest())]
    assert (found.count, found.mean.tolist(), found.variance.tolist()) == (3, [1, 2], [3, 4])
    assert (found.min.tolist(), found.max.tolist(), found.max.dtype.name) == ([5, 6], [7, 8], "float32")


@pytest.mark.parametrize(
    ("mean", "says"),
    [
        (vector(1), r"the shapes \[\[1\], \[2\]"),
        (common_pb2.Tensor(dtype=common_pb2.FLOAT32, data=b"abcd"), r"has the shape \[\]"),
    ],
)
async def test_statistics_that_do_not_add_up_are_an_error(
    script: Script, half: Half, mean: common_pb2.Tensor, says: str
) -> None:
    two = vector(1, 2)
    reply = activations_pb2.ActivationStatistics(mean=mean, variance=two, min=two, max=two)
    script.reply("GetActivationStatistics", reply)
    async with half.client(script.target) as client:
        with pytest.raises(ProtocolError, match=says):
            await half.wait(client.activation_sets.statistics, "activationSets/a", "layers.0.mlp")


def test_a_set_is_accepted_where_means_come_from() -> None:
    found = ActivationSet.from_proto(WIRE)
    by_name = set_to_mean("layers.0.mlp[1]", "activationSets/a", label="upos/N")
    assert set_to_mean("layers.0.mlp[1]", found, label="upos/N") == by_name


@pytest.mark.parametrize("weight", [0, 1e-60, -0.5, 1.1])
def test_a_weight_that_would_mean_something_else_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        set_to_mean("layers.0.mlp", "activationSets/a", weight=weight)
