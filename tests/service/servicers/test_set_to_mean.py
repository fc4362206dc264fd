"""SetToMean in every RPC: the mean is the one computed by hand, and what cannot be meant is refused with its field."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from patchclamp.v1 import activations_pb2 as v1
from patchclamp.v1 import common_pb2
from patchclamp.v1 import inference_pb2 as inference
from patchclamp.v1 import intervention_pb2 as edits

from tests.service.activations.test_activation_sets import TAGS, WORDS, Client
from tests.service.test_server import refused, running
from tests.tiny import save_tiny

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE, INDICES = "layers.1.residual", [3, 7, 1]
MODELS = ("llama", "bert-mlm", "bert-seqcls")
# Another layer has "NOUN" too.
OTHER = [["NOUN" if tag == "DET" else "rest" for tag in tags] for tags in TAGS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A server with a set of each model: "activationSets/llama" and so on."""
    folder = tmp_path_factory.mktemp("means")
    models = [f"{name}={save_tiny(name, folder / name)}" for name in MODELS]
    async with running(folder, models=models, data_dir=folder / "data") as server:
        client = Client(server.channel, folder / "data")
        await client.upload("small", WORDS, upos=TAGS, other=OTHER)
        for name in MODELS:
            fields = {"model": f"models/{name}", "sites": [SITE], "activation_set_id": name}
            await client.made("corpora/small", **fields)
        yield client


def mean(name: str, label: str = "", weight: float = 0.0, **fields: Any) -> edits.Intervention:
    fields = {"neurons": common_pb2.Neurons(site=SITE, indices=INDICES)} | fields
    to_mean = edits.SetToMean(activation_set=f"activationSets/{name}", label=label, weight=weight)
    return edits.Intervention(set_to_mean=to_mean, **fields)


