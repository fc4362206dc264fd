"""An analysis as a server sends it, and what its replies come in."""

from __future__ import annotations

import hashlib
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from patchclamp.v1 import activations_pb2
from patchclamp.v1 import analysis_pb2 as v1

__all__ = ["ANALYSIS", "DATA", "LISTED", "PART", "WORDS", "chunks", "done", "rows"]

WORDS = v1.Table(
    name="words",
    row_count=3,
    columns=[
        v1.Column(name="site", strings=v1.StringColumn(values=["a[1]", "b", "b"])),
        v1.Column(name="index", integers=v1.IntegerColumn(values=[1, 2**40, -3])),
        v1.Column(name="score", numbers=v1.NumberColumn(values=[0.5, float("nan"), 1e-9])),
    ],
)
PART = v1.Table(
    name="spread", row_count=2310, columns=[v1.Column(name="class", strings=v1.StringColumn(values=["NOUN", "VERB"]))]
)
ANALYSIS = v1.Analysis(
    name="analyses/a",
    method="top_words",
    label="upos",
    activation_sets=["activationSets/a", "activationSets/b"],
    activation_set_sha256s=["aa", "bb"],
    rankings=["rankings/a"],
    tables=[WORDS, PART],
    create_time=Timestamp(seconds=1_700_000_000),
    notes=["left out: 1 masked rows"],
    model="models/a",
    model_digest="cc",
    row_count=1500,
)
ANALYSIS.parameters.update({"top": 3, "counts": [10, 0.1]})
LISTED = v1.Analysis(name="analyses/b", method="evaluation", tables=[v1.Table(name="summary", row_count=4)])
DATA = b"site,index,score\na[1],1,0.5\n"


def done(message: Message) -> operations_pb2.Operation:
    """An operation that has made this."""
    response = AnyMessage()
    response.Pack(message)
    return operations_pb2.Operation(name="operations/x", done=True, response=response)


def chunks(data: bytes = DATA) -> list[Message]:
    """A file in two messages, said to be `DATA`."""
    first: dict[str, Any] = {"total_bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    return [activations_pb2.FileChunk(data=data[:5], **first), activations_pb2.FileChunk(data=data[5:], offset=5)]


def rows(out: str) -> list[str]:
    """Lines with single blanks."""
    return [" ".join(line.split()) for line in out.splitlines()]
