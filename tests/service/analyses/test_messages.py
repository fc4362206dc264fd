"""Rankings as messages, and what fits into one."""

from __future__ import annotations

import numpy as np
import pytest
from patchclamp.v1 import analysis_pb2 as v1
from patchclamp_analysis.data.neurons import Neurons, Site
from patchclamp_analysis.results import Ranking
from patchclamp_service.analyses.messages import fill_ranking, shown_count
from patchclamp_service.engine.errors import InvalidRequest

GRPC_BYTES = 4 << 20


@pytest.mark.parametrize("classes", [0, 1, 17])
@pytest.mark.parametrize("site", ["embeddings", "module:model.decoder.layers.10.self_attn.q_proj.output"])
def test_the_most_neurons_fit_into_a_message(site: str, classes: int) -> None:
    with pytest.raises(InvalidRequest, match=r"up to \d+; ExportRanking gives all") as caught:
        shown_count(200_000, classes, [site])
    most = int(caught.value.message.partition("up to ")[2].partition(";")[0])
    neurons = Neurons.all_of([Site("x", 3), Site(site, most)])
    names = tuple(f"class {number}" for number in range(classes))
    scores = np.linspace(0.1, 1.0, len(neurons))
    message = v1.Ranking()
    fill_ranking(message, Ranking("m", neurons, scores, names, np.tile(scores, (classes, 1))), most)
    assert len(message.neurons) == most
    assert GRPC_BYTES // 2 < message.ByteSize() < GRPC_BYTES