async def by_hand(client: Client, folder: Path, name: str, layer: str, label: str) -> np.ndarray:
    """The mean over the rows that count, from the downloaded file."""
    with await client.downloaded(f"activationSets/{name}", folder / "set.h5") as found:
        rows = ~found.masked
        if label:
            rows &= found.labels(layer) == label
        mean: np.ndarray = found.read(SITE)[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def captured(sites: Any) -> np.ndarray:
    (site,) = sites
    return np.frombuffer(site.values.data, "<f4").reshape(tuple(site.values.shape))


async def residual(client: Client, *interventions: edits.Intervention) -> np.ndarray:
    """Of a text, under edits."""
    request = v1.ExtractActivationsRequest(
        model="models/llama",
        sentences=[v1.Sentence(text="the nurse said that she")],
        sites=[SITE],
        interventions=interventions,
    )
    return np.concatenate([captured(event.captured) async for event in client.activations.ExtractActivations(request)])


@pytest.mark.parametrize(
    ("label", "layer", "plain"),
    [("", "", ""), ("VERB", "upos", "VERB"), ("upos/NOUN", "upos", "NOUN"), ("other/NOUN", "other", "NOUN")],
)
async def test_the_mean_is_the_one_computed_by_hand(
    client: Client, tmp_path: Path, label: str, layer: str, plain: str
) -> None:
    expected = await by_hand(client, tmp_path, "llama", layer, plain)
    rows = await residual(client, mean("llama", label))
    np.testing.assert_allclose(rows[:, INDICES], np.broadcast_to(expected[INDICES], (len(rows), 3)), atol=1e-6)
    whole = await residual(client, mean("llama", label, neurons=common_pb2.Neurons(site=SITE)))
    np.testing.assert_allclose(whole, np.broadcast_to(expected, whole.shape), atol=1e-6)


async def test_a_weight_goes_a_part_of_the_way(client: Client, tmp_path: Path) -> None:
    expected = await by_hand(client, tmp_path, "llama", "upos", "VERB")
    before, after = await residual(client), await residual(client, mean("llama", "VERB", 0.25))
    np.testing.assert_allclose(after[:, INDICES], 0.75 * before[:, INDICES] + 0.25 * expected[INDICES], atol=1e-5)


async def test_a_site_by_the_name_of_its_module(client: Client) -> None:
    by_site = await residual(client, mean("llama"))
    by_module = common_pb2.Neurons(site="module:model.layers.1.output", indices=INDICES)
    assert (await residual(client, mean("llama", neurons=by_module)) == by_site).all()


def generate(edit: edits.Intervention) -> inference.GenerateRequest:
    return inference.GenerateRequest(
        model="models/llama", prompt="the nurse", max_new_tokens=6, top_logprobs=3, interventions=[edit]
    )


CALLS: dict[str, tuple[str, Callable[[Client, edits.Intervention], Any]]] = {
    "generate": ("llama", lambda client, edit: client.inference.Generate(generate(edit))),
    "score": (
        "llama",
        lambda client, edit: client.inference.Score(
            inference.ScoreRequest(
                model="models/llama",
                items=[inference.ScoreItem(prompt="the nurse", continuation=" said")],
                interventions=[edit],
            )
        ),
    ),
    "extract": (
        "llama",
        lambda client, edit: client.activations.ExtractActivations(
            v1.ExtractActivationsRequest(
                model="models/llama",
                sentences=[v1.Sentence(text="the nurse")],
                sites=["layers.2.residual"],
                interventions=[edit],
            )
        ),
    ),
    "classify": (
        "bert-seqcls",
        lambda client, edit: client.inference.Classify(
            inference.ClassifyRequest(
                model="models/bert-seqcls", sentences=[v1.Sentence(text="the nurse")], interventions=[edit]
            )
        ),
    ),
    "fill": (
        "bert-mlm",
        lambda client, edit: client.inference.FillMask(
            inference.FillMaskRequest(model="models/bert-mlm", texts=["the [MASK] said"], interventions=[edit])
        ),
    ),
}


async def answered(call: Any) -> list[Any]:
    return [event async for event in call] if hasattr(call, "__aiter__") else [await call]


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_takes_it_as_the_clamp_it_is(client: Client, name: str) -> None:
    model, call = CALLS[name]
    statistics = await client.activations.GetActivationStatistics(
        v1.GetActivationStatisticsRequest(
            activation_set=f"activationSets/{model}",
            neurons=common_pb2.Neurons(site=SITE, indices=INDICES),
            label="VERB",
        )
    )
    values = np.frombuffer(statistics.mean.data, "<f4").tolist()
    clamp = edits.Intervention(neurons=common_pb2.Neurons(site=SITE, indices=INDICES), set=edits.Set(values=values))
    plain = edits.Intervention(neurons=common_pb2.Neurons(site=SITE, indices=INDICES), scale=edits.Scale(factor=1))
    to_mean = await answered(call(client, mean(model, "VERB")))
    assert to_mean == await answered(call(client, clamp))  # the digest of the receipt too
    assert to_mean != await answered(call(client, plain))


async def test_a_set_under_it(client: Client, tmp_path: Path) -> None:
    made = await client.made("corpora/small", model="models/llama", sites=[SITE], interventions=[mean("llama", "VERB")])
    expected = await by_hand(client, tmp_path, "llama", "upos", "VERB")
    with await client.downloaded(made.name, tmp_path / "under.h5") as found:
        values = found.read(SITE)[~found.masked][:, INDICES]
    np.testing.assert_allclose(values, np.broadcast_to(expected[INDICES], values.shape), atol=1e-6)
    assert made.applied.edits[0].positions_edited > 0


async def test_a_set_that_is_read_stays(client: Client) -> None:
    await client.made("corpora/small", model="models/llama", sites=[SITE], activation_set_id="needed")
    corpus = await client.upload("needs", WORDS * 300)
    operation = await client.start(corpus, model="models/llama", sites=[SITE], interventions=[mean("needed")])
    request = v1.DeleteActivationSetRequest(name="activationSets/needed")
    assert (await refused(client.activations.DeleteActivationSet(request)))[1] == "RESOURCE_IN_USE"
    await client.ended(operation)
    await client.activations.DeleteActivationSet(request)
    assert (await refused(client.inference.Generate(generate(mean("needed")))))[0] == "NOT_FOUND"


NEURONS = {
    "site": common_pb2.Neurons(site="layers.0.residual"),
    "nowhere": common_pb2.Neurons(site="layers.1.residuum"),
    "index": common_pb2.Neurons(site=SITE, indices=[3, 32]),
}


@pytest.mark.parametrize(
    ("edit", "code", "reason", "field"),
    [
        (mean("absent"), "NOT_FOUND", "NOT_FOUND", ""),
        (mean("../x"), "INVALID_ARGUMENT", "INVALID_NAME", "set_to_mean.activation_set"),
        (mean("llama", neurons=NEURONS["site"]), "INVALID_ARGUMENT", "UNKNOWN_SITE", "neurons.site"),
        (mean("llama", neurons=NEURONS["nowhere"]), "INVALID_ARGUMENT", "UNKNOWN_SITE", "neurons.site"),
        (mean("llama", neurons=NEURONS["index"]), "INVALID_ARGUMENT", "INDEX_OUT_OF_RANGE", "neurons.indices[1]"),
        (mean("llama", "VREB"), "INVALID_ARGUMENT", "UNKNOWN_LABEL", "set_to_mean.label"),
        (mean("llama", "xpos/VERB"), "INVALID_ARGUMENT", "UNKNOWN_LABEL", "set_to_mean.label"),
        (mean("llama", "NOUN"), "INVALID_ARGUMENT", "AMBIGUOUS_LABEL", "set_to_mean.label"),
        (mean("bert-mlm"), "FAILED_PRECONDITION", "MODEL_DIFFERS", ""),
        (mean("bert-mlm", "X"), "FAILED_PRECONDITION", "MODEL_DIFFERS", ""),
        (mean("llama", weight=1.5), "INVALID_ARGUMENT", "INVALID_REQUEST", "set_to_mean.weight"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    client: Client, edit: edits.Intervention, code: str, reason: str, field: str
) -> None:
    found = await refused(client.inference.Generate(generate(edit)))
    assert found == (code, reason, f"interventions[0].{field}" if field else "")


async def test_a_label_without_a_row_that_counts(client: Client) -> None:
    request = inference.FillMaskRequest(
        model="models/bert-mlm", texts=["a [MASK]"], interventions=[mean("bert-mlm", "X")]
    )
    assert await refused(client.inference.FillMask(request)) == (
        "INVALID_ARGUMENT",
        "NO_ROWS",
        "interventions[0].set_to_mean.label",
    )


async def test_hints_name_the_nearest_label_and_the_ways_to_say_it(client: Client) -> None:
    for edit, hint in ((mean("llama", "VREB"), "'VERB'"), (mean("llama", "NOUN"), "'other/NOUN', 'upos/NOUN'")):
        with pytest.raises(Exception, match=hint):
            await answered(client.inference.Generate(generate(edit)))


async def test_two_clamps_of_one_neuron_conflict(client: Client) -> None:
    neurons = common_pb2.Neurons(site=SITE, indices=[3])
    clamp = edits.Intervention(neurons=neurons, set=edits.Set(values=[1.0]))
    request = generate(clamp)
    request.interventions.append(mean("llama"))
    assert await refused(client.inference.Generate(request)) == (
        "INVALID_ARGUMENT",
        "CONFLICTING_SETS",
        "interventions[1].set_to_mean",
    )
