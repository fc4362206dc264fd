"""Rankings as files, written piece by piece: all scores of a large one would take long, and much memory, at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from patchclamp.v1 import activations_pb2, analysis_pb2
from patchclamp_analysis.results import Ranking

from patchclamp_service.store.staging import disk_space

__all__ = ["export"]

_ROWS = 2000
_CHUNK_BYTES = 256 << 10


async def export(
    ranking: Ranking, form: analysis_pb2.RankingFormat.ValueType, scratch: Path
) -> AsyncGenerator[activations_pb2.FileChunk]:
    """The chunks of the file, which lies in `scratch` meanwhile; size and digest with the first. Raises Exhausted when
    the disk is full."""
    pieces = (_json if form == analysis_pb2.RANKING_FORMAT_JSON else _csv)(ranking)
    digest = hashlib.sha256()
    with disk_space(), tempfile.TemporaryFile(dir=scratch) as file:
        while piece := await asyncio.to_thread(next, pieces, b""):
            digest.update(piece)
            await asyncio.to_thread(file.write, piece)
        message = activations_pb2.FileChunk(total_bytes=file.tell(), sha256=digest.hexdigest())
        file.seek(0)
        while data := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            message.data = data
            yield message
            message = activations_pb2.FileChunk(offset=message.offset + len(data))


def _csv(ranking: Ranking) -> Iterator[bytes]:
    frame = ranking.to_pandas()
    for start in range(0, len(frame), _ROWS):
        yield frame.iloc[start : start + _ROWS].to_csv(index=False, header=start == 0).encode()


def _json(ranking: Ranking) -> Iterator[bytes]:
    """What Ranking.to_json gives, but for its line breaks."""
    described = json.loads(ranking.to_json(0))
    del described["neurons"], described["classes"]
    yield json.dumps(described, ensure_ascii=False).encode()[:-1]
    yield b', "neurons": '
    yield from _neurons(ranking, "")
    yield b', "classes": {'
    for number, name in enumerate(ranking.classes):
        yield f"{', ' * bool(number)}{json.dumps(name, ensure_ascii=False)}: ".encode()
        yield from _neurons(ranking, name)
    yield b"}}\n"


def _neurons(ranking: Ranking, name: str) -> Iterator[bytes]:
    order, scores, neurons = ranking.order(name), ranking.scores_of(name), ranking.neurons
    for start in range(0, len(order), _ROWS):
        chosen = [(neurons[place], float(scores[place])) for place in order[start : start + _ROWS]]
        text = json.dumps([[neuron.site, neuron.index, score] for neuron, score in chosen], ensure_ascii=False)
        yield (("[" if start == 0 else ", ") + text[1:-1]).encode()
    yield b"]"
