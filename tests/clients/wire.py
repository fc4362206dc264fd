"""Parts of replies that several tests use."""

from __future__ import annotations

import numpy as np
from patchclamp import Applied, AppliedEdit
from patchclamp.v1 import activations_pb2, common_pb2, intervention_pb2

__all__ = ["APPLIED", "RECEIPT", "captured"]

RECEIPT = intervention_pb2.AppliedInterventions(
    sets=["interventionSets/a@3"],
    digest="d1",
    edits=[intervention_pb2.AppliedEdit(positions_edited=5, gate_firings=2)],
    model_digest="d2",
)
APPLIED = Applied(("interventionSets/a@3",), "d1", (AppliedEdit(5, 2),), "d2")


def tensor(rows: int, width: int = 2, start: float = 0) -> common_pb2.Tensor:
    values = start + np.arange(rows * width, dtype="<f4")
    return common_pb2.Tensor(dtype=common_pb2.FLOAT32, shape=[rows, width], data=values.tobytes())


def captured(rows: int, start: float = 0, sites: tuple[str, ...] = ("s",)) -> list[activations_pb2.CapturedSite]:
    return [activations_pb2.CapturedSite(site=site, values=tensor(rows, start=start)) for site in sites]
